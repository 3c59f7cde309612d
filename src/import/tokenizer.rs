//! From a tokenizer's files, as hubs publish them, to one `tokenizer.json` that fits the encoder.
//!
//! A `tokenizer.json` is taken with its own rules; only the cut, the padding and, where the
//! encoder was trained so, lower case are set. Other forms are put into the same terms as
//! transformers' fast tokenizers put them: CLIP's text is composed (NFC), its spaces are
//! collapsed and its letters lowered, but nothing is repaired or unescaped as the older
//! Python code did with ftfy. Over-long texts lose their end; the end token stays.

mod bpe;
mod settings;
mod wordpiece;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::store;
use crate::text::Tokenizer;
use settings::Settings;

/// Largest file of a tokenizer, in bytes: a quarter of a million pieces take 35 MB.
const MAX_BYTES: u64 = 64 << 20;
/// Most tokens where neither the encoder nor the files say: those of CLIP.
const CLIP_TOKENS: u32 = 77;
/// What stands in `model_max_length` for "no limit" is larger than any encoder takes.
const MOST_TOKENS: u32 = 4096;

/// What the text encoder asks of its tokenizer; what is `None` the files decide.
#[derive(Clone, Debug, Default)]
pub(super) struct Need {
    /// Most tokens of a text, start and end included: rows of the table of positions.
    pub(super) max_tokens: Option<u32>,
    /// The one length that the encoder takes; shorter texts are padded to it.
    pub(super) pad_to: Option<u32>,
    /// The id to pad with, 1 for SigLIP.
    pub(super) pad_id: Option<u32>,
    /// Rows of the table of token embeddings.
    pub(super) vocabulary: Option<u32>,
    /// The id at which the encoder pools; each text must end with it.
    pub(super) end: Option<u32>,
    /// Whether the encoder was trained on lower case that its tokenizer does not make (SigLIP 2).
    pub(super) lowercase: bool,
}

/// A tokenizer that fits.
#[derive(Clone, Debug)]
pub(super) struct Fitted {
    /// The bytes of its `tokenizer.json`.
    pub(super) json: Vec<u8>,
    /// Most tokens of a text.
    pub(super) max_tokens: u32,
    /// For people: the files, the pieces, the length.
    pub(super) about: String,
}

/// The files of a tokenizer that lie together.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Files {
    tokenizer_json: Option<PathBuf>,
    vocab_json: Option<PathBuf>,
    merges: Option<PathBuf>,
    clip_merges: Option<PathBuf>,
    vocab_txt: Option<PathBuf>,
    sentencepiece: Option<PathBuf>,
    tokenizer_config: Option<PathBuf>,
    special_tokens: Option<PathBuf>,
}

impl Files {
    /// Those among `paths` whose names are a tokenizer's.
    pub(super) fn among(paths: &[PathBuf]) -> Self {
        let mut files = Self::default();
        for path in paths {
            let name = path.file_name().and_then(|n| n.to_str());
            let place = match name.unwrap_or_default() {
                "tokenizer.json" => &mut files.tokenizer_json,
                "vocab.json" => &mut files.vocab_json,
                "merges.txt" => &mut files.merges,
                "bpe_simple_vocab_16e6.txt" | "bpe_simple_vocab_16e6.txt.gz" => {
                    &mut files.clip_merges
                }
                "vocab.txt" => &mut files.vocab_txt,
                "spiece.model" | "sentencepiece.bpe.model" | "tokenizer.model" => {
                    &mut files.sentencepiece
                }
                "tokenizer_config.json" => &mut files.tokenizer_config,
                "special_tokens_map.json" => &mut files.special_tokens,
                _ => continue,
            };
            place.get_or_insert_with(|| path.clone());
        }
        files
    }

    /// Those that lie in the folder `dir`.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub(super) fn of_folder(dir: &Path) -> Result<Self> {
        let listed = |e| Error::io(dir, "list", e);
        let mut paths = std::fs::read_dir(dir)
            .map_err(listed)?
            .map(|entry| Ok(entry?.path()))
            .collect::<std::io::Result<Vec<_>>>()
            .map_err(listed)?;
        paths.sort();
        Ok(Self::among(&paths))
    }

    /// Whether there are pieces of a tokenizer here; settings alone are none.
    pub(super) fn any(&self) -> bool {
        let pieces = [
            &self.tokenizer_json,
            &self.vocab_json,
            &self.merges,
            &self.clip_merges,
            &self.vocab_txt,
            &self.sentencepiece,
        ];
        pieces.iter().any(|file| file.is_some())
    }
}

