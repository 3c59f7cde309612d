//! Making model bundles of what others publish: ONNX files, safetensors, or a folder with a manifest.
//!
//! What is imported is opened and run before the bundle is written, so that a bundle that
//! exists is a bundle that works. Every model goes one way: its files are found (`folder`), its
//! towers brought to one form of ONNX (`onnx`), put together with what the files beside it say, run,
//! and written.

mod assemble;
mod folder;
mod manifest;
mod npy;
mod onnx;
mod options;
mod output;
mod parts;
mod preprocessor;
mod quantize;
mod reference;
mod sniff;
mod tokenizer;
mod towers;
mod values;
mod vocabulary;

use std::path::Path;

use crate::bundle::{Bundle, Contents, ImageEncoder, TextCard};
use crate::encoder::Encoder;
use crate::error::{Error, Result};
use crate::store;
use crate::text::TextEncoder;

pub use assemble::{Imported, import};
pub use npy::{read_npy, write_npy};
pub use options::{Layout, Options, Pixels, Pool};
pub use output::check_output;
pub use quantize::{Quantized, products};
pub use reference::{PixelsFrom, Reference};
#[cfg(feature = "pull")]
pub(crate) use towers::shards;
pub(crate) use values::floats;

/// Refuses the configuration of a model that is not imported here, before its weights are fetched.
///
/// # Errors
/// It says of itself that it is of another kind.
#[cfg(feature = "pull")]
pub(crate) fn check_kind(config: &Path) -> Result<()> {
    // What cannot be read is told of when it is imported.
    let value = preprocessor::json(config).unwrap_or_default();
    let Some(kind) = value["model_type"].as_str() else {
        return Ok(());
    };
    if kind.contains("clip") || kind.contains("siglip") {
        return Ok(());
    }
    let expected = "a model of CLIP or SigLIP";
    Err(Error::invalid("model", format!("`{kind}`"), expected).at(config))
}

/// Largest file that goes into a bundle, in bytes.
const MAX_PART_BYTES: u64 = 2 << 30;

/// Name of the manifest in an import folder.
pub const MANIFEST: &str = "bundle.toml";

/// Makes the bundle `out` from the folder `dir`, whose `bundle.toml` names the parts.
///
/// # Errors
/// A part is missing, unreadable or no fit for the others, or `out` cannot be written; what
/// stood at `out` before is then still there.
pub fn import_folder(dir: &Path, out: &Path) -> Result<Bundle> {
    let manifest = manifest::Manifest::read(&dir.join(MANIFEST))?;
    let read = |file: &str| read_part(dir, file);
    let image = manifest.image.as_ref().map(|i| read(&i.file)).transpose()?;
    let text = match &manifest.text {
        Some(t) => Some((read(&t.file)?, read(&t.tokenizer)?)),
        None => None,
    };
    let vocabulary = match &manifest.vocabulary {
        Some(v) => {
            let path = dir.join(&v.vectors);
            let vectors = read_npy(&read(&v.vectors)?).map_err(|e| e.at(&path))?;
            let names = manifest::vocabulary_names(&read(&v.names)?)
                .map_err(|e| e.at(&dir.join(&v.names)))?;
            Some((names, vectors))
        }
        None => None,
    };
    let card = manifest.card(dir)?;
    let mut contents = Contents {
        card,
        image: image.map(ImageEncoder::Onnx),
        text,
        vocabulary,
    };
    assemble::fuse(&mut contents).map_err(|e| e.at(dir))?;
    let bytes = contents.to_bytes().map_err(|e| e.at(&dir.join(MANIFEST)))?;
    prove(&bytes).map_err(|e| e.at(dir))?;
    crate::store::replace(out, &bytes)?;
    Bundle::open(out)
}

/// Opens every part and runs the encoders once.
fn prove(bytes: &[u8]) -> Result<()> {
    let bundle = Bundle::from_bytes(bytes)?;
    if bundle.card().image.is_some() {
        Encoder::open(&bundle, 1)?.try_out()?;
    }
    if let Some(text) = TextEncoder::open(&bundle)? {
        text.encode(&["a photo of a mug.".into()], &mut |_| {})?;
    }
    bundle.vocabulary().map(|_| ())
}

fn read_part(dir: &Path, file: &str) -> Result<Vec<u8>> {
    let path = dir.join(file);
    let outside = Path::new(file)
        .components()
        .any(|c| !matches!(c, std::path::Component::Normal(_)));
    if outside {
        let error = Error::invalid(
            "part of the bundle",
            format!("`{file}`"),
            "a file inside the folder",
        );
        return Err(error.at(&dir.join(MANIFEST)));
    }
    store::read_bounded(&path, "bytes of a part", MAX_PART_BYTES)
}

impl manifest::Text {
    fn card(&self) -> TextCard {
        TextCard {
            max_tokens: self.max_tokens,
            exact: self.exact,
        }
    }
}
