//! A described tower and its weights to an ONNX file.
//!
//! Products keep the form that a later rewrite to int8 knows: `MatMul` with a constant
//! [inputs, outputs] matrix on the right, then `Add` of a constant. Nothing is merged, so
//! a node is found again under the name that the weights have.

use tract_onnx::pb::tensor_proto::DataType;

use super::graph::{Attribute, Axis, Graph, Value, declared};
use super::names::{Lies, Naming, Tower};
use super::shape::{Activation, Blocks, ImagePool, ImageTower, TextPool, TextTower};
use super::weights::{Stored, Weights};
use crate::error::Result;

/// What a masked score is set to: its exponential is zero, and it stays finite.
const MASKED: f32 = -1e9;

/// The ONNX file of the image tower: `pixel_values` to `image_embeds`.
///
/// # Errors
/// A tensor is missing or of another shape.
pub(super) fn image(
    tower: &ImageTower,
    dim: usize,
    weights: &Weights,
    naming: Naming,
) -> Result<Vec<u8>> {
    let mut build = Build::new(&tower.blocks, weights, (naming, Tower::Image));
    let embeds = match tower.pool {
        ImagePool::ClassToken => {
            let patches = build.patches(tower, false)?;
            let x = build.behind_class_token(&patches)?;
            let x = build.add_positions(&x, tower)?;
            let x = build.norm(&x, "pre_layrnorm")?;
            let x = build.layers(x, None)?;
            let class = build.token(&x, 0);
            let class = build.norm(&class, "post_layernorm")?;
            build.linear(&class, "projection", [tower.blocks.width, dim], false)?
        }
        ImagePool::AttentionHead => {
            let patches = build.patches(tower, true)?;
            let x = build.add_positions(&patches, tower)?;
            let x = build.layers(x, None)?;
            let x = build.norm(&x, "post_layernorm")?;
            build.attention_head(&x)?
        }
    };
    let side = || Axis::Fixed(tower.side_px);
    let input = [Axis::Free("batch"), Axis::Fixed(3), side(), side()];
    build.finish(
        &embeds,
        declared("pixel_values", DataType::Float, &input),
        ("image_embeds", dim),
    )
}

/// The ONNX file of the text tower: `input_ids` to `text_embeds`.
///
/// # Errors
/// A tensor is missing or of another shape.
pub(super) fn text(
    tower: &TextTower,
    dim: usize,
    weights: &Weights,
    naming: Naming,
) -> Result<Vec<u8>> {
    let mut build = Build::new(&tower.blocks, weights, (naming, Tower::Text));
    let width = tower.blocks.width;
    let length = build.length();
    let x = build.tokens(tower, &length)?;
    let mask = tower
        .causal
        .then(|| build.causal_mask(tower.max_tokens, &length));
    let x = build.layers(x, mask.as_ref())?;
    // Norms go token by token: only the one that speaks for the text needs it.
    let pooled = build.speaker(&x, tower.pool);
    let pooled = build.norm(&pooled, "final_layer_norm")?;
    let bias = tower.projection_bias;
    let embeds = build.linear(&pooled, "projection", [width, dim], bias)?;
    let input = [Axis::Free("batch"), Axis::Free("tokens")];
    build.finish(
        &embeds,
        declared("input_ids", DataType::Int64, &input),
        ("text_embeds", dim),
    )
}

struct Build<'a> {
    graph: Graph<'a>,
    weights: &'a Weights,
    naming: Naming,
    tower: Tower,
    blocks: &'a Blocks,
}

impl<'a> Build<'a> {
    fn new(blocks: &'a Blocks, weights: &'a Weights, (naming, tower): (Naming, Tower)) -> Self {
        Self {
            graph: Graph::default(),
            weights,
            naming,
            tower,
            blocks,
        }
    }

