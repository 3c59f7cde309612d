//! CLIP's byte-level BPE with `</w>` at the end of words, from its two published forms.

use std::io::Read;

use serde_json::{Map, Value, json};

use super::settings::Settings;
use crate::error::{Error, Result};

/// What marks the last piece of a word.
pub(super) const SUFFIX: &str = "</w>";
pub(super) const START: &str = "<|startoftext|>";
pub(super) const END: &str = "<|endoftext|>";

/// Pieces that CLIP has: 2 × 256 bytes, the merges, start and end.
const CLIP_PIECES: usize = 49_408;
/// Most pieces that we take from anywhere.
const MAX_PIECES: usize = 1 << 20;

/// From `vocab.json` (pieces and ids) and `merges.txt` (pairs, best first).
pub(super) fn from_vocabulary(vocab: &[u8], merges: &[u8], settings: &Settings) -> Result<Value> {
    let ids: Map<String, Value> = serde_json::from_slice(vocab).map_err(|e| {
        Error::invalid(
            "vocab.json",
            e.to_string(),
            "an object of pieces and their ids",
        )
    })?;
    if !ids.keys().any(|piece| piece.ends_with(SUFFIX)) {
        let found = "no piece that ends with `</w>`: not CLIP's kind of tokenizer";
        return Err(Error::invalid(
            "vocab.json",
            found,
            "`tokenizer.json` instead",
        ));
    }
    let text = utf8("merges.txt", merges)?;
    let pairs = pairs(text, MAX_PIECES)?;
    let tokens = (settings.start(START), settings.end(END));
    document(ids, &pairs, tokens, settings.unknown.as_deref())
}

/// From CLIP's own list of merges, gzipped or not; the ids follow from it.
pub(super) fn from_clip_merges(bytes: &[u8]) -> Result<Value> {
    let mut plain = Vec::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        flate2::read::GzDecoder::new(bytes)
            .take(super::MAX_BYTES)
            .read_to_end(&mut plain)
            .map_err(|e| Error::invalid("CLIP's merges", e.to_string(), "a whole gzip file"))?;
    } else {
        plain.extend_from_slice(bytes);
    }
    // The file holds five times as many merges as CLIP uses.
    let letters = byte_letters();
    let text = utf8("CLIP's merges", &plain)?;
    let pairs = pairs(text, CLIP_PIECES - 2 * letters.len() - 2)?;
    let single = letters.iter().map(char::to_string);
    let last = letters.iter().map(|c| format!("{c}{SUFFIX}"));
    let merged = pairs.iter().map(|(a, b)| format!("{a}{b}"));
    let ends = [START, END].map(str::to_owned);
    let pieces = single.chain(last).chain(merged).chain(ends);
    let ids: Map<String, Value> = pieces.zip(0u32..).map(|(p, i)| (p, i.into())).collect();
    document(ids, &pairs, (START.into(), END.into()), None)
}

/// The same rules as transformers' CLIPTokenizer.
fn document(
    mut ids: Map<String, Value>,
    pairs: &[(&str, &str)],
    (start, end): (String, String),
    unknown: Option<&str>,
) -> Result<Value> {
    if ids.len() > MAX_PIECES {
        let (found, limit) = (ids.len() as u64, MAX_PIECES as u64);
        return Err(Error::Limit {
            what: "pieces of a tokenizer",
            found,
            limit,
        });
    }
    let id = |ids: &Map<String, Value>, token: &str| {
        ids.get(token).and_then(Value::as_u64).ok_or_else(|| {
            let found = format!("no `{token}` among {} pieces", ids.len());
            Error::invalid("vocab.json", found, "the tokens at start and end of a text")
        })
    };
    let (start_id, end_id) = (id(&ids, &start)?, id(&ids, &end)?);
    let unknown = unknown
        .filter(|u| ids.contains_key(*u))
        .unwrap_or(&end)
        .to_owned();
    let special = |content: &str, id: u64, normalized: bool| {
        json!({
            "id": id, "content": content, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": normalized, "special": true,
        })
    };
    let mut added = vec![
        special(&start, start_id, true),
        special(&end, end_id, false),
    ];
    added.sort_by_key(|t| t["id"].as_u64());
    let merges: Vec<Value> = pairs.iter().map(|(a, b)| json!([a, b])).collect();
    let vocab = std::mem::take(&mut ids);
    let words = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": { "type": "Sequence", "normalizers": [
            { "type": "NFC" },
            { "type": "Replace", "pattern": { "Regex": r"\s+" }, "content": " " },
            { "type": "Lowercase" },
        ] },
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
            { "type": "Split", "pattern": { "Regex": words }, "behavior": "Removed", "invert": true },
            { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        ] },
        "post_processor": ends((&start, start_id), (&end, end_id)),
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": unknown,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": SUFFIX,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": false,
            "vocab": vocab,
            "merges": merges,
        },
    }))
}

/// The post-processor that sets start and end around a text.
pub(super) fn ends(start: (&str, u64), end: (&str, u64)) -> Value {
    json!({
        "type": "RobertaProcessing", "sep": [end.0, end.1], "cls": [start.0, start.1],
        "trim_offsets": false, "add_prefix_space": false,
    })
}

fn utf8<'a>(what: &'static str, bytes: &'a [u8]) -> Result<&'a str> {
    std::str::from_utf8(bytes).map_err(|e| {
        let found = format!("no UTF-8 at byte {}", e.valid_up_to());
        Error::invalid(what, found, "a list of pairs, one a line")
    })
}

/// At most `most` pairs of pieces, one a line after the line that names the version.
fn pairs(text: &str, most: usize) -> Result<Vec<(&str, &str)>> {
    let mut lines = text
        .split('\n')
        .map(|l| l.trim_end_matches('\r'))
        .zip(1..)
        .peekable();
    lines.next_if(|(line, _)| line.contains("#version"));
    lines
        .filter(|(line, _)| !line.is_empty())
        .take(most)
        .map(|(line, at)| {
            line.split_once(' ')
                .filter(|(a, b)| !a.is_empty() && !b.is_empty() && !b.contains(' '))
                .ok_or_else(|| {
                    let start: String = line.chars().take(40).collect();
                    let found = format!("{start:?} in line {at}");
                    Error::invalid("merges", found, "two pieces and a space between them")
                })
        })
        .collect()
}

/// The letter that stands for each byte, in the order of CLIP's ids (GPT-2's table): printable
/// bytes stand for themselves, the others for what follows 255.
fn byte_letters() -> Vec<char> {
    let printable = || (33..=126).chain(161..=172).chain(174..=255u8);
    let others = (0..=255u8).filter(|b| !printable().any(|p| p == *b));
    let shifted = others.zip(256u32..).filter_map(|(_, c)| char::from_u32(c));
    printable().map(char::from).chain(shifted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_letter_of_its_own() {
        let letters = byte_letters();
        assert_eq!((letters.len(), letters[0], letters[255]), (256, '!', 'Ń'));
        let distinct: std::collections::BTreeSet<_> = letters.into_iter().collect();
        assert_eq!(distinct.len(), 256);
    }

    #[test]
    fn a_line_that_is_no_pair_is_named() {
        assert_eq!(
            pairs("#version: 0.2\nt h\r\nth e</w>\n", 9).unwrap().len(),
            2
        );
        let error = pairs("t h\nthe\n", 9).unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
    }
}
