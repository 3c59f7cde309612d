//! Where the kernels look for themselves: `crate::encoder::kernels`.

// The graph, which uses the rest, stays outside.
#[allow(dead_code, unused_imports)]
#[path = "../../../../src/encoder/kernels/mod.rs"]
pub(crate) mod kernels;