/// The tokenizer in `files`, made to fit: `tokenizer.json` before `vocab.json` with
/// `merges.txt`, then CLIP's own list of merges, then `vocab.txt`.
///
/// # Errors
/// No tokenizer, half of one, a damaged one, or that of another encoder.
pub(super) fn read(files: &Files, need: &Need) -> Result<Fitted> {
    let bytes = |path: &Path| store::read_bounded(path, "bytes of a tokenizer", MAX_BYTES);
    let aside = |path: &Option<PathBuf>| path.as_deref().map(bytes).transpose();
    let settings = Settings::read(
        aside(&files.tokenizer_config)?.as_deref(),
        aside(&files.special_tokens)?.as_deref(),
    );
    let either = files
        .tokenizer_config
        .as_ref()
        .or(files.special_tokens.as_ref());
    let settings = settings.map_err(|e| match either {
        Some(path) => e.at(path),
        None => e,
    })?;
    let whole = |path: &Path, from: &dyn Fn(&[u8]) -> Result<Value>, words: String| {
        let fitted = from(&bytes(path)?).and_then(|v| fit(v, need, &settings, &words));
        fitted.map_err(|e| e.at(path))
    };
    match (&files.tokenizer_json, &files.vocab_json, &files.merges) {
        (Some(path), _, _) => return whole(path, &parse, "tokenizer.json".into()),
        (None, Some(vocab), Some(merges)) => {
            let merges = bytes(merges)?;
            let from = |v: &[u8]| bpe::from_vocabulary(v, &merges, &settings);
            return whole(vocab, &from, "vocab.json and merges.txt".into());
        }
        _ => {}
    }
    if let Some(path) = &files.clip_merges {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        return whole(path, &bpe::from_clip_merges, name.into_owned());
    }
    if let Some(path) = &files.vocab_txt {
        let from = |v: &[u8]| wordpiece::from_list(v, &settings);
        return whole(path, &from, "vocab.txt".into());
    }
    Err(none_in(files))
}

/// A `tokenizer.json` from its bytes, made to fit.
///
/// # Errors
/// As [`read`].
#[cfg(test)]
pub(super) fn from_json(bytes: &[u8], need: &Need) -> Result<Fitted> {
    fit(parse(bytes)?, need, &Settings::default(), "tokenizer.json")
}

fn none_in(files: &Files) -> Error {
    let how = "`tokenizer.json`, which transformers writes: python -c \"from transformers import \
               AutoTokenizer as T; T.from_pretrained('FOLDER').save_pretrained('FOLDER')\"; \
               or `--no-text`";
    let found = match files {
        Files {
            vocab_json: Some(_),
            ..
        } => "`vocab.json` without `merges.txt`, half of a tokenizer",
        Files {
            merges: Some(_), ..
        } => "`merges.txt` without `vocab.json`, half of a tokenizer",
        Files {
            sentencepiece: Some(path),
            ..
        } => {
            let found = "a SentencePiece model alone, whose normalization is in no other file";
            return Error::invalid("tokenizer", found, how).at(path);
        }
        _ => {
            let found = "none of its files";
            let expected = "`tokenizer.json`, or `vocab.json` with `merges.txt`, or `vocab.txt`, \
                            or CLIP's `bpe_simple_vocab_16e6.txt.gz`";
            return Error::invalid("tokenizer", found, expected);
        }
    };
    Error::invalid("tokenizer", found, format!("both, or {how}"))
}

fn parse(bytes: &[u8]) -> Result<Value> {
    let expected = "a tokenizer.json of the tokenizers library";
    if bytes.starts_with(b"version https://git-lfs") {
        let found = "a pointer of Git LFS, not the file: `git lfs pull` brings it";
        return Err(Error::invalid("tokenizer", found, expected));
    }
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|e| Error::invalid("tokenizer", e.to_string(), expected))?;
    if !value["model"].is_object() {
        return Err(Error::invalid("tokenizer", "no `model` in it", expected));
    }
    Ok(value)
}

