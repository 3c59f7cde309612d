//! BERT's WordPiece from its list of pieces, one a line.

use serde_json::{Map, Value, json};

use super::settings::Settings;
use crate::error::{Error, Result};

const MAX_PIECES: usize = 1 << 20;

/// From `vocab.txt`: the id of a piece is its line. Lower case without accents, unless the
/// settings say otherwise.
pub(super) fn from_list(bytes: &[u8], settings: &Settings) -> Result<Value> {
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let found = format!("no UTF-8 at byte {}", e.valid_up_to());
        Error::invalid("vocab.txt", found, "a list of pieces, one a line")
    })?;
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    if lines.len() > MAX_PIECES {
        let (found, limit) = (lines.len() as u64, MAX_PIECES as u64);
        return Err(Error::Limit {
            what: "pieces of a tokenizer",
            found,
            limit,
        });
    }
    let vocab: Map<String, Value> = lines
        .iter()
        .zip(0u32..)
        .map(|(piece, id)| ((*piece).to_owned(), id.into()))
        .collect();
    let unknown = settings.unknown.clone().unwrap_or_else(|| "[UNK]".into());
    let (start, end) = (settings.start("[CLS]"), settings.end("[SEP]"));
    let id = |token: &str| {
        vocab.get(token).cloned().ok_or_else(|| {
            let found = format!("no `{token}` among {} pieces", vocab.len());
            Error::invalid("vocab.txt", found, "a list of WordPiece, as BERT has it")
        })
    };
    let (start_id, end_id) = (id(&start)?, id(&end)?);
    id(&unknown)?;
    let special = ["[PAD]", &unknown, &start, &end, "[MASK]"];
    let added: Vec<Value> = special
        .iter()
        .filter_map(|token| {
            Some(json!({
                "id": vocab.get(*token)?, "content": token, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true,
            }))
        })
        .collect();
    let token = |name: &str, kind: u32| json!({ "SpecialToken": { "id": name, "type_id": kind } });
    let sequence = |name: &str, kind: u32| json!({ "Sequence": { "id": name, "type_id": kind } });
    let single = [token(&start, 0), sequence("A", 0), token(&end, 0)];
    let pair = single
        .iter()
        .cloned()
        .chain([sequence("B", 1), token(&end, 1)]);
    let named = |name: &str, id: &Value| json!({ "id": name, "ids": [id], "tokens": [name] });
    let mut ends = Map::new();
    ends.insert(start.clone(), named(&start, &start_id));
    ends.insert(end.clone(), named(&end, &end_id));
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": true,
            "handle_chinese_chars": settings.split_chinese.unwrap_or(true),
            "strip_accents": settings.strip_accents,
            "lowercase": settings.do_lower_case.unwrap_or(true),
        },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": single,
            "pair": pair.collect::<Vec<_>>(),
            "special_tokens": ends,
        },
        "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": true },
        "model": {
            "type": "WordPiece",
            "unk_token": unknown,
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": vocab,
        },
    }))
}
