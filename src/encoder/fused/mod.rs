//! The encoder as few coarse steps of ours, with packed weights where they lie in the map.
//!
//! [`graph`] is what a bundle keeps; [`machine`] runs it, with `attend` for attention and `convolve` for windows; [`lower`] makes it of a tract model. The
//! kernels are beside, in `kernels`.

mod attend;
mod convolve;
pub(crate) mod graph;
#[cfg(feature = "import")]
pub(crate) mod lower;
pub(crate) mod machine;
#[cfg(all(test, feature = "import"))]
#[allow(clippy::unwrap_used)]
mod tests;
mod view;

pub(crate) use machine::{Machine, Program};
