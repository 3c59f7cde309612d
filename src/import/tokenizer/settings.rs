//! What `tokenizer_config.json` and `special_tokens_map.json` say beside the pieces.

use serde_json::Value;

use crate::error::{Error, Result};

/// The few settings that change token ids.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Settings {
    pub(super) max_tokens: Option<u64>,
    pub(super) lowercase: bool,
    /// BERT's `do_lower_case`, `strip_accents` and `tokenize_chinese_chars`.
    pub(super) do_lower_case: Option<bool>,
    pub(super) strip_accents: Option<bool>,
    pub(super) split_chinese: Option<bool>,
    pub(super) padding_side: Option<String>,
    pub(super) pad: Option<String>,
    pub(super) unknown: Option<String>,
    start: Option<String>,
    end: Option<String>,
}

impl Settings {
    /// From the bytes of either file; what both say counts as the first says it.
    pub(super) fn read(config: Option<&[u8]>, special: Option<&[u8]>) -> Result<Self> {
        let parse = |bytes: Option<&[u8]>| {
            let expected = "JSON, as transformers writes it";
            serde_json::from_slice::<Value>(bytes.unwrap_or(b"{}"))
                .map_err(|e| Error::invalid("tokenizer settings", e.to_string(), expected))
        };
        let (config, special) = (parse(config)?, parse(special)?);
        let token = |key: &str| {
            // A token stands as its letters, or as an object that holds them.
            let letters = |v: &Value| v.as_str().or(v["content"].as_str()).map(str::to_owned);
            letters(&config[key]).or_else(|| letters(&special[key]))
        };
        // "No limit" is written as a float that no integer holds.
        let max_tokens = config["model_max_length"].as_u64().filter(|n| *n > 0);
        Ok(Self {
            max_tokens,
            lowercase: config["tokenizer_class"] == "Siglip2Tokenizer",
            do_lower_case: config["do_lower_case"].as_bool(),
            strip_accents: config["strip_accents"].as_bool(),
            split_chinese: config["tokenize_chinese_chars"].as_bool(),
            padding_side: config["padding_side"].as_str().map(str::to_owned),
            pad: token("pad_token"),
            unknown: token("unk_token"),
            start: token("bos_token").or_else(|| token("cls_token")),
            end: token("eos_token").or_else(|| token("sep_token")),
        })
    }

    /// The token at the start of a text.
    pub(super) fn start(&self, usual: &str) -> String {
        self.start.clone().unwrap_or_else(|| usual.to_owned())
    }

    /// The token at the end of a text.
    pub(super) fn end(&self, usual: &str) -> String {
        self.end.clone().unwrap_or_else(|| usual.to_owned())
    }
}
