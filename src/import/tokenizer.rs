//! Tokenizers as models come with them, to the one `tokenizer.json` that a bundle keeps.
//!
//! Taken are `tokenizer.json`, CLIP's `vocab.json` with `merges.txt`, and WordPiece's `vocab.txt`. What
//! CLIP does to a text before splitting follows Transformers' fast tokenizer: NFC, runs of white
//! space to one space, lower case.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokenizers::Tokenizer;

use crate::error::{Error, Result};
use crate::store;

/// Largest file of a tokenizer, in bytes; multilingual ones have 20 MB.
const MAX_BYTES: u64 = 64 << 20;

/// CLIP's pieces: contractions, words, single digits, the rest.
const CLIP_PIECES: &str = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";

/// What the text model needs of its tokenizer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Need {
    /// Length to which every text is padded, where the model insists on one.
    pub(super) length: Option<usize>,
    /// Token that texts are padded with; else the tokenizer's own, or its last.
    pub(super) pad: Option<u32>,
    /// Rows of the model's table of tokens.
    pub(super) rows: Option<usize>,
}

/// The bytes of a `tokenizer.json` from the first of `places` that has a tokenizer; none where none has.
///
/// # Errors
/// The files cannot be read, are no tokenizer, or give ids that the model has no row for.
pub(super) fn find(places: &[PathBuf], need: Need) -> Result<Option<Vec<u8>>> {
    for place in places {
        let at = |name: &str| Some(place.join(name)).filter(|p| p.is_file());
        let (path, facts) = if let Some(path) = at("tokenizer.json") {
            let facts = read_json(&path)?;
            (path, facts)
        } else if let (Some(vocabulary), Some(merges)) = (at("vocab.json"), at("merges.txt")) {
            let facts = byte_pairs(&vocabulary, &merges)?;
            (vocabulary, facts)
        } else if let Some(path) = at("vocab.txt") {
            let facts = word_pieces(&path)?;
            (path, facts)
        } else if let Some(path) = at("spiece.model") {
            let expected = "tokenizer.json: `python -c \"from transformers import AutoTokenizer as T; T.from_pretrained('DIR').save_pretrained('DIR')\"` writes it";
            return Err(
                Error::invalid("tokenizer", "a SentencePiece model alone", expected).at(&path),
            );
        } else {
            continue;
        };
        return fit(facts, need).map(Some).map_err(|e| e.at(&path));
    }
    Ok(None)
}

fn read_json(path: &Path) -> Result<Value> {
    let text = store::read_text_bounded(path, "bytes of a tokenizer", MAX_BYTES)?;
    serde_json::from_str(&text)
        .map_err(|e| Error::invalid("tokenizer", e.to_string(), "JSON").at(path))
}

/// Sets length and padding, and checks the ids.
fn fit(mut facts: Value, need: Need) -> Result<Vec<u8>> {
    facts["truncation"] = Value::Null;
    let own_pad = facts["padding"].take();
    let bytes = facts.to_string().into_bytes();
    let tokenizer = open(&bytes)?;
    let count = tokenizer
        .get_vocab(true)
        .values()
        .max()
        .map_or(0, |id| *id as usize + 1);
    if let Some(rows) = need.rows.filter(|rows| *rows < count) {
        let found = format!("{count} tokens");
        let expected = format!(
            "at most {rows}, the rows of the model's table: is it the tokenizer of another model?"
        );
        return Err(Error::invalid("tokenizer", found, expected));
    }
    let Some(length) = need.length else {
        return Ok(bytes);
    };
    let own = own_pad["pad_id"]
        .as_u64()
        .and_then(|id| u32::try_from(id).ok());
    let named = ["<pad>", "[PAD]", END]
        .iter()
        .find_map(|t| tokenizer.token_to_id(t));
    let pad = need.pad.or(own).or(named).unwrap_or(0);
    facts["padding"] = json!({
        "strategy": { "Fixed": length }, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": pad, "pad_type_id": 0, "pad_token": tokenizer.id_to_token(pad).unwrap_or_default(),
    });
    Ok(facts.to_string().into_bytes())
}

fn open(bytes: &[u8]) -> Result<Tokenizer> {
    Tokenizer::from_bytes(bytes).map_err(|e| {
        Error::invalid(
            "tokenizer",
            e.to_string(),
            "a tokenizer.json of the tokenizers library",
        )
    })
}

