"""Seeded weights by the names that the hub's CLIPModel and SiglipModel give them.

Each tensor has a generator of its own, seeded by its name: adding one changes no other.
The sizes of the numbers follow trained models, as far as it matters to kernels: gains of
LayerNorm vary and a few are large. The weights mean nothing otherwise.
"""
import zlib

import numpy as np


class Weights(dict):
    """Tensors by name; `mat` and `vec` draw what is new."""

    def __init__(self, seed):
        super().__init__()
        self.seed = seed

    def _rng(self, name):
        return np.random.default_rng([self.seed, zlib.crc32(name.encode())])

    def mat(self, name, shape, std):
        self[name] = (self._rng(name).standard_normal(shape) * std).astype(np.float32)
        return self[name]

    def vec(self, name, n, mean=0.0, std=0.05):
        self[name] = (mean + self._rng(name).standard_normal(n) * std).astype(np.float32)
        return self[name]

    def norm(self, name, d, gain=1.0):
        rng = self._rng(f"{name}.weight")
        w = gain * np.exp(0.3 * rng.standard_normal(d))
        w[rng.choice(d, max(2, d // 256), replace=False)] *= 4.0
        self[f"{name}.weight"] = w.astype(np.float32)
        self.vec(f"{name}.bias", d, 0.0, 0.1)

    def linear(self, name, n_in, n_out, gain=1.0):
        self.mat(f"{name}.weight", (n_out, n_in), gain / np.sqrt(n_in))
        self.vec(f"{name}.bias", n_out)


def blocks(w, prefix, spec):
    d, m = spec.width, spec.width * spec.mlp_ratio
    for i in range(spec.layers):
        p = f"{prefix}.encoder.layers.{i}"
        w.norm(f"{p}.layer_norm1", d)
        for which, gain in (("q", 1.3), ("k", 1.3), ("v", 1.0), ("out", 0.9)):
            w.linear(f"{p}.self_attn.{which}_proj", d, d, gain)
        w.norm(f"{p}.layer_norm2", d)
        w.linear(f"{p}.mlp.fc1", d, m)
        w.linear(f"{p}.mlp.fc2", m, d)


def clip_vision(w, model):
    v = model.vision
    e = "vision_model.embeddings"
    w.vec(f"{e}.class_embedding", v.width, 0.0, 0.3)
    w.mat(f"{e}.patch_embedding.weight", (v.width, 3, v.patch, v.patch), 1.0 / np.sqrt(3 * v.patch**2))
    w.mat(f"{e}.position_embedding.weight", (v.grid**2 + 1, v.width), 0.3)
    w.norm("vision_model.pre_layrnorm", v.width, 0.5)  # the hub's own spelling
    blocks(w, "vision_model", v)
    w.norm("vision_model.post_layernorm", v.width)
    w.mat("visual_projection.weight", (model.dim, v.width), 1.0 / np.sqrt(v.width))


def clip_text(w, model):
    t = model.text
    w.mat("text_model.embeddings.token_embedding.weight", (t.vocab, t.width), 0.5)
    w.mat("text_model.embeddings.position_embedding.weight", (t.tokens, t.width), 0.2)
    blocks(w, "text_model", t)
    w.norm("text_model.final_layer_norm", t.width)
    w.mat("text_projection.weight", (model.dim, t.width), 1.0 / np.sqrt(t.width))
    w["logit_scale"] = np.array(np.log(100.0), np.float32)


def siglip_vision(w, model):
    v = model.vision
    e, h = "vision_model.embeddings", "vision_model.head"
    w.mat(f"{e}.patch_embedding.weight", (v.width, 3, v.patch, v.patch), 1.0 / np.sqrt(3 * v.patch**2))
    w.vec(f"{e}.patch_embedding.bias", v.width)
    w.mat(f"{e}.position_embedding.weight", (v.grid**2, v.width), 0.3)
    blocks(w, "vision_model", v)
    w.norm("vision_model.post_layernorm", v.width)
    w.mat(f"{h}.probe", (1, 1, v.width), 1.0)
    w.mat(f"{h}.attention.in_proj_weight", (3 * v.width, v.width), 1.2 / np.sqrt(v.width))
    w.vec(f"{h}.attention.in_proj_bias", 3 * v.width)
    w.linear(f"{h}.attention.out_proj", v.width, v.width)
    w.norm(f"{h}.layernorm", v.width)
    w.linear(f"{h}.mlp.fc1", v.width, v.width * v.mlp_ratio)
    w.linear(f"{h}.mlp.fc2", v.width * v.mlp_ratio, v.width)


def siglip_text(w, model):
    t = model.text
    w.mat("text_model.embeddings.token_embedding.weight", (t.vocab, t.width), 0.5)
    w.mat("text_model.embeddings.position_embedding.weight", (t.tokens, t.width), 0.2)
    blocks(w, "text_model", t)
    w.norm("text_model.final_layer_norm", t.width)
    w.linear("text_model.head", t.width, model.dim)
    w["logit_scale"] = np.array([np.log(117.33)], np.float32)
    w["logit_bias"] = np.array([-12.93], np.float32)


def add_outliers(w, model):
    """Makes a few channels 100 times as strong as the rest after each LayerNorm, as trained ViTs have them.

    The weights that meet them are as much smaller, so the features stay as they would be: the answer
    hangs on all channels alike, but one scale for a whole row serves only the strong ones.
    """
    v = model.vision
    rng = np.random.default_rng([model.seed, 77])
    strong = rng.choice(v.width, model.outliers, replace=False)
    for name in (n for n in list(w) if n.startswith("vision_model.")):
        if name.endswith(("layer_norm1.weight", "layer_norm2.weight", "layer_norm1.bias", "layer_norm2.bias")):
            w[name][strong] *= 100.0
        if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight", "fc1.weight")):
            w[name][:, strong] *= 0.01


def make(model):
    """All tensors of a ViT CLIP or SigLIP; of other families only the text side and what is common."""
    w = Weights(model.seed)
    if model.family == "siglip":
        siglip_vision(w, model)
        siglip_text(w, model)
        return w
    if model.family == "clip":
        clip_vision(w, model)
    clip_text(w, model)
    if model.outliers:
        add_outliers(w, model)
    return w