    fn finish(
        mut self,
        embeds: &Value,
        input: tract_onnx::pb::ValueInfoProto,
        (name, dim): (&str, usize),
    ) -> Result<Vec<u8>> {
        self.graph.node("Identity", name, &[embeds], &[]);
        let output = [Axis::Free("batch"), Axis::Fixed(dim)];
        self.graph
            .encode(input, declared(name, DataType::Float, &output))
    }

    // What the weights hold.

    /// A part of the given shape (outputs × inputs), and whether it lies turned.
    fn stored(&self, part: &str, shape: &[usize]) -> Result<(Stored<'a>, bool)> {
        let (name, lies) = self.naming.place(self.tower, part);
        let mut whole = shape.to_vec();
        match lies {
            Lies::Whole => {}
            Lies::Third(_) => whole[0] *= 3,
            Lies::Turned => whole.reverse(),
        }
        let mut stored = self.weights.tensor(&name, &whole)?;
        if let Lies::Third(n) = lies {
            let len = stored.bytes.len() / 3;
            stored.bytes = &stored.bytes[n * len..][..len];
        }
        Ok((stored, lies == Lies::Turned))
    }

    /// A part that is small: f32 whatever its file says, in the shape that the graph needs.
    fn small(&mut self, part: &str, stored: &[usize], shape: &[usize]) -> Result<Value> {
        let (from, _) = self.stored(part, stored)?;
        Ok(self.graph.floats(part, shape, from.f32s()))
    }

    fn vector(&mut self, part: &str, len: usize) -> Result<Value> {
        self.small(part, &[len], &[len])
    }

    // Pieces that both towers are made of.

    fn op(&mut self, op: &str, name: &str, inputs: &[&Value]) -> Value {
        self.graph.node(op, name, inputs, &[])
    }

    fn linear(
        &mut self,
        x: &Value,
        part: &str,
        [k, n]: [usize; 2],
        with_bias: bool,
    ) -> Result<Value> {
        let name = format!("{part}.weight");
        let weight = match self.stored(&name, &[n, k])? {
            (from, true) => self.graph.weight(&name, &[k, n], from),
            (from, false) => self.graph.turned_weight(&name, [k, n], from),
        };
        let product = self.op("MatMul", &format!("{part}/MatMul"), &[x, &weight]);
        if !with_bias {
            return Ok(product);
        }
        let bias = self.vector(&format!("{part}.bias"), n)?;
        Ok(self.op("Add", &format!("{part}/Add"), &[&product, &bias]))
    }

    fn norm(&mut self, x: &Value, part: &str) -> Result<Value> {
        let width = self.blocks.width;
        let scale = self.vector(&format!("{part}.weight"), width)?;
        let shift = self.vector(&format!("{part}.bias"), width)?;
        let attributes = [
            ("axis", Attribute::Int(-1)),
            ("epsilon", Attribute::Float(self.blocks.eps)),
        ];
        let name = format!("{part}/LayerNormalization");
        let inputs = [x, &scale, &shift];
        Ok(self
            .graph
            .node("LayerNormalization", &name, &inputs, &attributes))
    }

    fn scalar(&mut self, name: &str, value: f32) -> Value {
        self.graph.floats(name, &[], std::iter::once(value))
    }

    fn transpose(&mut self, x: &Value, name: &str, order: &[i64]) -> Value {
        let attributes = [("perm", Attribute::Ints(order))];
        self.graph.node("Transpose", name, &[x], &attributes)
    }

    /// Reshapes; a length of 0 stays as it is.
    fn reshape(&mut self, x: &Value, name: &str, shape: &[i64]) -> Value {
        let shape = self
            .graph
            .ints(&format!("{name}/shape"), &[shape.len()], shape);
        self.op("Reshape", name, &[x, &shape])
    }