/// CLIP's byte-level pairs, with `</w>` at the end of words.
fn byte_pairs(vocabulary: &Path, merges: &Path) -> Result<Value> {
    let ids = read_json(vocabulary)?;
    let id = |token: &str| {
        ids[token].as_u64().ok_or_else(|| {
            Error::invalid("tokenizer", format!("no `{token}`"), "CLIP's vocab.json").at(vocabulary)
        })
    };
    let (start, end) = (id(START)?, id(END)?);
    let text = store::read_text_bounded(merges, "bytes of a tokenizer", MAX_BYTES)?;
    let pairs: Vec<&str> = text
        .lines()
        .filter(|l| !l.starts_with("#version") && !l.trim().is_empty())
        .collect();
    let special = |id: u64, content: &str| json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true });
    Ok(json!({
        "version": "1.0",
        "added_tokens": [special(start, START), special(end, END)],
        "normalizer": { "type": "Sequence", "normalizers": [
            { "type": "NFC" },
            { "type": "Replace", "pattern": { "Regex": "\\s+" }, "content": " " },
            { "type": "Lowercase" },
        ] },
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
            { "type": "Split", "pattern": { "Regex": CLIP_PIECES }, "behavior": "Removed", "invert": true },
            { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        ] },
        "post_processor": {
            "type": "RobertaProcessing", "sep": [END, end], "cls": [START, start], "trim_offsets": false, "add_prefix_space": false,
        },
        "decoder": null,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": END, "continuing_subword_prefix": "", "end_of_word_suffix": "</w>",
            "fuse_unk": false, "vocab": ids, "merges": pairs,
        },
    }))
}

/// BERT's word pieces, lower case.
fn word_pieces(path: &Path) -> Result<Value> {
    let text = store::read_text_bounded(path, "bytes of a tokenizer", MAX_BYTES)?;
    let mut ids = serde_json::Map::new();
    for (id, line) in text.lines().enumerate() {
        ids.insert(line.trim_end().to_owned(), id.into());
    }
    let id = |token: &str| {
        let found = ids.get(token).and_then(Value::as_u64);
        found.ok_or_else(|| {
            Error::invalid("tokenizer", format!("no `{token}`"), "BERT's vocab.txt").at(path)
        })
    };
    let (start, end) = (id("[CLS]")?, id("[SEP]")?);
    let special = |content: &str, id: u64| json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true });
    Ok(json!({
        "version": "1.0",
        "added_tokens": [special("[UNK]", id("[UNK]")?), special("[CLS]", start), special("[SEP]", end)],
        "normalizer": { "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": { "type": "BertProcessing", "sep": ["[SEP]", end], "cls": ["[CLS]", start] },
        "decoder": null,
        "model": { "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": ids },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A vocabulary of bytes and two merges, as CLIP's file begins.
    fn clip_files(dir: &Path) {
        let mut ids = serde_json::Map::new();
        for word in [
            "c", "a", "t", "s", "'", "!", "c</w>", "a</w>", "t</w>", "s</w>", "'</w>", "!</w>",
            "at</w>", "cat</w>", "'s</w>",
        ] {
            ids.insert(word.into(), ids.len().into());
        }
        for word in [START, END] {
            ids.insert(word.into(), ids.len().into());
        }
        std::fs::write(dir.join("vocab.json"), Value::Object(ids).to_string()).unwrap();
        std::fs::write(
            dir.join("merges.txt"),
            "#version: 0.2\na t</w>\nc at</w>\n' s</w>\n",
        )
        .unwrap();
    }

    #[test]
    fn clip_pairs_split_and_close_as_clip_does() {
        let dir = tempfile::tempdir().unwrap();
        clip_files(dir.path());
        let places = [dir.path().join("none"), dir.path().to_owned()];
        let bytes = find(&places, Need::default()).unwrap().unwrap();
        let ids = |text: &str| {
            open(&bytes)
                .unwrap()
                .encode(text, true)
                .unwrap()
                .get_ids()
                .to_vec()
        };
        assert_eq!(ids("Cat's  CAT!"), [15, 13, 14, 13, 11, 16]);
        assert_eq!(ids(""), [15, 16]);
    }

    #[test]
    fn padding_goes_in_where_the_model_insists() {
        let dir = tempfile::tempdir().unwrap();
        clip_files(dir.path());
        let need = Need {
            length: Some(6),
            rows: Some(17),
            ..Need::default()
        };
        let bytes = find(&[dir.path().to_owned()], need).unwrap().unwrap();
        let encoding = open(&bytes).unwrap().encode("cat", true).unwrap();
        assert_eq!(encoding.get_ids(), [15, 13, 16, 16, 16, 16]);
        assert_eq!(encoding.get_attention_mask(), [1, 1, 1, 0, 0, 0]);
    }

    #[test]
    fn the_tokenizer_of_a_larger_model_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        clip_files(dir.path());
        let need = Need {
            rows: Some(16),
            ..Need::default()
        };
        let error = find(&[dir.path().to_owned()], need)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("17 tokens") && error.contains("another model"),
            "{error}"
        );
    }

    #[test]
    fn word_pieces_from_their_list() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("vocab.txt"),
            "[PAD]\n[UNK]\n[CLS]\n[SEP]\nmug\n##s\n",
        )
        .unwrap();
        let bytes = find(&[dir.path().to_owned()], Need::default())
            .unwrap()
            .unwrap();
        let encoding = open(&bytes).unwrap().encode("Mugs X", true).unwrap();
        assert_eq!(encoding.get_ids(), [2, 4, 5, 1, 3]);
    }
}
