//! A text encoder on tract: names in sentences to vectors, in small batches.

use std::sync::Arc;

use tokenizers::Tokenizer;
use tract_onnx::prelude::*;

use crate::bundle::{Bundle, TextSections};
use crate::encoder::{
    normalise,
    onnx::{Fed, Length, Onnx},
};
use crate::error::{Error, Result};

/// Texts of one run: enough to keep the products busy, little enough for a small board.
const BATCH: usize = 16;

/// An opened text encoder.
pub struct TextEncoder {
    plan: Arc<TypedSimplePlan>,
    takes_mask: bool,
    tokenizer: Tokenizer,
    max_tokens: usize,
    dim: usize,
    exact: bool,
}

impl std::fmt::Debug for TextEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TextEncoder")
            .field("dim", &self.dim)
            .field("exact", &self.exact)
            .finish()
    }
}

/// Token ids of one text, and which of its tokens the tokenizer did not know.
struct Tokens {
    ids: Vec<i64>,
    known: bool,
}

impl TextEncoder {
    /// Opens the text encoder of `bundle`, if it has one.
    ///
    /// # Errors
    /// Its tokenizer or graph cannot be read or does not have the inputs and output of a text encoder.
    pub fn open(bundle: &Bundle) -> Result<Option<Self>> {
        let Some(sections) = bundle.text_encoder()? else {
            return Ok(None);
        };
        Self::from_sections(&sections, bundle.dim())
            .map(Some)
            .map_err(|e| e.at(bundle.path()))
    }

    fn from_sections(sections: &TextSections, dim: usize) -> Result<Self> {
        let mut tokenizer = Tokenizer::from_bytes(&sections.tokenizer[..]).map_err(|e| {
            Error::invalid(
                "tokenizer",
                e.to_string(),
                "a tokenizer.json of the tokenizers library",
            )
        })?;
        tokenizer.with_padding(None);
        let max_tokens = sections.card.max_tokens as usize;
        let cut = tokenizers::TruncationParams {
            max_length: max_tokens,
            ..Default::default()
        };
        tokenizer.with_truncation(Some(cut)).map_err(|e| {
            Error::invalid(
                "tokenizer",
                e.to_string(),
                "a tokenizer that can cut long texts",
            )
        })?;
        let graph = Onnx::parse(&sections.onnx)?;
        let names: Vec<String> = graph.inputs().into_iter().map(|i| i.name).collect();
        let takes_mask = names.iter().any(|n| n == "attention_mask");
        if names
            .iter()
            .filter(|n| *n != "attention_mask")
            .ne(["input_ids"])
        {
            let expected = "`input_ids` and maybe `attention_mask`";
            return Err(Error::invalid(
                "text encoder inputs",
                names.join(", "),
                expected,
            ));
        }
        if !graph.outputs().iter().any(|o| o.name == "text_embeds") {
            let found: Vec<String> = graph
                .outputs()
                .iter()
                .map(super::super::encoder::onnx::Declared::words)
                .collect();
            return Err(Error::invalid(
                "text encoder outputs",
                found.join(", "),
                "`text_embeds`",
            ));
        }
        let shape = [Length::Free("batch"), Length::Free("tokens")];
        let inputs: Vec<Fed<'_>> = names
            .iter()
            .map(|n| Fed {
                name: n,
                kind: i64::datum_type(),
                shape: &shape,
            })
            .collect();
        let plan = graph.into_plan(&inputs, "text_embeds", 1)?;
        Ok(Self {
            plan,
            takes_mask,
            tokenizer,
            max_tokens,
            dim,
            exact: sections.card.exact,
        })
    }

    /// Whether this is the encoder that spans the space, not a small stand-in for it.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.exact
    }

    /// Most tokens of a text; what goes beyond is cut.
    #[must_use]
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// Token ids of `text`, as the encoder is fed with them.
    ///
    /// # Errors
    /// The tokenizer refuses the text.
    pub fn token_ids(&self, text: &str) -> Result<Vec<i64>> {
        Ok(self.tokens(text)?.ids)
    }

    /// Whether the tokenizer knows any piece of `text`.
    ///
    /// # Errors
    /// The tokenizer refuses the text.
    pub fn knows(&self, text: &str) -> Result<bool> {
        Ok(self.tokens(text)?.known)
    }

    fn tokens(&self, text: &str) -> Result<Tokens> {
        let encoding = self.tokenizer.encode(text, true).map_err(|e| {
            Error::invalid(
                "text",
                format!("{text:?}: {e}"),
                "text that the tokenizer takes",
            )
        })?;
        let special = encoding.get_special_tokens_mask();
        let known = encoding
            .get_tokens()
            .iter()
            .zip(special)
            .any(|(t, s)| *s == 0 && t != "[UNK]");
        Ok(Tokens {
            ids: encoding.get_ids().iter().map(|i| i64::from(*i)).collect(),
            known,
        })
    }

    /// Unit vectors of `texts`, in order; `progress` hears how many are done.
    ///
    /// # Errors
    /// The tokenizer refuses a text, or the graph fails to run.
    pub fn encode(
        &self,
        texts: &[String],
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<Vec<f32>>> {
        let tokens = texts
            .iter()
            .map(|t| Ok(self.tokens(t)?.ids))
            .collect::<Result<Vec<_>>>()?;
        let mut order: Vec<usize> = (0..texts.len()).collect();
        // Texts of one length share a run, so that none needs padding.
        order.sort_by_key(|i| tokens[*i].len());
        let mut vectors = vec![Vec::new(); texts.len()];
        let mut state = self.plan.spawn().map_err(|e| failed(&e))?;
        let mut done = 0;
        for same_length in order.chunk_by(|a, b| tokens[*a].len() == tokens[*b].len()) {
            for batch in same_length.chunks(BATCH) {
                let rows: Vec<&[i64]> = batch.iter().map(|i| &tokens[*i][..]).collect();
                for (i, v) in batch.iter().zip(self.run(&mut state, &rows)?) {
                    vectors[*i] = v;
                }
                done += batch.len();
                progress(done);
            }
        }
        Ok(vectors)
    }

    fn run(&self, state: &mut TypedSimpleState, rows: &[&[i64]]) -> Result<Vec<Vec<f32>>> {
        let shape = [rows.len(), rows[0].len()];
        let ids = Tensor::from_shape(&shape, &rows.concat()).map_err(|e| failed(&e))?;
        let mut inputs = tvec!(ids.into_tvalue());
        if self.takes_mask {
            let ones = vec![1i64; shape[0] * shape[1]];
            inputs.push(
                Tensor::from_shape(&shape, &ones)
                    .map_err(|e| failed(&e))?
                    .into_tvalue(),
            );
        }
        let outputs = state.run(inputs).map_err(|e| failed(&e))?;
        let view = outputs[0].try_as_plain_ram().map_err(|e| failed(&e))?;
        let values = view.as_slice::<f32>().map_err(|e| failed(&e))?;
        if values.len() != rows.len() * self.dim {
            let found = format!("{} values for {} texts", values.len(), rows.len());
            return Err(Error::invalid(
                "text encoder output",
                found,
                format!("{} a text", self.dim),
            ));
        }
        values
            .chunks_exact(self.dim)
            .map(|v| {
                let mut v = v.to_vec();
                normalise(&mut v)?;
                Ok(v)
            })
            .collect()
    }
}

fn failed(e: &TractError) -> Error {
    Error::invalid(
        "text encoder run",
        format!("{e:#}"),
        "a graph that tract 0.23 can run",
    )
}
