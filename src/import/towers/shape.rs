//! What a two-tower model is made of, said plainly: enough to build it and to check its weights.
//!
//! Configurations of several programs become these values; the builder knows nothing else.

use crate::error::{Error, Result};

/// The transformer blocks of one tower.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Blocks {
    pub(super) layers: usize,
    pub(super) width: usize,
    pub(super) heads: usize,
    /// Width between the two layers of each MLP.
    pub(super) inner: usize,
    pub(super) activation: Activation,
    /// What every layer norm adds to the variance.
    pub(super) eps: f32,
}

/// The function between the two layers of an MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activation {
    /// x·σ(1.702 x), as OpenAI trained.
    QuickGelu,
    /// x·Φ(x) by the error function.
    Gelu,
    /// The same by a hyperbolic tangent.
    GeluTanh,
}

/// How a grid of patches becomes one feature; it decides what stands around the blocks too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ImagePool {
    /// CLIP: a class token in front, a norm before the blocks, a projection of the token after.
    ClassToken,
    /// SigLIP: patches with a bias, and a learned query that attends to all of them at the end.
    AttentionHead,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct ImageTower {
    pub(super) blocks: Blocks,
    pub(super) side_px: usize,
    pub(super) patch_px: usize,
    pub(super) pool: ImagePool,
}

/// Which token speaks for a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextPool {
    /// The one of the largest id: CLIP's end token is the last of its vocabulary.
    Largest,
    /// The first of this id.
    First(u32),
    /// The last, padding or not.
    Last,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct TextTower {
    pub(super) blocks: Blocks,
    pub(super) vocabulary: usize,
    pub(super) max_tokens: usize,
    /// Whether a token sees only what stands before it.
    pub(super) causal: bool,
    pub(super) pool: TextPool,
    pub(super) projection_bias: bool,
}

/// Both towers, and the width in which they meet.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shape {
    pub(super) dim: usize,
    pub(super) image: ImageTower,
    pub(super) text: Option<TextTower>,
}

impl Blocks {
    pub(super) fn head_width(&self) -> usize {
        self.width / self.heads
    }
}

impl ImageTower {
    /// Patches along one side; what is left over at the edge is not seen.
    pub(super) fn grid(&self) -> usize {
        self.side_px / self.patch_px
    }

    /// Tokens that go through the blocks.
    pub(super) fn tokens(&self) -> usize {
        let own = usize::from(self.pool == ImagePool::ClassToken);
        self.grid() * self.grid() + own
    }
}

impl Shape {
    /// Refuses sizes that no such model has, so that their products stay small numbers.
    pub(super) fn check(&self) -> Result<()> {
        let within = |what: &str, found: usize, limit: usize| {
            let right = (1..=limit).contains(&found);
            right.then_some(()).ok_or_else(|| {
                let found = format!("{what} of {found}");
                Error::invalid("model configuration", found, format!("1 to {limit}"))
            })
        };
        let blocks = |side: &str, b: &Blocks| {
            within(&format!("{side} layers"), b.layers, 256)?;
            within(&format!("{side} width"), b.width, 1 << 14)?;
            within(&format!("{side} mlp width"), b.inner, 1 << 16)?;
            within(&format!("{side} attention heads"), b.heads, b.width)?;
            if !(b.width.is_multiple_of(b.heads) && b.eps.is_finite() && b.eps >= 0.0) {
                let found = format!(
                    "{side} width {} in {} heads, layer norm eps {}",
                    b.width, b.heads, b.eps
                );
                let expected = "heads of equal width and a small eps";
                return Err(Error::invalid("model configuration", found, expected));
            }
            Ok(())
        };
        within("feature width", self.dim, 1 << 14)?;
        blocks("vision", &self.image.blocks)?;
        within("image size", self.image.side_px, 4096)?;
        within("patch size", self.image.patch_px, self.image.side_px)?;
        within("patches a side", self.image.grid(), 256)?;
        if let Some(text) = &self.text {
            blocks("text", &text.blocks)?;
            within("vocabulary", text.vocabulary, 1 << 20)?;
            within("text length", text.max_tokens, 1 << 12)?;
        }
        Ok(())
    }
}
