"""Image towers of CLIP and SigLIP, as the hub's exporters write them."""
import numpy as np
from onnx import TensorProto as T
from onnx import helper

from onnx_graph import Graph
from transformer import encoder


def pixels(g, vision, name="pixel_values"):
    """The input; all its axes are symbolic where the batch is, as usual exports have them."""
    if g.style.batch:
        return g.input(name, T.FLOAT, g.style.batch, 3, vision.size, vision.size)
    if g.style.constants == "node":
        return g.input(name, T.FLOAT, "batch_size", "num_channels", "height", "width")
    return g.input(name, T.FLOAT, "batch_size", 3, vision.size, vision.size)


def length(g, x, axis, fixed):
    return fixed if g.style.batch else g.length(x, axis)


def patches(g, x, vision, name, bias=False):
    """Patch embedding: a convolution, its grid in one axis, tokens before channels."""
    p = vision.patch
    w = [g.weight(f"{name}.weight")] + ([g.weight(f"{name}.bias")] if bias else [])
    x = g.op("Conv", x, *w, kernel_shape=[p, p], strides=[p, p], pads=[0] * 4, dilations=[1, 1], group=1)
    if g.style.batch:
        x = g.reshape(x, g.style.batch, vision.width, vision.grid**2)
    else:
        s = g.op("Slice", g.op("Shape", x), g.ints(0), g.ints(2), g.ints(0))
        x = g.op("Reshape", x, g.op("Concat", s, g.ints(-1), axis=0))
    return g.op("Transpose", x, perm=[0, 2, 1])


def class_token(g, batch, name, width):
    """The class token once for each photo."""
    g.w.setdefault("onnx::Expand_560", g.w[name].reshape(1, 1, width))
    c = g.weight("onnx::Expand_560")
    if batch == 1:
        return c
    want = g.shape(batch, 1, -1)
    ones = g.op("ConstantOfShape", g.ints(3), value=helper.make_tensor("value", T.INT64, [1], [1]))
    keep = g.op("Equal", want, g.op("Mul", ones, g.ints(-1)))  # -1 keeps an axis in torch, in ONNX 1 does
    return g.op("Expand", c, g.op("Where", keep, ones, want))


def clip_trunk(g, model, x):
    """Tokens [batch, grid² + 1, width] before the last norm."""
    v, e = model.vision, "vision_model.embeddings"
    batch = length(g, x, 0, g.style.batch)
    with g.scope("vision_model/embeddings"):
        x = patches(g, x, v, f"{e}.patch_embedding")
        x = g.op("Concat", class_token(g, batch, f"{e}.class_embedding", v.width), x, axis=1)
        ids = g.const(np.arange(v.grid**2 + 1)[None], np.int64)
        x = g.op("Add", x, g.op("Gather", g.weight(f"{e}.position_embedding.weight"), ids, axis=0))
    x = g.layer_norm(x, "vision_model.pre_layrnorm", v.eps)
    tokens = v.grid**2 + 1 if g.style.batch else g.length(x, 1)
    return encoder(g, x, "vision_model", v, batch, tokens)


def clip_pooled(g, model, x):
    x = g.op("Gather", x, g.const(0, np.int64), axis=1)
    return g.layer_norm(x, "vision_model.post_layernorm", model.vision.eps)


def siglip_trunk(g, model, x):
    v, e = model.vision, "vision_model.embeddings"
    batch = length(g, x, 0, g.style.batch)
    with g.scope("vision_model/embeddings"):
        x = patches(g, x, v, f"{e}.patch_embedding", bias=True)
        ids = g.const(np.arange(v.grid**2)[None], np.int64)
        x = g.op("Add", x, g.op("Gather", g.weight(f"{e}.position_embedding.weight"), ids, axis=0))
    x = encoder(g, x, "vision_model", v, batch, v.grid**2)
    return g.layer_norm(x, "vision_model.post_layernorm", v.eps), batch


