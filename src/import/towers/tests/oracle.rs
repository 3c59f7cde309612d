//! The models written down a second time, in f64 and as slowly as it can be said, from the
//! published sources of transformers and not from the builder beside it.

use std::collections::BTreeMap;

/// Tensors by the names that transformers gives them: shape and values.
pub(super) type Tensors = BTreeMap<String, (Vec<usize>, Vec<f64>)>;

/// The numbers of a configuration that a forward pass needs.
#[derive(Clone, Copy)]
pub(super) struct Tower {
    pub(super) prefix: &'static str,
    pub(super) layers: usize,
    pub(super) heads: usize,
    pub(super) eps: f64,
    pub(super) act: fn(f64) -> f64,
}

type Rows = Vec<Vec<f64>>;

pub(super) fn quick_gelu(x: f64) -> f64 {
    x / (1.0 + (-1.702 * x).exp())
}

pub(super) fn gelu_tanh(x: f64) -> f64 {
    let c = (2.0 / std::f64::consts::PI).sqrt();
    0.5 * x * (1.0 + (c * (x + 0.044715 * x.powi(3))).tanh())
}

/// By the Taylor series of the error function, which is exact enough below 6.
pub(super) fn gelu(x: f64) -> f64 {
    let z = x / 2f64.sqrt();
    let (mut sum, mut term) = (0.0, z);
    for n in 0..200_i32 {
        sum += term / f64::from(2 * n + 1);
        term *= -z * z / f64::from(n + 1);
    }
    let erf = if z.abs() > 5.0 {
        z.signum()
    } else {
        sum * 2.0 / std::f64::consts::PI.sqrt()
    };
    0.5 * x * (1.0 + erf)
}

pub(super) fn unit(v: &[f64]) -> Vec<f64> {
    let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
    v.iter().map(|x| x / norm).collect()
}

fn add(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

pub(super) struct Model<'a>(pub(super) &'a Tensors);