    fn layers(&mut self, mut x: Value, mask: Option<&Value>) -> Result<Value> {
        for layer in 0..self.blocks.layers {
            let at = format!("encoder.layers.{layer}");
            let seen = self.norm(&x, &format!("{at}.layer_norm1"))?;
            let seen = self.attention([&seen, &seen], &format!("{at}.self_attn"), mask)?;
            x = self.op("Add", &format!("{at}/Add"), &[&x, &seen]);
            let thought = self.norm(&x, &format!("{at}.layer_norm2"))?;
            let thought = self.mlp(&thought, &format!("{at}.mlp"))?;
            x = self.op("Add", &format!("{at}/Add_1"), &[&x, &thought]);
        }
        Ok(x)
    }

    /// Softmax(q·kᵀ/√d + mask)·v by heads, of queries from the first and keys and values from the
    /// second.
    fn attention(
        &mut self,
        [asking, asked]: [&Value; 2],
        at: &str,
        mask: Option<&Value>,
    ) -> Result<Value> {
        let (width, head) = (self.blocks.width, self.blocks.head_width());
        let mut by_heads = |from: &Value, which: &str, order: &[i64]| {
            let part = format!("{at}.{which}");
            let x = self.linear(from, &part, [width, width], true)?;
            let split = [0, 0, self.blocks.heads as i64, head as i64];
            let x = self.reshape(&x, &format!("{part}/Reshape"), &split);
            Ok(self.transpose(&x, &format!("{part}/Transpose"), order))
        };
        let q = by_heads(asking, "q_proj", &[0, 2, 1, 3])?;
        let k = by_heads(asked, "k_proj", &[0, 2, 3, 1])?;
        let v = by_heads(asked, "v_proj", &[0, 2, 1, 3])?;
        let scale = self.scalar(&format!("{at}/scale"), (head as f32).sqrt().recip());
        let q = self.op("Mul", &format!("{at}/Mul"), &[&q, &scale]);
        let mut scores = self.op("MatMul", &format!("{at}/MatMul"), &[&q, &k]);
        if let Some(mask) = mask {
            scores = self.op("Add", &format!("{at}/Add"), &[&scores, mask]);
        }
        let last = [("axis", Attribute::Int(-1))];
        let name = format!("{at}/Softmax");
        let shares = self.graph.node("Softmax", &name, &[&scores], &last);
        let seen = self.op("MatMul", &format!("{at}/MatMul_1"), &[&shares, &v]);
        let seen = self.transpose(&seen, &format!("{at}/Transpose"), &[0, 2, 1, 3]);
        let seen = self.reshape(&seen, &format!("{at}/Reshape"), &[0, 0, width as i64]);
        self.linear(&seen, &format!("{at}.out_proj"), [width, width], true)
    }

    fn mlp(&mut self, x: &Value, at: &str) -> Result<Value> {
        let (width, inner) = (self.blocks.width, self.blocks.inner);
        let x = self.linear(x, &format!("{at}.fc1"), [width, inner], true)?;
        let x = self.activation(&x, at);
        self.linear(&x, &format!("{at}.fc2"), [inner, width], true)
    }

    /// The two GELUs are spelled out as exporters do and tract recognises: `Gelu` came later.
    fn activation(&mut self, x: &Value, at: &str) -> Value {
        let name = |op: &str| format!("{at}.activation/{op}");
        if self.blocks.activation == Activation::QuickGelu {
            let factor = self.scalar(&name("1.702"), 1.702);
            let inner = self.op("Mul", &name("Mul"), &[x, &factor]);
            let gate = self.op("Sigmoid", &name("Sigmoid"), &[&inner]);
            return self.op("Mul", &name("Mul_1"), &[x, &gate]);
        }
        let bell = if self.blocks.activation == Activation::Gelu {
            let factor = self.scalar(&name("rsqrt2"), std::f32::consts::FRAC_1_SQRT_2);
            let inner = self.op("Mul", &name("Mul"), &[x, &factor]);
            self.op("Erf", &name("Erf"), &[&inner])
        } else {
            let three = self.scalar(&name("3"), 3.0);
            let cube = self.op("Pow", &name("Pow"), &[x, &three]);
            let factor = self.scalar(&name("0.044715"), 0.044_715);
            let cube = self.op("Mul", &name("Mul"), &[&cube, &factor]);
            let sum = self.op("Add", &name("Add"), &[x, &cube]);
            let factor = self.scalar(&name("sqrt2pi"), (2.0 / std::f32::consts::PI).sqrt());
            let inner = self.op("Mul", &name("Mul_1"), &[&sum, &factor]);
            self.op("Tanh", &name("Tanh"), &[&inner])
        };
        let one = self.scalar(&name("1"), 1.0);
        let bell = self.op("Add", &name("Add_1"), &[&bell, &one]);
        let half = self.scalar(&name("0.5"), 0.5);
        let x = self.op("Mul", &name("Mul_2"), &[x, &half]);
        self.op("Mul", &name("Mul_3"), &[&x, &bell])
    }

