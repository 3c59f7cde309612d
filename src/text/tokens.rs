//! Texts to token ids, as the tokenizer that was trained with the encoder gives them.
//!
//! What a tokenizer does to a text (case, accents, spaces) stands in its own file and is
//! followed to the letter; nothing here cleans a text before it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokenizers::{PaddingStrategy, TruncationDirection, TruncationParams};

use crate::error::{Error, Result};

/// How the file formats that we take call a piece that they do not know.
const UNKNOWN: [&str; 2] = ["[UNK]", "<unk>"];

/// Most tokens of a text that any encoder may be said to take.
const MAX_TOKENS: usize = 4096;

/// A `tokenizer.json` ready to read texts of at most [`max_tokens`](Self::max_tokens).
pub(crate) struct Tokenizer {
    inner: tokenizers::Tokenizer,
    max_tokens: usize,
    fixed: Option<usize>,
}

/// One text as the encoder is fed with it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tokens {
    pub(crate) ids: Vec<i64>,
    /// 1 where a token stands, 0 where there is padding.
    pub(crate) mask: Vec<i64>,
    /// Whether the tokenizer knows any piece of the text.
    pub(crate) known: bool,
    /// Whether the text was longer than it may be.
    pub(crate) cut: bool,
}

impl Tokenizer {
    /// Opens the bytes of a `tokenizer.json`; longer texts are cut, the end token kept.
    ///
    /// Padding to a fixed length is honoured, and then no text is longer than that; padding
    /// to the longest of a batch is not, because texts of one length are batched here.
    ///
    /// # Errors
    /// The library cannot read it, or start and end leave no room for a token between them.
    pub(crate) fn open(json: &[u8], max_tokens: usize) -> Result<Self> {
        if max_tokens > MAX_TOKENS {
            return Err(Error::Limit {
                what: "tokens of a text",
                found: max_tokens as u64,
                limit: MAX_TOKENS as u64,
            });
        }
        let mut inner = guarded(|| tokenizers::Tokenizer::from_bytes(json))
            .map_err(|e| refused(e, "a tokenizer.json of the tokenizers library"))?;
        let fixed = inner.get_padding().and_then(|p| match p.strategy {
            PaddingStrategy::Fixed(n) => Some(n.min(max_tokens)),
            PaddingStrategy::BatchLongest => None,
        });
        let max_tokens = fixed.unwrap_or(max_tokens);
        let mut padding = inner.get_padding().cloned().filter(|_| fixed.is_some());
        if let Some(p) = &mut padding {
            p.strategy = PaddingStrategy::Fixed(max_tokens);
            p.pad_to_multiple_of = None;
        }
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|e| refused(e.to_string(), "a tokenizer without a cut"))?;
        let around = guarded(|| inner.encode("", true)).map_err(|e| refused(e, TAKES))?;
        if around.len() >= max_tokens {
            let found = format!(
                "{} tokens around each text of at most {max_tokens}",
                around.len()
            );
            return Err(Error::invalid("tokenizer", found, "room for a text"));
        }
        let cut = TruncationParams {
            max_length: max_tokens,
            direction: TruncationDirection::Right,
            ..Default::default()
        };
        inner
            .with_truncation(Some(cut))
            .map_err(|e| refused(e.to_string(), "a tokenizer that can cut long texts"))?;
        inner.with_padding(padding);
        Ok(Self {
            inner,
            max_tokens,
            fixed,
        })
    }

    /// Most tokens of a text, start and end included.
    pub(crate) fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// The length that every text is padded to, where the file says so.
    pub(crate) fn fixed(&self) -> Option<usize> {
        self.fixed
    }

    /// The largest id that any text can give.
    pub(crate) fn largest_id(&self) -> u32 {
        let ids = self.inner.get_vocab(true).into_values();
        let pad = self.inner.get_padding().map_or(0, |p| p.pad_id);
        ids.max().unwrap_or(0).max(pad)
    }

    /// The id of a piece, by its letters.
    pub(crate) fn id_of(&self, piece: &str) -> Option<u32> {
        self.inner.token_to_id(piece)
    }

    /// The letters of a piece, by its id.
    pub(crate) fn piece(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The tokens of `text`.
    ///
    /// # Errors
    /// The tokenizer refuses the text.
    pub(crate) fn read(&self, text: &str) -> Result<Tokens> {
        let encoding = guarded(|| self.inner.encode(text, true))
            .map_err(|e| Error::invalid("text", format!("{text:?}: {e}"), TAKES))?;
        let special = encoding.get_special_tokens_mask();
        let known = encoding
            .get_tokens()
            .iter()
            .zip(special)
            .any(|(t, s)| *s == 0 && !UNKNOWN.contains(&t.as_str()));
        let wide = |v: &[u32]| v.iter().map(|i| i64::from(*i)).collect();
        Ok(Tokens {
            ids: wide(encoding.get_ids()),
            mask: wide(encoding.get_attention_mask()),
            known,
            cut: !encoding.get_overflowing().is_empty(),
        })
    }
}

const TAKES: &str = "text that the tokenizer takes";

fn refused(found: String, expected: &str) -> Error {
    Error::invalid("tokenizer", found, expected)
}

/// The library answers some strange files with a panic; that must not end the program.
fn guarded<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> std::result::Result<T, String> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(e)) => Err(e.to_string()),
        Err(_) => Err("a file that the tokenizers library gave up on".into()),
    }
}
