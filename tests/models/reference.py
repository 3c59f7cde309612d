"""CLIP and SigLIP in plain numpy, from safetensors folders: the answers that other programs are held against.

It shares no code with the ONNX builder. It reads what the folder says (config.json or
open_clip_config.json and the tensors' own names), so a folder that is wrong shows here too.

  python reference.py FOLDER PIXELS.npy IDS.npy OUTDIR [float32]
"""
import json
import math
import sys
from pathlib import Path

import numpy as np

import tensors

# What config.json leaves out stands at these: the hub's defaults.
CLIP = {
    "vision_config": dict(hidden_size=768, num_hidden_layers=12, num_attention_heads=12, image_size=224, patch_size=32,
                          hidden_act="quick_gelu", layer_norm_eps=1e-5),
    "text_config": dict(hidden_size=512, num_hidden_layers=12, num_attention_heads=8, vocab_size=49408,
                        max_position_embeddings=77, hidden_act="quick_gelu", layer_norm_eps=1e-5, eos_token_id=49407),
}
SIGLIP = {
    "vision_config": dict(hidden_size=768, num_hidden_layers=12, num_attention_heads=12, image_size=224, patch_size=16,
                          hidden_act="gelu_pytorch_tanh", layer_norm_eps=1e-6),
    "text_config": dict(hidden_size=768, num_hidden_layers=12, num_attention_heads=12, vocab_size=32000,
                        max_position_embeddings=64, hidden_act="gelu_pytorch_tanh", layer_norm_eps=1e-6),
}
_erf = np.frompyfunc(math.erf, 1, 1)


def quick_gelu(x):
    return x / (1.0 + np.exp(-1.702 * x))


def gelu(x):
    return x * 0.5 * (1.0 + _erf(x / math.sqrt(2.0)).astype(x.dtype))


def gelu_tanh(x):
    return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


ACTS = {"quick_gelu": quick_gelu, "gelu": gelu, "gelu_pytorch_tanh": gelu_tanh}


def layer_norm(x, w, p, eps):
    mean = x.mean(-1, keepdims=True)
    var = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(var + eps) * w[f"{p}.weight"] + w[f"{p}.bias"]


def linear(x, weight, bias=None):
    y = x @ weight.T
    return y if bias is None else y + bias


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attend(q, k, v, heads, mask=None):
    """[n, t, d] each; heads are cut from the last axis."""
    split = lambda x: x.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)
    q, k, v = split(q), split(k), split(v)
    scores = q @ k.transpose(0, 1, 3, 2) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = np.where(mask, scores, -np.inf)
    y = softmax(scores) @ v
    return y.transpose(0, 2, 1, 3).reshape(y.shape[0], y.shape[2], -1)


class Tower:
    """Names of one transformer in a set of weights."""

    def __init__(self, w, prefix, cfg, open_clip=False):
        self.w, self.prefix, self.cfg, self.open_clip = w, prefix, cfg, open_clip

    def block(self, x, i, mask):
        w, cfg = self.w, self.cfg
        eps, act, heads = cfg["layer_norm_eps"], ACTS[cfg["hidden_act"]], cfg["num_attention_heads"]
        if self.open_clip:
            p = f"{self.prefix}resblocks.{i}"
            n1, n2, up, down, out = f"{p}.ln_1", f"{p}.ln_2", f"{p}.mlp.c_fc", f"{p}.mlp.c_proj", f"{p}.attn.out_proj"
        else:
            p = f"{self.prefix}encoder.layers.{i}"
            n1, n2, up, down = f"{p}.layer_norm1", f"{p}.layer_norm2", f"{p}.mlp.fc1", f"{p}.mlp.fc2"
            out = f"{p}.self_attn.out_proj"
        h = layer_norm(x, w, n1, eps)
        if self.open_clip:
            q, k, v = np.split(linear(h, w[f"{p}.attn.in_proj_weight"], w[f"{p}.attn.in_proj_bias"]), 3, axis=-1)
        else:
            q, k, v = (linear(h, w[f"{p}.self_attn.{c}_proj.weight"], w[f"{p}.self_attn.{c}_proj.bias"]) for c in "qkv")
        x = x + linear(attend(q, k, v, heads, mask), w[f"{out}.weight"], w[f"{out}.bias"])
        h = act(linear(layer_norm(x, w, n2, eps), w[f"{up}.weight"], w[f"{up}.bias"]))
        return x + linear(h, w[f"{down}.weight"], w[f"{down}.bias"])

    def run(self, x, mask=None):
        for i in range(self.cfg["num_hidden_layers"]):
            x = self.block(x, i, mask)
        return x


def patches(pixels, weight):
    """[n, 3, s, s] by a [d, 3, p, p] kernel at stride p, as tokens [n, grid², d]."""
    n, c, s, _ = pixels.shape
    p = weight.shape[-1]
    g = s // p
    cut = pixels[:, :, : g * p, : g * p].reshape(n, c, g, p, g, p).transpose(0, 2, 4, 1, 3, 5).reshape(n, g * g, -1)
    return cut @ weight.reshape(weight.shape[0], -1).T


