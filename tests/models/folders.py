"""safetensors folders as the hub has them, each with inputs and the numpy reference's answers in reference/."""
import json
from pathlib import Path

import ml_dtypes
import numpy as np

import configs
import naming
import reference
import state
import tensors
import tokenizer

F16, BF16 = np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)


def put_json(path, value):
    Path(path).write_text(json.dumps(value, indent=2) + "\n")


def new(out, name):
    folder = Path(out) / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def inputs(model, n=4):
    """Pixels as a preprocessor would give them, and token ids of texts of many lengths, in a full row each."""
    rng = np.random.default_rng([model.seed, 5])
    s = model.vision.size
    y, x = np.mgrid[0:s, 0:s] / s
    pixels = np.empty((n, 3, s, s), np.float32)
    for i in range(n):
        a, b, c = rng.uniform(-8, 8, 3)
        waves = np.stack([np.sin(a * x + b * y + k * c) for k in range(3)])
        pixels[i] = 1.5 * waves * rng.uniform(0.3, 1.0, (3, 1, 1)) + 0.2 * rng.standard_normal((3, s, s))
    t = model.text
    ids = np.zeros((n, t.tokens), np.int64)
    for i in range(n):
        used = [0, 1, t.tokens // 3, t.tokens - 2][i % 4]
        words = rng.integers(3, t.vocab - 2, used)
        if model.family == "siglip":
            ids[i] = 1  # the end token is the padding too
            ids[i, :used] = words
        else:  # start, words, end; then the padding of the hub (end again) or of the first CLIP (zeros)
            ids[i] = t.vocab - 1 if i % 2 else 0
            ids[i, : used + 2] = [t.vocab - 2, *words, t.vocab - 1]
    return pixels, ids


def mask(model, ids):
    """attention_mask: ones up to the first end token."""
    if model.family == "siglip":
        return np.ones_like(ids)
    end = (ids == model.text.vocab - 1).argmax(1)
    return (np.arange(ids.shape[1]) <= end[:, None]).astype(np.int64)


def answer(folder, model, n=4, dtype=np.float64):
    """reference/: pixel_values, input_ids, attention_mask, image_embeds, text_embeds (not normalised), logits."""
    clip, ref = reference.Clip(folder, dtype), folder / "reference"
    ref.mkdir(exist_ok=True)
    pixels, ids = inputs(model, n)
    image, text = clip.images(pixels), clip.texts(ids)
    logits = clip.logit_scale * reference.unit(image) @ reference.unit(text).T + clip.logit_bias
    for name, a in {"pixel_values": pixels, "input_ids": ids, "attention_mask": mask(model, ids),
                    "image_embeds": image.astype(np.float32), "text_embeds": text.astype(np.float32),
                    "logits_per_image": logits.astype(np.float32)}.items():
        np.save(ref / f"{name}.npy", a)


def beside(folder, model, sparse=False, legacy=False):
    """What stands beside the weights of a model of the hub."""
    put_json(folder / "config.json", configs.of(model, sparse))
    put_json(folder / "preprocessor_config.json", configs.preprocessor(model, legacy))
    tokenizer.write(folder, model)


def position_ids(weights, model):
    """Old files hold these, as integers."""
    v = model.vision.grid**2 + 1
    return {"text_model.embeddings.position_ids": np.arange(model.text.tokens, dtype=np.int64)[None],
            "vision_model.embeddings.position_ids": np.arange(v, dtype=np.int64)[None], **weights}


def hub(out, name, model, weights, sharded=0, sparse=False, legacy=False, file="model.safetensors", n=4):
    folder = new(out, name)
    beside(folder, model, sparse, legacy)
    if sharded:
        tensors.write_sharded(folder, weights, sharded)
    else:
        tensors.write(folder / file, weights)
    answer(folder, model, n)
    return folder


def open_clip(out, name, model, weights, prefix="", n=4):
    folder = new(out, name)
    put_json(folder / "open_clip_config.json", configs.open_clip_config(model))
    tokenizer.write(folder, model)
    tensors.write(folder / "open_clip_model.safetensors", naming.open_clip(weights, model, prefix), {"format": "pt"})
    answer(folder, model, n)
    return folder


def small(out, models):
    clip, gelu, siglip, strong = (models[n] for n in ("clip-small", "clip-gelu-small", "siglip-small", "outliers-small"))
    w, g, s = state.make(clip), state.make(gelu), state.make(siglip)
    hub(out, "clip-f32", clip, position_ids(w, clip), legacy=True)
    hub(out, "clip-f16", clip, tensors.cast(w, F16))
    hub(out, "clip-bf16", clip, tensors.cast(w, BF16))
    hub(out, "clip-sharded", clip, w, sharded=3)
    hub(out, "clip-gelu", gelu, g)
    open_clip(out, "open-clip", gelu, g)
    open_clip(out, "open-clip-quick", clip, w)
    open_clip(out, "open-clip-text-prefix", gelu, g, prefix="text.")
    hub(out, "siglip", siglip, s)
    hub(out, "siglip-f16", siglip, tensors.cast(s, F16))
    hub(out, "outliers", strong, state.make(strong))


def full(out, models):
    b32, tiny, siglip = models["vit-b32"], models["tinyclip-8m"], models["siglip-b16"]
    hub(out, "vit-b32", b32, state.make(b32), sparse=True, legacy=True, n=2)
    hub(out, "tinyclip-8m-f16", tiny, tensors.cast(state.make(tiny), F16), n=2)
    open_clip(out, "vit-b32-open-clip", b32, state.make(b32), n=2)
    hub(out, "siglip-b16", siglip, state.make(siglip), sparse=True, n=2)