/// Sets cut, padding and what else is needed in `value`, and holds the outcome against `need`.
fn fit(mut value: Value, need: &Need, settings: &Settings, from: &str) -> Result<Fitted> {
    let Some(top) = value.as_object_mut() else {
        return Err(Error::invalid(
            "tokenizer",
            "no JSON object",
            "tokenizer.json",
        ));
    };
    let own = top.get("truncation").and_then(|t| t["max_length"].as_u64());
    let own = own
        .or(settings.max_tokens)
        .filter(|n| *n <= MOST_TOKENS.into());
    let own = own.and_then(|n| u32::try_from(n).ok());
    let max_tokens = [need.max_tokens, need.pad_to].into_iter().flatten().min();
    let max_tokens = max_tokens.or(own).unwrap_or(CLIP_TOKENS);
    if need.lowercase || settings.lowercase {
        lower(top);
    }
    let padding = top
        .insert("padding".into(), Value::Null)
        .unwrap_or_default();
    top.insert("truncation".into(), Value::Null);
    add_ends(top, settings);
    let trial = Tokenizer::open(value.to_string().as_bytes(), max_tokens as usize)?;
    let end = trial.read("")?.ids.last().copied();
    check(&trial, end, need)?;
    if let Some(length) = need.pad_to {
        let (id, token) = pad(&trial, &padding, end, need, settings);
        value["padding"] = json!({
            "strategy": { "Fixed": length.min(max_tokens) },
            "direction": side(&padding, settings),
            "pad_to_multiple_of": null,
            "pad_id": id,
            "pad_type_id": 0,
            "pad_token": token,
        });
    }
    value["truncation"] = json!({
        "direction": "Right", "max_length": max_tokens, "strategy": "LongestFirst", "stride": 0,
    });
    let json = value.to_string().into_bytes();
    // Padding may bring an id of its own.
    check(&Tokenizer::open(&json, max_tokens as usize)?, end, need)?;
    let padded = need.pad_to.map_or("", |_| ", padded to that");
    let about = format!(
        "{from}: {} pieces, texts of at most {max_tokens} tokens{padded}",
        trial.largest_id() + 1
    );
    Ok(Fitted {
        json,
        max_tokens,
        about,
    })
}

/// Whether this is the encoder's own tokenizer, as far as ids can tell.
fn check(tokenizer: &Tokenizer, end: Option<i64>, need: &Need) -> Result<()> {
    const OWN: &str = "take the tokenizer that was published with this encoder, or `--no-text`";
    let largest = tokenizer.largest_id();
    if let Some(rows) = need.vocabulary.filter(|rows| largest >= *rows) {
        let found = format!("the wrong one: its ids go up to {largest}");
        let expected = format!("ids below {rows}, the rows of the encoder's table: {OWN}");
        return Err(Error::invalid("tokenizer", found, expected));
    }
    if let Some(wanted) = need.end.filter(|id| end != Some(i64::from(*id))) {
        let found = match end {
            Some(id) => format!("the wrong one: its texts end with token {id}"),
            None => "one that sets no token at the end of a text".into(),
        };
        let expected = format!("token {wanted}, at which the encoder pools: {OWN}");
        return Err(Error::invalid("tokenizer", found, expected));
    }
    Ok(())
}

/// The id and letters to pad with: the encoder's wish, else the files', else the end token.
fn pad(
    trial: &Tokenizer,
    own: &Value,
    end: Option<i64>,
    need: &Need,
    settings: &Settings,
) -> (u32, String) {
    let named = settings.pad.as_deref();
    let by_name = named.and_then(|token| trial.id_of(token));
    let from_file = own["pad_id"].as_u64().and_then(|id| u32::try_from(id).ok());
    let end = end.and_then(|id| u32::try_from(id).ok());
    let id = need.pad_id.or(by_name).or(from_file).or(end).unwrap_or(0);
    (id, trial.piece(id).unwrap_or_default())
}

fn side(own: &Value, settings: &Settings) -> &'static str {
    match (settings.padding_side.as_deref(), own["direction"].as_str()) {
        (Some("left"), _) | (None, Some("Left")) => "Left",
        _ => "Right",
    }
}

/// Puts lower case before all other normalization, where it is not there already.
fn lower(top: &mut Map<String, Value>) {
    let lowercase = json!({ "type": "Lowercase" });
    let old = top.remove("normalizer").unwrap_or_default();
    let does = |n: &Value| n["type"] == "Lowercase" || n["lowercase"] == true;
    let inside = old["normalizers"].as_array();
    let new = if does(&old) || inside.is_some_and(|list| list.iter().any(does)) {
        old
    } else if old.is_null() {
        lowercase
    } else {
        json!({ "type": "Sequence", "normalizers": [lowercase, old] })
    };
    top.insert("normalizer".into(), new);
}

/// Sets CLIP's start and end around each text, where a file of CLIP's forgot them.
fn add_ends(top: &mut Map<String, Value>, settings: &Settings) {
    let silent = match top.get("post_processor") {
        None | Some(Value::Null) => true,
        Some(p) => p["type"] == "ByteLevel",
    };
    let model = top.get("model").cloned().unwrap_or_default();
    if !silent || model["end_of_word_suffix"] != bpe::SUFFIX {
        return;
    }
    let added = top.get("added_tokens").and_then(Value::as_array);
    let id = |token: &str| {
        let of = added.and_then(|list| list.iter().find(|t| t["content"] == token));
        of.and_then(|t| t["id"].as_u64())
            .or(model["vocab"][token].as_u64())
    };
    let (start, end) = (settings.start(bpe::START), settings.end(bpe::END));
    if let (Some(start_id), Some(end_id)) = (id(&start), id(&end)) {
        let ends = bpe::ends((&start, start_id), (&end, end_id));
        top.insert("post_processor".into(), ends);
    }
}

#[cfg(test)]
mod tests;
