//! Files that survive: what edgeclip writes is whole or not there, and what it reads is
//! what was written or refused.
//!
//! [`Envelope`] is the container of model bundles and classifiers: named sections behind
//! checksums, mapped or read. [`Saver`] replaces a file in one step, keeps what stood
//! there before for [`Saver::undo`], and refuses to save over what somebody else saved in
//! the meantime. [`replace`] is the same single step for files without a past. What lies
//! inside the sections is the business of the modules that own them; docs/formats.md
//! draws the bytes and the steps.

mod bounded;
mod builder;
#[cfg(test)]
mod crash_tests;
mod envelope;
mod foreign;
mod fs;
mod generations;
mod layout;
mod lock;
mod map;
mod save;
#[cfg(test)]
mod simulated;
mod values;

pub use bounded::{Mapped, map_bounded, read_bounded, read_text_bounded};
pub use builder::Builder;
pub use envelope::{Envelope, READ_LIMIT, SectionInfo, SectionRef};
pub use generations::{Generation, Place};
pub use layout::{ALIGNMENT, FORMAT_VERSION, Kind, NAME_LIMIT, SECTION_LIMIT, Stamp};
pub(crate) use map::{f32s, i8s, i32s};
pub use save::{Saver, replace, replace_with};
pub use values::{POSTCARD_LIMIT, decode_postcard, encode_postcard};

/// The first half of a SHA-256: enough to tell pictures apart, which nobody forges.
pub(crate) fn half(digest: sha2::Sha256) -> [u8; 16] {
    let digest: [u8; 32] = sha2::Digest::finalize(digest).into();
    std::array::from_fn(|i| digest[i])
}

/// Bytes as hex, as hashes are shown.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
