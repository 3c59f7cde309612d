//! Feeds strange bytes to the reader of envelopes: as they are, and once more with the
//! checksums put right, since else hardly any input gets past the first check.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/fuzz/envelope.rs"]
mod envelope;

fuzz_target!(|data: &[u8]| {
    envelope::open_never_panics(data);
    if let Some(sealed) = envelope::sealed(data) {
        envelope::open_never_panics(&sealed);
    }
});
