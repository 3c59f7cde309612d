//! The encoder as few coarse steps of ours, with packed weights where they lie in the map.
//!
//! [`graph`] is what a bundle keeps; [`machine`] runs it; [`lower`] makes it of a tract model. The
//! kernels are beside, in `kernels`.

pub(crate) mod graph;
#[cfg(feature = "import")]
pub(crate) mod lower;
pub(crate) mod machine;
mod program;
#[cfg(all(test, feature = "import"))]
#[allow(clippy::unwrap_used)]
mod tests;

pub(crate) use machine::Machine;
pub(crate) use program::Program;