impl Model<'_> {
    fn get(&self, name: &str) -> &[f64] {
        &self.0.get(name).unwrap_or_else(|| panic!("{name}")).1
    }

    fn bias(&self, name: &str) -> Option<&[f64]> {
        self.0.get(name).map(|t| &t.1[..])
    }

    fn linear_of(w: &[f64], b: Option<&[f64]>, x: &[f64]) -> Vec<f64> {
        let rows = w.chunks_exact(x.len());
        let dot = |r: &[f64]| r.iter().zip(x).map(|(a, b)| a * b).sum::<f64>();
        let y: Vec<f64> = rows.map(dot).collect();
        b.map_or(y.clone(), |b| add(&y, b))
    }

    fn linear(&self, at: &str, x: &[f64]) -> Vec<f64> {
        let bias = self.bias(&format!("{at}.bias"));
        Self::linear_of(self.get(&format!("{at}.weight")), bias, x)
    }

    fn norm(&self, at: &str, x: &[f64], eps: f64) -> Vec<f64> {
        let n = x.len() as f64;
        let mean = x.iter().sum::<f64>() / n;
        let var = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
        let (w, b) = (
            self.get(&format!("{at}.weight")),
            self.get(&format!("{at}.bias")),
        );
        (0..x.len())
            .map(|i| (x[i] - mean) / (var + eps).sqrt() * w[i] + b[i])
            .collect()
    }

    fn attend(q: &Rows, k: &Rows, v: &Rows, heads: usize, causal: bool) -> Rows {
        let width = q[0].len();
        let d = width / heads;
        let mut out = vec![vec![0.0; width]; q.len()];
        for h in 0..heads {
            let at = h * d..(h + 1) * d;
            for (i, q) in q.iter().enumerate() {
                let seen = if causal { i + 1 } else { k.len() };
                let scores: Vec<f64> = k[..seen]
                    .iter()
                    .map(|k| {
                        let dot = |(a, b): (&f64, &f64)| a * b;
                        q[at.clone()]
                            .iter()
                            .zip(&k[at.clone()])
                            .map(dot)
                            .sum::<f64>()
                            / (d as f64).sqrt()
                    })
                    .collect();
                let top = scores.iter().copied().fold(f64::MIN, f64::max);
                let shares: Vec<f64> = scores.iter().map(|s| (s - top).exp()).collect();
                let total: f64 = shares.iter().sum();
                for (share, v) in shares.iter().zip(v) {
                    for c in at.clone() {
                        out[i][c] += share / total * v[c];
                    }
                }
            }
        }
        out
    }

    fn layers(&self, t: Tower, mut x: Rows, causal: bool) -> Rows {
        for layer in 0..t.layers {
            let at = format!("{}.encoder.layers.{layer}", t.prefix);
            let normed = |x: &Rows, name: &str| -> Rows {
                x.iter()
                    .map(|r| self.norm(&format!("{at}.{name}"), r, t.eps))
                    .collect()
            };
            let all = |x: &Rows, name: &str| -> Rows {
                x.iter()
                    .map(|r| self.linear(&format!("{at}.{name}"), r))
                    .collect()
            };
            let h = normed(&x, "layer_norm1");
            let [q, k, v] =
                ["q_proj", "k_proj", "v_proj"].map(|p| all(&h, &format!("self_attn.{p}")));
            let h = all(
                &Self::attend(&q, &k, &v, t.heads, causal),
                "self_attn.out_proj",
            );
            x = x.iter().zip(&h).map(|(a, b)| add(a, b)).collect();
            let mut h = all(&normed(&x, "layer_norm2"), "mlp.fc1");
            h.iter_mut().flatten().for_each(|v| *v = (t.act)(*v));
            let h = all(&h, "mlp.fc2");
            x = x.iter().zip(&h).map(|(a, b)| add(a, b)).collect();
        }
        x
    }

    /// Patches of an image [3, side, side], each through the convolution.
    fn patches(&self, t: Tower, image: &[f32], side: usize, patch: usize) -> Rows {
        let at = format!("{}.embeddings.patch_embedding", t.prefix);
        let (w, grid) = (self.get(&format!("{at}.weight")), side / patch);
        let bias = self.bias(&format!("{at}.bias"));
        let mut rows = Vec::new();
        for gy in 0..grid {
            for gx in 0..grid {
                let mut pixels = Vec::new();
                for c in 0..3 {
                    for y in 0..patch {
                        for x in 0..patch {
                            let i = (c * side + gy * patch + y) * side + gx * patch + x;
                            pixels.push(f64::from(image[i]));
                        }
                    }
                }
                rows.push(Self::linear_of(w, bias, &pixels));
            }
        }
        rows
    }

    fn positioned(&self, t: Tower, x: &mut Rows) {
        let positions = self.get(&format!(
            "{}.embeddings.position_embedding.weight",
            t.prefix
        ));
        for (x, p) in x.iter_mut().zip(positions.chunks_exact(x_len(t, self))) {
            *x = add(x, p);
        }
    }

    pub(super) fn clip_image(
        &self,
        t: Tower,
        image: &[f32],
        side: usize,
        patch: usize,
    ) -> Vec<f64> {
        let mut x = vec![self.get("vision_model.embeddings.class_embedding").to_vec()];
        x.extend(self.patches(t, image, side, patch));
        self.positioned(t, &mut x);
        let x = x
            .iter()
            .map(|r| self.norm("vision_model.pre_layrnorm", r, t.eps))
            .collect();
        let x = self.layers(t, x, false);
        let pooled = self.norm("vision_model.post_layernorm", &x[0], t.eps);
        unit(&self.linear("visual_projection", &pooled))
    }

    fn embedded(&self, t: Tower, ids: &[i64]) -> Rows {
        let table = self.get("text_model.embeddings.token_embedding.weight");
        let width = x_len(t, self);
        let mut x: Rows = ids
            .iter()
            .map(|i| table[*i as usize * width..][..width].to_vec())
            .collect();
        self.positioned(t, &mut x);
        x
    }

    /// `end` is the end token; `None` pools at the largest id.
    pub(super) fn clip_text(&self, t: Tower, ids: &[i64], end: Option<i64>) -> Vec<f64> {
        let x = self.layers(t, self.embedded(t, ids), true);
        let at = match end {
            Some(end) => ids.iter().position(|i| *i == end).unwrap_or(0),
            None => {
                let largest = ids.iter().max().unwrap();
                ids.iter().position(|i| i == largest).unwrap()
            }
        };
        let pooled = self.norm("text_model.final_layer_norm", &x[at], t.eps);
        unit(&self.linear("text_projection", &pooled))
    }

    pub(super) fn siglip_text(&self, t: Tower, ids: &[i64]) -> Vec<f64> {
        let x = self.layers(t, self.embedded(t, ids), false);
        let last = self.norm("text_model.final_layer_norm", x.last().unwrap(), t.eps);
        unit(&self.linear("text_model.head", &last))
    }

    pub(super) fn siglip_image(
        &self,
        t: Tower,
        image: &[f32],
        side: usize,
        patch: usize,
    ) -> Vec<f64> {
        let mut x = self.patches(t, image, side, patch);
        self.positioned(t, &mut x);
        let x: Rows = self
            .layers(t, x, false)
            .iter()
            .map(|r| self.norm("vision_model.post_layernorm", r, t.eps))
            .collect();
        let head = "vision_model.head";
        let (w, b) = (
            self.get(&format!("{head}.attention.in_proj_weight")),
            self.get(&format!("{head}.attention.in_proj_bias")),
        );
        let width = x[0].len();
        let project = |x: &Rows, n: usize| -> Rows {
            let w = &w[n * width * width..][..width * width];
            let b = &b[n * width..][..width];
            x.iter().map(|r| Self::linear_of(w, Some(b), r)).collect()
        };
        let probe = vec![self.get(&format!("{head}.probe")).to_vec()];
        let (q, k, v) = (project(&probe, 0), project(&x, 1), project(&x, 2));
        let seen = Self::attend(&q, &k, &v, t.heads, false);
        let seen = self.linear(&format!("{head}.attention.out_proj"), &seen[0]);
        let h = self.norm(&format!("{head}.layernorm"), &seen, t.eps);
        let mut h = self.linear(&format!("{head}.mlp.fc1"), &h);
        h.iter_mut().for_each(|v| *v = (t.act)(*v));
        unit(&add(&seen, &self.linear(&format!("{head}.mlp.fc2"), &h)))
    }
}

/// Width of a tower.
fn x_len(t: Tower, model: &Model<'_>) -> usize {
    let name = format!("{}.encoder.layers.0.layer_norm1.bias", t.prefix);
    model.get(&name).len()
}