def siglip_pooled(g, model, x, batch):
    """The attention pool: one learned query over all tokens, then an MLP beside it."""
    v, h = model.vision, "vision_model.head"
    d, heads, width = v.width, v.heads, v.width // v.heads
    if f"{h}.q.weight" not in g.w:
        for kind, name in (("weight", "in_proj_weight"), ("bias", "in_proj_bias")):
            for c, part in zip("qkv", np.split(g.w[f"{h}.attention.{name}"], 3)):
                g.w[f"{h}.{c}.{kind}"] = part
    with g.scope("vision_model/head"):
        probe = g.weight(f"{h}.probe")
        if batch != 1:
            probe = g.op("Tile", probe, g.shape(batch, 1, 1))
        both = g.times(batch, heads)

        def cut(y, tokens, name):  # tokens first, as nn.MultiheadAttention
            y = g.linear(g.op("Transpose", y, perm=[1, 0, 2]), name)
            return g.op("Transpose", g.reshape(y, tokens, both, width), perm=[1, 0, 2])

        q, k, val = cut(probe, 1, f"{h}.q"), cut(x, v.grid**2, f"{h}.k"), cut(x, v.grid**2, f"{h}.v")
        a = g.op("MatMul", g.op("Mul", q, g.const(width**-0.5)), g.op("Transpose", k, perm=[0, 2, 1]))
        y = g.op("MatMul", g.softmax(a, 3), val)
        y = g.reshape(g.op("Transpose", y, perm=[1, 0, 2]), batch, d)
        y = g.op("Gemm", y, g.weight(f"{h}.attention.out_proj.weight"), g.weight(f"{h}.attention.out_proj.bias"), transB=1)
        y = g.op("Transpose", g.reshape(y, 1, batch, d), perm=[1, 0, 2])
        z = g.layer_norm(y, f"{h}.layernorm", v.eps)
        z = g.linear(g.act(g.linear(z, f"{h}.mlp.fc1"), v.act), f"{h}.mlp.fc2")
        return g.op("Gather", g.op("Add", y, z), g.const(0, np.int64), axis=1)


def image_features(g, model, x):
    """What follows the pixels up to the features [batch, dim], not normalised."""
    if model.family == "siglip":
        return siglip_pooled(g, model, *siglip_trunk(g, model, x))
    return g.project(clip_pooled(g, model, clip_trunk(g, model, x)), "visual_projection.weight")


def vision(model, weights, style, ends=("image_embeds",)):
    """An image tower; `ends` are its outputs: image_embeds, pooler_output, last_hidden_state, in any choice."""
    g = Graph(style, weights)
    x, v = pixels(g, model.vision), model.vision
    b = style.batch or "batch_size"
    if model.family == "siglip":
        hidden, batch = siglip_trunk(g, model, x)
        made = {"last_hidden_state": (hidden, v.grid**2, v.width)}
        if set(ends) - {"last_hidden_state"}:
            pooled = siglip_pooled(g, model, hidden, batch)
            made |= {"pooler_output": (pooled, v.width), "image_embeds": (pooled, v.width)}
    else:
        hidden = clip_trunk(g, model, x)
        made = {"last_hidden_state": (hidden, v.grid**2 + 1, v.width)}
        if set(ends) - {"last_hidden_state"}:
            pooled = clip_pooled(g, model, hidden)
            made["pooler_output"] = (pooled, v.width)
            if "image_embeds" in ends:
                made["image_embeds"] = (g.project(pooled, "visual_projection.weight"), model.dim)
        else:  # a plain ViT: the last norm over all tokens
            made["last_hidden_state"] = (g.layer_norm(hidden, "vision_model.post_layernorm", v.eps), v.grid**2 + 1, v.width)
    for end in ends:
        value, *dims = made[end]
        g.output(end, value, b, *dims)
    return g.model("vision")
