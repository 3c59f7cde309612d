"""Text towers of CLIP and SigLIP, and both towers in one file."""
import numpy as np
from onnx import TensorProto as T
from onnx import helper

import vit
from onnx_graph import Graph
from transformer import encoder

LOWEST = float(np.finfo(np.float32).min)


def token_inputs(g, text, masked, batch="batch_size"):
    dims = (g.style.batch, text.tokens) if g.style.batch else (batch, "sequence_length")
    ids = g.input("input_ids", T.INT64, *dims)
    return ids, (g.input("attention_mask", T.INT64, *dims) if masked else None)


def lengths(g, ids, text):
    if g.style.batch:
        return g.style.batch, text.tokens
    return g.length(ids, 0), g.length(ids, 1)


def embeddings(g, ids, text, tokens):
    e = "text_model.embeddings"
    with g.scope("text_model/embeddings"):
        places = g.const(np.arange(text.tokens)[None], np.int64)
        if not isinstance(tokens, int):
            places = g.op("Slice", places, g.ints(0), g.unsqueeze(tokens, 0), g.ints(1), g.ints(1))
        x = g.op("Gather", g.weight(f"{e}.token_embedding.weight"), ids, axis=0)
        return g.op("Add", x, g.op("Gather", g.weight(f"{e}.position_embedding.weight"), places, axis=0))


def causal(g, tokens):
    """[1, 1, tokens, tokens]: 0 up to each token, the lowest number after it."""
    low = helper.make_tensor("value", T.FLOAT, [1], [LOWEST])
    with g.scope("text_model/causal"):
        full = g.op("ConstantOfShape", g.shape(tokens, tokens), value=low)
        if g.style.causal == "trilu":
            m = g.op("Trilu", full, g.const(1, np.int64), upper=1)
        else:
            count = g.const(tokens, np.int64) if isinstance(tokens, int) else tokens
            at = g.op("Range", g.const(0, np.int64), count, g.const(1, np.int64))
            after = g.reshape(g.op("Add", at, g.const(1, np.int64)), -1, 1)
            m = g.op("Where", g.op("Less", at, after), g.const(0.0), full)
        return g.unsqueeze(m, 0, 1)


def with_padding(g, causal_mask, mask, batch, tokens):
    """The causal mask, and the lowest number for what attention_mask leaves out."""
    with g.scope("text_model/mask"):
        m = g.unsqueeze(mask, 1, 2)
        want = g.shape(batch, 1, tokens, tokens)
        m = g.op("Cast", g.op("Expand", m, want), to=T.FLOAT)
        m = g.op("Sub", g.const(1.0), m)
        left_out = g.op("Cast", m, to=T.BOOL)
        m = g.op("Where", left_out, g.const(LOWEST), m)
        return g.op("Add", causal_mask, m)


def end_token(g, x, ids, text, batch, tokens):
    """The row of x [batch, tokens, width] at the end token of each text."""
    with g.scope("text_model"):
        if text.eos == 2:  # the largest id is the end token
            at = g.op("ArgMax", g.op("Cast", ids, to=T.INT32), axis=-1, keepdims=0)
        else:
            same = g.op("Equal", ids, g.const(text.eos, np.int64))
            at = g.op("ArgMax", g.op("Cast", same, to=T.INT32), axis=-1, keepdims=0)
        count = g.const(batch, np.int64) if isinstance(batch, int) else batch
        row = g.op("Range", g.const(0, np.int64), count, g.const(1, np.int64))
        if g.style.pick == "gathernd":
            return g.op("GatherND", x, g.op("Concat", g.unsqueeze(row, 1), g.unsqueeze(at, 1), axis=1))
        width = g.const(tokens, np.int64) if isinstance(tokens, int) else tokens
        flat = g.op("Add", g.op("Mul", row, width), at)
        rows = g.op("Flatten", x, axis=2) if g.style.pick == "flat" else g.reshape(x, -1, text.width)
        return g.op("Gather", rows, flat, axis=0)


def text_features(g, model, ids, mask):
    t = model.text
    batch, tokens = lengths(g, ids, t)
    x = embeddings(g, ids, t, tokens)
    if model.family == "siglip":  # every token sees every other, the last one stands for the text
        x = encoder(g, x, "text_model", t, batch, tokens)
        x = g.layer_norm(x, "text_model.final_layer_norm", t.eps)
        x = g.op("Gather", x, g.const(-1, np.int64), axis=1)
        return x, g.linear(x, "text_model.head")
    m = causal(g, tokens)
    if mask:
        m = with_padding(g, m, mask, batch, tokens)
    x = encoder(g, x, "text_model", t, batch, tokens, m)
    x = g.layer_norm(x, "text_model.final_layer_norm", t.eps)
    x = end_token(g, x, ids, t, batch, tokens)
    return x, g.project(x, "text_projection.weight")


def text(model, weights, style, masked=True, end="text_embeds"):
    """A text tower with the output text_embeds, or pooler_output as SigLIP's is called (and CLIP's without projection)."""
    g = Graph(style, weights)
    pooled, features = text_features(g, model, *token_inputs(g, model.text, masked))
    b = style.batch or "batch_size"
    if end == "pooler_output" and model.family != "siglip":
        g.output(end, pooled, b, model.text.width)
    else:
        g.output(end, features, b, model.dim)
    return g.model("text")


def both(model, weights, style, masked=True, scale="folded"):
    """One file with both towers: logits_per_image, logits_per_text, text_embeds, image_embeds at unit length."""
    g = Graph(style, weights)
    ids, mask = token_inputs(g, model.text, masked, "text_batch_size")
    px = vit.pixels(g, model.vision)
    image = g.unit(vit.image_features(g, model, px))
    words = g.unit(text_features(g, model, ids, mask)[1])
    logits = g.op("MatMul", words, g.op("Transpose", image, perm=[1, 0]))
    w = weights
    if scale == "folded":
        logits = g.op("Mul", logits, g.const(np.exp(w["logit_scale"]).reshape(())))
    else:
        logits = g.op("Mul", logits, g.op("Exp", g.weight("logit_scale")))
    if "logit_bias" in w:
        logits = g.op("Add", logits, g.weight("logit_bias"))
    per_image = g.op("Transpose", logits, perm=[1, 0])
    n, k = (style.batch, style.batch) if style.batch else ("batch_size", "text_batch_size")
    g.output("logits_per_image", per_image, n, k)
    g.output("logits_per_text", logits, k, n)
    g.output("text_embeds", words, k, model.dim)
    g.output("image_embeds", image, n, model.dim)
    return g.model("clip")
