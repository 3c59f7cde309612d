"""The transformer that all towers share, in the ways that exporters write its attention."""
import numpy as np


def attention(g, h, name, spec, batch, tokens, mask):
    how = {"bmm": heads_in_batch, "sdpa": sdpa, "mha": tokens_first, "fused": fused}[g.style.attention]
    return how(g, h, name, spec, batch, tokens, mask)


def joined(g, name):
    """Weights and biases of q, k, v in one, kept beside the others."""
    key = f"{name}.in_proj"
    if f"{key}.weight" not in g.w:
        for kind in ("weight", "bias"):
            g.w[f"{key}.{kind}"] = np.concatenate([g.w[f"{name}.{c}_proj.{kind}"] for c in "qkv"])
    return key


def guarded(g, p):
    if not g.style.nan_guard:
        return p
    return g.op("Where", g.op("IsNaN", p), g.const(0.0), p)


def scaled(g, x, width):
    """x by the fourth root of the head's width: both sides get half of the scale."""
    if g.style.scale == "folded":
        return g.op("Mul", x, g.const(width**-0.25))
    s = g.op("Slice", g.op("Shape", x), g.ints(-1), g.ints(np.iinfo(np.int64).max))
    s = g.op("Div", g.const([1.0]), g.op("Sqrt", g.op("Cast", s, to=1)))
    return g.op("Mul", x, g.op("Sqrt", s))


def sdpa(g, h, name, spec, batch, tokens, mask):
    width = spec.width // spec.heads
    cut = [g.linear(h, f"{name}.{c}_proj") for c in "qkv"]
    q, k, v = (g.reshape(x, batch, -1, spec.heads, width) for x in cut)
    q, v = (scaled(g, g.op("Transpose", q, perm=[0, 2, 1, 3]), width), g.op("Transpose", v, perm=[0, 2, 1, 3]))
    # the scale of k must see its last axis before the turn
    k = g.op("Transpose", scaled(g, g.op("Transpose", k, perm=[0, 2, 1, 3]), width), perm=[0, 1, 3, 2]) \
        if g.style.scale == "computed" else scaled(g, g.op("Transpose", k, perm=[0, 2, 3, 1]), width)
    a = g.op("MatMul", q, k)
    if mask:
        a = g.op("Add", a, mask)
    y = g.op("MatMul", guarded(g, g.softmax(a, 4)), v)
    y = g.reshape(g.op("Transpose", y, perm=[0, 2, 1, 3]), batch, tokens, spec.width)
    return g.linear(y, f"{name}.out_proj")


def heads_in_batch(g, h, name, spec, batch, tokens, mask):
    width, both = spec.width // spec.heads, g.times(batch, spec.heads)
    q = g.op("Mul", g.linear(h, f"{name}.q_proj"), g.const(width**-0.5))
    k, v = g.linear(h, f"{name}.k_proj"), g.linear(h, f"{name}.v_proj")

    def cut(x):
        x = g.op("Transpose", g.reshape(x, batch, -1, spec.heads, width), perm=[0, 2, 1, 3])
        return g.reshape(x, both, -1, width)

    q, k, v = cut(q), cut(k), cut(v)
    a = g.op("MatMul", q, g.op("Transpose", k, perm=[0, 2, 1]))
    if mask:
        a = g.op("Add", g.reshape(a, batch, spec.heads, tokens, tokens), mask)
        a = g.reshape(a, both, tokens, tokens)
    y = g.op("MatMul", g.dropout(guarded(g, g.softmax(a, 3))), v)
    y = g.op("Transpose", g.reshape(y, batch, spec.heads, tokens, width), perm=[0, 2, 1, 3])
    return g.linear(g.reshape(y, batch, tokens, spec.width), f"{name}.out_proj")


def tokens_first(g, h, name, spec, batch, tokens, mask):
    """nn.MultiheadAttention with tokens on the first axis, as open_clip has it; the mask is [tokens, tokens] wide."""
    d, width, both = spec.width, spec.width // spec.heads, g.times(batch, spec.heads)
    x = g.op("Transpose", h, perm=[1, 0, 2])
    x = g.linear(x, joined(g, name))  # [tokens, batch, 3 d]
    x = g.unsqueeze(g.reshape(x, tokens, batch, 3, d), 0)
    x = g.squeeze(g.op("Transpose", x, perm=[3, 1, 2, 0, 4]), 3)  # [3, tokens, batch, d]
    parts = [g.op("Gather", x, g.const(i, np.int64), axis=0) for i in range(3)]
    q, k, v = (g.op("Transpose", g.reshape(p, tokens, both, width), perm=[1, 0, 2]) for p in parts)
    a = g.op("MatMul", g.op("Mul", q, g.const(width**-0.5)), g.op("Transpose", k, perm=[0, 2, 1]))
    if mask:
        a = g.reshape(g.op("Add", g.reshape(a, batch, spec.heads, tokens, tokens), mask), both, tokens, tokens)
    y = g.op("MatMul", guarded(g, g.softmax(a, 3)), v)
    y = g.reshape(g.op("Transpose", y, perm=[1, 0, 2]), g.times(tokens, batch), d)
    y = g.op("Gemm", y, g.weight(f"{name}.out_proj.weight"), g.weight(f"{name}.out_proj.bias"), transB=1)
    return g.op("Transpose", g.reshape(y, tokens, batch, d), perm=[1, 0, 2])


def fused(g, h, name, spec, batch, tokens, mask):
    """q, k and v from one product, cut by Split."""
    width = spec.width // spec.heads
    x = g.linear(h, joined(g, name))
    x = g.op("Transpose", g.reshape(x, batch, tokens, 3, spec.heads, width), perm=[2, 0, 3, 1, 4])
    q, k, v = (g.squeeze(p, 0) for p in g.split(x, 3, 0, 1))
    a = g.op("MatMul", g.op("Mul", q, g.const(width**-0.5)), g.op("Transpose", k, perm=[0, 1, 3, 2]))
    if mask:
        a = g.op("Add", a, mask)
    y = g.op("MatMul", guarded(g, g.softmax(a, 4)), v)
    y = g.reshape(g.op("Transpose", y, perm=[0, 2, 1, 3]), batch, tokens, spec.width)
    return g.linear(y, f"{name}.out_proj")


def encoder(g, x, prefix, spec, batch, tokens, mask=None):
    """All layers over x [batch, tokens, width]; lengths are numbers or scalars of the graph."""
    for i in range(spec.layers):
        name = f"{prefix}.encoder.layers.{i}"
        with g.scope(name.replace(".encoder.", "/encoder/")):
            h = g.layer_norm(x, f"{name}.layer_norm1", spec.eps)
            with g.scope("self_attn"):
                h = attention(g, h, f"{name}.self_attn", spec, batch, tokens, mask)
            x = g.op("Add", x, h)
            h = g.layer_norm(x, f"{name}.layer_norm2", spec.eps)
            with g.scope("mlp"):
                h = g.act(g.linear(h, f"{name}.mlp.fc1"), spec.act)
                h = g.linear(h, f"{name}.mlp.fc2")
            x = g.op("Add", x, h)
    return x
