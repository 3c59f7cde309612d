//! A text encoder on tract: names in sentences to vectors, in small batches.

use std::sync::Arc;

use tract_onnx::prelude::*;

use super::labels::Label;
use super::prompts::fill;
use super::tokens::{Tokenizer, Tokens};
use crate::bundle::{Bundle, TextCard};
use crate::encoder::{
    normalise,
    onnx::{Declared, Fed, Length, Onnx},
};
use crate::error::{Error, Result};

const IDS: &str = "input_ids";
const MASK: &str = "attention_mask";
/// Texts of one run: enough to keep the products busy, little enough for a small board.
const BATCH: usize = 16;

/// Labels whose texts are in memory at once.
const LABELS_AT_ONCE: usize = 64;

/// An opened text encoder.
pub struct TextEncoder {
    plan: Arc<TypedSimplePlan>,
    /// Names of the inputs, in the order in which the graph takes them.
    inputs: Vec<String>,
    tokenizer: Tokenizer,
    /// Texts of every run, where the graph takes no other number.
    batch: Option<usize>,
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

impl TextEncoder {
    /// Opens the text encoder of `bundle`, if it has one.
    ///
    /// # Errors
    /// Its tokenizer or graph cannot be read or does not have the inputs and output of a text encoder.
    pub fn open(bundle: &Bundle) -> Result<Option<Self>> {
        let Some(sections) = bundle.text_encoder()? else {
            return Ok(None);
        };
        Self::of(
            &sections.onnx,
            &sections.tokenizer,
            &sections.card,
            bundle.dim(),
        )
        .map(Some)
        .map_err(|e| e.at(bundle.path()))
    }

    /// A text encoder from the bytes of its graph and of its `tokenizer.json`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn of(onnx: &[u8], tokenizer: &[u8], card: &TextCard, dim: usize) -> Result<Self> {
        let tokenizer = Tokenizer::open(tokenizer, card.max_tokens as usize)?;
        let graph = Onnx::parse(onnx)?;
        let declared = graph.inputs();
        let names: Vec<String> = declared.iter().map(|i| i.name.clone()).collect();
        if names.iter().filter(|n| *n != MASK).ne([IDS]) {
            let expected = "`input_ids` and maybe `attention_mask`";
            return Err(Error::invalid(
                "text encoder inputs",
                names.join(", "),
                expected,
            ));
        }
        let outputs = graph.outputs();
        if !outputs.iter().any(|o| o.name == "text_embeds") {
            let found = Declared::list(&outputs);
            return Err(Error::invalid(
                "text encoder outputs",
                found,
                "`text_embeds`",
            ));
        }
        let ids = declared.iter().find(|i| i.name == IDS);
        let batch = ids.and_then(|i| i.shape.first().copied().flatten());
        let shape = [
            batch.map_or(Length::Free("batch"), Length::Fixed),
            tokenizer
                .fixed()
                .map_or(Length::Free("tokens"), Length::Fixed),
        ];
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
            inputs: names,
            tokenizer,
            batch,
            dim,
            exact: card.exact,
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
        self.tokenizer.max_tokens()
    }

    /// Token ids of `text`, as the encoder is fed with them: padding included, where the
    /// encoder was made for one length.
    ///
    /// # Errors
    /// The tokenizer refuses the text.
    pub fn token_ids(&self, text: &str) -> Result<Vec<i64>> {
        Ok(self.tokenizer.read(text)?.ids)
    }

    /// Whether the tokenizer knows any piece of `text`.
    ///
    /// # Errors
    /// The tokenizer refuses the text.
    pub fn knows(&self, text: &str) -> Result<bool> {
        Ok(self.tokenizer.read(text)?.known)
    }