    /// [batch, tokens, width] to the token at `index`: [batch, width].
    fn token(&mut self, x: &Value, index: i64) -> Value {
        let index = self.graph.ints("pooled/index", &[], &[index]);
        let axis = [("axis", Attribute::Int(1))];
        self.graph.node("Gather", "pooled", &[x, &index], &axis)
    }

    // The image tower's own.

    fn patches(&mut self, tower: &ImageTower, with_bias: bool) -> Result<Value> {
        let (width, px) = (self.blocks.width, tower.patch_px);
        let at = "embeddings.patch_embedding";
        let name = format!("{at}.weight");
        let shape = [width, 3, px, px];
        let (from, _) = self.stored(&name, &shape)?;
        let kernel = self.graph.weight(&name, &shape, from);
        let mut inputs = vec!["pixel_values".to_owned(), kernel];
        if with_bias {
            inputs.push(self.vector(&format!("{at}.bias"), width)?);
        }
        let square = [px as i64; 2];
        let attributes = [
            ("kernel_shape", Attribute::Ints(&square)),
            ("strides", Attribute::Ints(&square)),
        ];
        let inputs: Vec<&Value> = inputs.iter().collect();
        let name = format!("{at}/Conv");
        let x = self.graph.node("Conv", &name, &inputs, &attributes);
        let all = (tower.grid() * tower.grid()) as i64;
        let x = self.reshape(&x, &format!("{at}/Reshape"), &[0, width as i64, all]);
        Ok(self.transpose(&x, &format!("{at}/Transpose"), &[0, 2, 1]))
    }

    fn behind_class_token(&mut self, patches: &Value) -> Result<Value> {
        let (part, width) = ("embeddings.class_embedding", self.blocks.width);
        let class = self.small(part, &[width], &[1, 1, width])?;
        let class = self.for_each(&class, "pixel_values", part);
        let axis = [("axis", Attribute::Int(1))];
        let name = "embeddings/Concat";
        Ok(self.graph.node("Concat", name, &[&class, patches], &axis))
    }

    /// [1, 1, width] repeated for each of the batch: [batch, 1, width].
    fn for_each(&mut self, x: &Value, of: &str, at: &str) -> Value {
        let batch = self.axis_length(&of.to_owned(), 0, at);
        let rest = [1, self.blocks.width as i64];
        let rest = self.graph.ints(&format!("{at}/rest"), &[2], &rest);
        let axis = [("axis", Attribute::Int(0))];
        let name = format!("{at}/Concat");
        let shape = self.graph.node("Concat", &name, &[&batch, &rest], &axis);
        self.op("Expand", &format!("{at}/Expand"), &[x, &shape])
    }

    /// The length of one axis, as a list of one.
    fn axis_length(&mut self, x: &Value, axis: i64, at: &str) -> Value {
        let range = [
            ("start", Attribute::Int(axis)),
            ("end", Attribute::Int(axis + 1)),
        ];
        self.graph
            .node("Shape", &format!("{at}/Shape"), &[x], &range)
    }

    fn add_positions(&mut self, x: &Value, tower: &ImageTower) -> Result<Value> {
        let part = "embeddings.position_embedding.weight";
        let shape = [tower.tokens(), self.blocks.width];
        let (from, _) = self.stored(part, &shape)?;
        let positions = self.graph.weight(part, &shape, from);
        Ok(self.op("Add", "embeddings/Add", &[x, &positions]))
    }