class Clip:
    """A folder of CLIP or SigLIP weights, computed in `dtype`."""

    def __init__(self, folder, dtype=np.float64):
        folder = Path(folder)
        self.dtype = dtype
        self.w = {n: a.astype(dtype) for n, a in tensors.read_folder(folder).items()}
        theirs = folder / "open_clip_config.json"
        self.open_clip = theirs.exists()
        if self.open_clip:
            self._open_clip(json.loads(theirs.read_text())["model_cfg"])
            return
        cfg = json.loads((folder / "config.json").read_text())
        self.siglip = cfg["model_type"] == "siglip"
        base = SIGLIP if self.siglip else CLIP
        self.vision, self.text = ({**base[k], **cfg.get(k, {})} for k in ("vision_config", "text_config"))

    def _open_clip(self, cfg):
        v, t = cfg["vision_cfg"], cfg["text_cfg"]
        act = "quick_gelu" if cfg.get("quick_gelu") else "gelu"
        common = {"hidden_act": act, "layer_norm_eps": 1e-5}
        self.siglip = False
        self.vision = {**common, "num_hidden_layers": v["layers"], "num_attention_heads": v["width"] // v.get("head_width", 64)}
        self.text = {**common, "num_hidden_layers": t["layers"], "num_attention_heads": t["heads"], "eos_token_id": 2}

    @property
    def logit_scale(self):
        return float(np.exp(self.w["logit_scale"]).reshape(()))

    @property
    def logit_bias(self):
        return float(self.w.get("logit_bias", np.zeros(1)).reshape(()))

    def images(self, pixels):
        w, eps, x = self.w, self.vision["layer_norm_eps"], np.asarray(pixels, self.dtype)
        if self.siglip:
            return self._siglip_images(x)
        if self.open_clip:
            kernel, cls, pos = (w[f"visual.{n}"] for n in ("conv1.weight", "class_embedding", "positional_embedding"))
            pre, post, proj = "visual.ln_pre", "visual.ln_post", w["visual.proj"].T
            tower = Tower(w, "visual.transformer.", self.vision, True)
        else:
            e = "vision_model.embeddings"
            kernel, cls, pos = (w[f"{e}.{n}"] for n in ("patch_embedding.weight", "class_embedding", "position_embedding.weight"))
            pre, post, proj = "vision_model.pre_layrnorm", "vision_model.post_layernorm", w["visual_projection.weight"]
            tower = Tower(w, "vision_model.", self.vision)
        x = patches(x, kernel)
        x = np.concatenate([np.broadcast_to(cls, (len(x), 1, x.shape[-1])), x], axis=1) + pos
        x = tower.run(layer_norm(x, w, pre, eps))
        return linear(layer_norm(x[:, 0], w, post, eps), proj)

    def _siglip_images(self, x):
        w, eps, e, h = self.w, self.vision["layer_norm_eps"], "vision_model.embeddings", "vision_model.head"
        x = patches(x, w[f"{e}.patch_embedding.weight"]) + w[f"{e}.patch_embedding.bias"] + w[f"{e}.position_embedding.weight"]
        x = layer_norm(Tower(w, "vision_model.", self.vision).run(x), w, "vision_model.post_layernorm", eps)
        # attention pooling: one learned query looks at all tokens
        wq, wk, wv = np.split(w[f"{h}.attention.in_proj_weight"], 3)
        bq, bk, bv = np.split(w[f"{h}.attention.in_proj_bias"], 3)
        probe = np.broadcast_to(w[f"{h}.probe"], (len(x), 1, x.shape[-1]))
        y = attend(linear(probe, wq, bq), linear(x, wk, bk), linear(x, wv, bv), self.vision["num_attention_heads"])
        y = linear(y, w[f"{h}.attention.out_proj.weight"], w[f"{h}.attention.out_proj.bias"])
        z = layer_norm(y, w, f"{h}.layernorm", eps)
        z = ACTS[self.vision["hidden_act"]](linear(z, w[f"{h}.mlp.fc1.weight"], w[f"{h}.mlp.fc1.bias"]))
        return (y + linear(z, w[f"{h}.mlp.fc2.weight"], w[f"{h}.mlp.fc2.bias"]))[:, 0]

    def texts(self, ids):
        """Features of token ids [n, tokens]: padded rows; what stands after the end token changes nothing in CLIP."""
        w, eps, ids = self.w, self.text["layer_norm_eps"], np.asarray(ids)
        if self.open_clip:
            p = "text." if "text.positional_embedding" in w else ""
            tokens, pos, final = w[f"{p}token_embedding.weight"], w[f"{p}positional_embedding"], f"{p}ln_final"
            tower, proj = Tower(w, f"{p}transformer.", self.text, True), w[f"{p}text_projection"].T
        else:
            e = "text_model.embeddings"
            tokens, pos, final = w[f"{e}.token_embedding.weight"], w[f"{e}.position_embedding.weight"], "text_model.final_layer_norm"
            tower, proj = Tower(w, "text_model.", self.text), w.get("text_projection.weight")
        x = tokens[ids] + pos[: ids.shape[1]]
        if self.siglip:  # sees everything, padding too; the last token stands for the text
            x = layer_norm(tower.run(x), w, final, eps)
            return linear(x[:, -1], w["text_model.head.weight"], w["text_model.head.bias"])
        x = layer_norm(tower.run(x, np.tril(np.ones((ids.shape[1],) * 2, bool))), w, final, eps)
        eos = self.text["eos_token_id"]
        end = ids.argmax(1) if eos == 2 else (ids == eos).argmax(1)
        return linear(x[np.arange(len(x)), end], proj)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def main():
    folder, pixels, ids, out = sys.argv[1:5]
    clip = Clip(folder, np.float32 if sys.argv[5:] == ["float32"] else np.float64)
    Path(out).mkdir(parents=True, exist_ok=True)
    np.save(Path(out) / "image_embeds.npy", clip.images(np.load(pixels)).astype(np.float32))
    np.save(Path(out) / "text_embeds.npy", clip.texts(np.load(ids)).astype(np.float32))


if __name__ == "__main__":
    main()