    /// Unit vectors of `texts`, in order; `progress` hears how many are done.
    ///
    /// A run is of few texts, so memory grows by their tokens and vectors alone.
    ///
    /// # Errors
    /// The tokenizer refuses a text, or the graph fails to run.
    pub fn encode(
        &self,
        texts: &[String],
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<Vec<f32>>> {
        let mut cuts = Cuts::default();
        let vectors = self.encode_counting(texts, &mut cuts, progress)?;
        cuts.tell(texts.len(), self.max_tokens());
        Ok(vectors)
    }

    /// Text weights of `labels`: CLIP's prompt ensemble over `templates`, or over the prompts
    /// of a label that has its own; `progress` hears how many of how many texts are done.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn weights(
        &self,
        labels: &[&Label],
        templates: &[String],
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Vec<f32>>> {
        let count = |label: &Label| match label.prompts() {
            [] => templates.len(),
            own => own.len(),
        };
        let total = labels.iter().map(|l| count(l)).sum();
        let (mut cuts, mut before) = (Cuts::default(), 0);
        let mut weights = Vec::with_capacity(labels.len());
        for some in labels.chunks(LABELS_AT_ONCE) {
            let mut texts = Vec::new();
            for label in some {
                match label.prompts() {
                    [] => texts.extend(templates.iter().map(|t| fill(t, label.name()))),
                    own => texts.extend_from_slice(own),
                }
            }
            let tell = &mut |done| progress(before + done, total);
            let vectors = self.encode_counting(&texts, &mut cuts, tell)?;
            before += texts.len();
            let mut rest = &vectors[..];
            for label in some {
                let (own, others) = rest.split_at(count(label));
                weights.push(mean_direction(own)?);
                rest = others;
            }
        }
        cuts.tell(total, self.max_tokens());
        Ok(weights)
    }

    fn encode_counting(
        &self,
        texts: &[String],
        cuts: &mut Cuts,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<Vec<f32>>> {
        let tokens = texts
            .iter()
            .map(|t| self.tokenizer.read(t))
            .collect::<Result<Vec<_>>>()?;
        cuts.count(texts, &tokens);
        let mut order: Vec<usize> = (0..texts.len()).collect();
        // Texts of one length share a run, so that none is padded for another's sake.
        order.sort_by_key(|i| tokens[*i].ids.len());
        let mut vectors = vec![Vec::new(); texts.len()];
        let mut state = self.plan.spawn().map_err(|e| failed(&e))?;
        let mut done = 0;
        for same_length in order.chunk_by(|a, b| tokens[*a].ids.len() == tokens[*b].ids.len()) {
            for batch in same_length.chunks(self.batch.unwrap_or(BATCH)) {
                let rows: Vec<&Tokens> = batch.iter().map(|i| &tokens[*i]).collect();
                for (i, v) in batch.iter().zip(self.run(&mut state, &rows)?) {
                    vectors[*i] = v;
                }
                done += batch.len();
                progress(done);
            }
        }
        Ok(vectors)
    }

    fn run(&self, state: &mut TypedSimpleState, rows: &[&Tokens]) -> Result<Vec<Vec<f32>>> {
        // Where the graph takes one number of texts, the last one fills up.
        let count = self.batch.unwrap_or(rows.len());
        let filled = |i: usize| rows[i.min(rows.len() - 1)];
        let shape = [count, rows[0].ids.len()];
        let input = |name: &String| {
            let of = |t: &Tokens| {
                if name == MASK {
                    t.mask.clone()
                } else {
                    t.ids.clone()
                }
            };
            let values: Vec<i64> = (0..count).flat_map(|i| of(filled(i))).collect();
            Tensor::from_shape(&shape, &values).map(IntoTValue::into_tvalue)
        };
        let inputs = self
            .inputs
            .iter()
            .map(input)
            .collect::<TractResult<TVec<_>>>();
        let inputs = inputs.map_err(|e| failed(&e))?;
        let outputs = state.run(inputs).map_err(|e| failed(&e))?;
        let view = outputs[0].try_as_plain_ram().map_err(|e| failed(&e))?;
        let values = view.as_slice::<f32>().map_err(|e| failed(&e))?;
        if values.len() != count * self.dim {
            let found = format!("{} floats a text", values.len() / count);
            let expected = format!(
                "{}, the width of the image features: are both towers of one model, projections included?",
                self.dim
            );
            return Err(Error::invalid("text features", found, expected));
        }
        values
            .chunks_exact(self.dim)
            .take(rows.len())
            .map(|v| {
                let mut v = v.to_vec();
                normalise(&mut v)?;
                Ok(v)
            })
            .collect()
    }
}

/// Texts that lost their end, gathered so that they are told of once.
#[derive(Default)]
struct Cuts {
    found: usize,
    first: Option<String>,
}

impl Cuts {
    fn count(&mut self, texts: &[String], tokens: &[Tokens]) {
        for (text, _) in texts.iter().zip(tokens).filter(|(_, t)| t.cut) {
            self.found += 1;
            self.first.get_or_insert_with(|| text.clone());
        }
    }

    fn tell(&self, of: usize, max_tokens: usize) {
        if let Some(first) = &self.first {
            log::warn!(
                "{} of {of} texts are longer than {max_tokens} tokens and lose their end: {first:?}",
                self.found
            );
        }
    }
}

/// CLIP's prompt ensemble: the mean of unit vectors, brought to unit length again.
fn mean_direction(vectors: &[Vec<f32>]) -> Result<Vec<f32>> {
    let mut mean = vec![0.0; vectors.first().map_or(0, Vec::len)];
    for v in vectors {
        mean.iter_mut().zip(v).for_each(|(m, v)| *m += v);
    }
    normalise(&mut mean)?;
    Ok(mean)
}

fn failed(e: &TractError) -> Error {
    Error::invalid(
        "text encoder run",
        format!("{e:#}"),
        "a graph that tract 0.23 can run",
    )
}