    /// One learned query attends to all patches; what it sees goes through an MLP.
    fn attention_head(&mut self, x: &Value) -> Result<Value> {
        let width = self.blocks.width;
        let probe = self.small("head.probe", &[1, 1, width], &[1, 1, width])?;
        let probe = self.for_each(&probe, "pixel_values", "head.probe");
        let seen = self.attention([&probe, x], "head.attention", None)?;
        let thought = self.norm(&seen, "head.layernorm")?;
        let thought = self.mlp(&thought, "head.mlp")?;
        let sum = self.op("Add", "head/Add", &[&seen, &thought]);
        Ok(self.token(&sum, 0))
    }

    // The text tower's own.

    fn length(&mut self) -> Value {
        self.axis_length(&"input_ids".to_owned(), 1, "input_ids")
    }

    /// Token and position embeddings of the texts as long as they are.
    fn tokens(&mut self, tower: &TextTower, length: &Value) -> Result<Value> {
        let width = self.blocks.width;
        let part = "embeddings.token_embedding.weight";
        let shape = [tower.vocabulary, width];
        let (from, _) = self.stored(part, &shape)?;
        // The rows that a text needs are cast, not all of them.
        let (table, is_half) = self.graph.table(part, &shape, from);
        let name = "embeddings.token_embedding/Gather";
        let ids = "input_ids".to_owned();
        let mut x = self.op("Gather", name, &[&table, &ids]);
        if is_half {
            x = self.graph.cast_to_f32(&x);
        }
        let part = "embeddings.position_embedding.weight";
        let shape = [tower.max_tokens, width];
        let positions = self.small(part, &shape, &shape)?;
        let positions = self.up_to(&positions, length, 0, "embeddings.position_embedding");
        Ok(self.op("Add", "embeddings/Add", &[&x, &positions]))
    }

    /// The beginning of `x` along `axis`.
    fn up_to(&mut self, x: &Value, length: &Value, axis: i64, at: &str) -> Value {
        let from = self.graph.ints(&format!("{at}/from_{axis}"), &[1], &[0]);
        let along = self.graph.ints(&format!("{at}/axis_{axis}"), &[1], &[axis]);
        let name = format!("{at}/Slice_{axis}");
        self.op("Slice", &name, &[x, &from, length, &along])
    }

    fn causal_mask(&mut self, tokens: usize, length: &Value) -> Value {
        let ahead = |i: usize| i % tokens > i / tokens;
        let values = (0..tokens * tokens).map(|i| if ahead(i) { MASKED } else { 0.0 });
        let mask = self.graph.floats("mask", &[tokens, tokens], values);
        let mask = self.up_to(&mask, length, 0, "mask");
        self.up_to(&mask, length, 1, "mask")
    }

    /// The token that speaks for each text: [batch, tokens, width] to [batch, width].
    fn speaker(&mut self, x: &Value, pool: TextPool) -> Value {
        let ids = "input_ids".to_owned();
        let ranks = match pool {
            TextPool::Last => return self.token(x, -1),
            TextPool::Largest => ids,
            TextPool::First(end) => {
                let end = self.graph.ints("pooled/end", &[], &[i64::from(end)]);
                let found = self.op("Equal", "pooled/Equal", &[&ids, &end]);
                let to = [("to", Attribute::Int(DataType::Int32 as i64))];
                self.graph.node("Cast", "pooled/Cast", &[&found], &to)
            }
        };
        let along = [("axis", Attribute::Int(1)), ("keepdims", Attribute::Int(1))];
        let index = self
            .graph
            .node("ArgMax", "pooled/ArgMax", &[&ranks], &along);
        let batched = [("batch_dims", Attribute::Int(1))];
        self.graph
            .node("GatherND", "pooled", &[x, &index], &batched)
    }
}
