//! A camera board that recognises things by name and learns new ones from a few photos.
//!
//! A frame goes in, a decision comes out, and every stage between is a plain value that you
//! can print, save and test. A few photos make a small head; the image encoder never changes.
//!
//! ```text
//! photo ─► Frame ─► preprocess ─► encoder ─► Feature ─► head ─► Answers
//!                                                        ▲
//! names ─► text (vocabulary or text encoder) ─► text weights ─► Classifier
//! ```
//!
//! The modules stand in this order, and each uses only what stands before it: [`error`],
//! [`store`], [`frame`], [`preprocess`], [`bundle`], [`encoder`], [`text`], `import`, `hub`,
//! [`head`], [`classifier`], `eval`, `camera`, `live`, `sink`, `cli`.

#[cfg(any(feature = "cli", feature = "camera"))]
mod board;
pub mod bundle;
#[cfg(feature = "camera")]
pub mod camera;
pub mod classifier;
#[cfg(feature = "cli")]
pub mod cli;
pub mod encoder;
pub mod error;
#[cfg(feature = "import")]
pub mod eval;
pub mod frame;
pub mod head;
#[cfg(feature = "cli")]
pub mod hub;
#[cfg(feature = "import")]
pub mod import;
#[cfg(feature = "camera")]
pub mod live;
pub mod preprocess;
#[cfg(feature = "camera")]
pub mod sink;
pub mod store;
pub mod text;

pub use bundle::Bundle;
pub use classifier::{Answer, Classifier};
pub use encoder::{Encoder, Feature};
pub use error::{Error, Result};
pub use frame::Frame;

/// The README's examples, run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
