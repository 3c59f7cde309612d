"""Image towers made of convolutions: CLIP's modified ResNet, and MobileCLIP's FastViT after its branches are merged.

Weights are drawn here as they are needed; the text sides are CLIP's.
"""
import numpy as np

import vit
from onnx_graph import Graph


def conv(g, x, name, cin, cout, k, stride=1, group=1, gain=1.0, bias=True):
    fan = cin // group * k * k
    if f"{name}.weight" not in g.w:
        g.w.mat(f"{name}.weight", (cout, cin // group, k, k), gain / np.sqrt(fan))
        g.w.vec(f"{name}.bias", cout, 0.0, 0.02)
    w = [g.weight(f"{name}.weight")] + ([g.weight(f"{name}.bias")] if bias else [])
    return g.op("Conv", x, *w, kernel_shape=[k, k], strides=[stride] * 2, pads=[k // 2] * 4, dilations=[1, 1], group=group)


def batch_norm(g, x, name, width):
    if f"{name}.running_var" not in g.w:
        g.w.vec(f"{name}.weight", width, 1.0, 0.1)
        g.w.vec(f"{name}.bias", width)
        g.w.vec(f"{name}.running_mean", width, 0.0, 0.1)
        g.w[f"{name}.running_var"] = np.abs(g.w.vec(f"{name}.running_var", width, 1.0, 0.2)) + np.float32(0.1)
    parts = [g.weight(f"{name}.{p}") for p in ("weight", "bias", "running_mean", "running_var")]
    return g.op("BatchNormalization", x, *parts, epsilon=1e-5, momentum=0.9)


def norm_conv(g, x, name, cin, cout, k, stride=1, gain=2**0.5):
    """A convolution with its norm: folded into it as exporters do, or (opset 14, 15) left as a node."""
    kept = g.style.opset in (14, 15)
    x = conv(g, x, name, cin, cout, k, stride, gain=gain, bias=not kept)
    return batch_norm(g, x, f"{name}.bn", cout) if kept else x


def pool2(g, x, k=2):
    return g.op("AveragePool", x, kernel_shape=[k, k], strides=[k, k], pads=[0] * 4, ceil_mode=0, count_include_pad=1)


# CLIP's ResNet

RN_LAYERS = {"rn50": (3, 4, 6, 3), "rn-small": (1, 2, 1, 1)}


def bottleneck(g, x, name, cin, planes, stride):
    relu = lambda y: g.op("Relu", y)
    y = relu(norm_conv(g, x, f"{name}.conv1", cin, planes, 1))
    y = relu(norm_conv(g, y, f"{name}.conv2", planes, planes, 3))
    if stride > 1:  # the pool in place of a stride: anti-aliasing
        y = pool2(g, y)
    y = norm_conv(g, y, f"{name}.conv3", planes, planes * 4, 1, gain=0.7)
    if stride > 1 or cin != planes * 4:
        if stride > 1:
            x = pool2(g, x)
        x = norm_conv(g, x, f"{name}.downsample", cin, planes * 4, 1, gain=1.0)
    return relu(g.op("Add", y, x))


def attention_pool(g, x, vision, dim, batch):
    """The mean token asks all places; only its answer is projected."""
    d, tokens, heads = vision.width * 32, vision.grid**2, vision.heads
    width, p = d // heads, "visual.attnpool"
    if f"{p}.positional_embedding" not in g.w:
        g.w.mat(f"{p}.positional_embedding", (tokens + 1, 1, d), 0.05)
        for c in "qkv":
            g.w.linear(f"{p}.{c}_proj", d, d, 2.0)
        g.w.linear(f"{p}.c_proj", d, dim)
    x = g.op("Transpose", g.reshape(x, batch, d, tokens), perm=[2, 0, 1])
    x = g.op("Concat", g.reduce("ReduceMean", x, 0), x, axis=0)
    x = g.op("Add", x, g.weight(f"{p}.positional_embedding"))
    first = g.op("Slice", x, g.ints(0), g.ints(1), g.ints(0), g.ints(1))
    both = g.times(batch, heads)
    cut = lambda y, n, c: g.op("Transpose", g.reshape(g.linear(y, f"{p}.{c}_proj"), n, both, width), perm=[1, 0, 2])
    q, k, v = cut(first, 1, "q"), cut(x, tokens + 1, "k"), cut(x, tokens + 1, "v")
    a = g.op("MatMul", g.op("Mul", q, g.const(width**-0.5)), g.op("Transpose", k, perm=[0, 2, 1]))
    y = g.op("MatMul", g.softmax(a, 3), v)
    y = g.reshape(g.op("Transpose", y, perm=[1, 0, 2]), batch, d)
    return g.op("Gemm", y, g.weight(f"{p}.c_proj.weight"), g.weight(f"{p}.c_proj.bias"), transB=1)


def resnet_features(g, model, x):
    w = model.vision.width
    batch = vit.length(g, x, 0, g.style.batch)
    with g.scope("visual"):
        for name, cin, cout, stride in (("conv1", 3, w // 2, 2), ("conv2", w // 2, w // 2, 1), ("conv3", w // 2, w, 1)):
            x = g.op("Relu", norm_conv(g, x, f"visual.{name}", cin, cout, 3, stride))
        x, cin = pool2(g, x), w
        for i, n in enumerate(RN_LAYERS[model.name]):
            planes = w * 2**i
            for j in range(n):
                x = bottleneck(g, x, f"visual.layer{i + 1}.{j}", cin, planes, 2 if i and not j else 1)
                cin = planes * 4
        return attention_pool(g, x, model.vision, model.dim, batch)


# MobileCLIP-S0: four stages, large kernels between them, attention in none of the first three

MCI = {  # blocks and widths of the stages; the last one has attention
    "mobileclip-s0": ((2, 6, 10, 2), (64, 128, 256, 512)),
    "mobileclip-small": ((1, 2, 1, 1), (16, 32, 48, 64)),
}


def squeeze_excite(g, x, name, width):
    s = g.op("GlobalAveragePool", x) if g.style.opset < 18 else g.reduce("ReduceMean", x, 2, 3)
    s = g.op("Relu", conv(g, s, f"{name}.reduce", width, max(width // 16, 4), 1, gain=2.0))
    s = g.op("Sigmoid", conv(g, s, f"{name}.expand", max(width // 16, 4), width, 1, gain=2.0))
    return g.op("Mul", x, s)


def scaled(g, x, name, width):
    if f"{name}.layer_scale" not in g.w:
        g.w[f"{name}.layer_scale"] = np.abs(g.w.vec(f"{name}.layer_scale", width, 0.5, 0.2)).reshape(width, 1, 1)
    return g.op("Mul", x, g.weight(f"{name}.layer_scale"))


def conv_mlp(g, x, name, width, act):
    """A depthwise 7×7, then two 1×1 with the activation between."""
    y = conv(g, x, f"{name}.dw", width, width, 7, group=width)
    y = g.act(conv(g, y, f"{name}.fc1", width, width * 3, 1, gain=1.5), act)
    y = conv(g, y, f"{name}.fc2", width * 3, width, 1)
    return g.op("Add", x, scaled(g, y, name, width))


def mixer(g, x, name, width):
    """A depthwise 3×3 that its own input was merged into: near to doing nothing."""
    if f"{name}.weight" not in g.w:
        g.w.mat(f"{name}.weight", (width, 1, 3, 3), 0.15)[:, :, 1, 1] += 0.8
        g.w.vec(f"{name}.bias", width)
    return conv(g, x, name, width, width, 3, group=width)


def spatial_attention(g, x, name, width, grid, batch):
    """Attention over the places of the grid; heads are 32 wide (16 in the small one)."""
    wide = 32 if width >= 512 else 16
    heads, tokens, n = width // wide, grid * grid, f"{name}.attn"
    if f"{n}.qkv.weight" not in g.w:
        g.w.linear(f"{n}.qkv", width, width * 3, 1.3)
        g.w.linear(f"{n}.proj", width, width)
    y = batch_norm(g, x, f"{name}.norm", width)
    y = g.op("Transpose", g.reshape(y, batch, width, tokens), perm=[0, 2, 1])
    y = g.op("MatMul", y, g.weight(f"{n}.qkv.weight", turned=True))  # no bias here
    y = g.op("Transpose", g.reshape(y, batch, tokens, 3, heads, wide), perm=[2, 0, 3, 1, 4])
    q, k, v = (g.op("Gather", y, g.const(i, np.int64), axis=0) for i in range(3))
    a = g.op("MatMul", g.op("Mul", q, g.const(wide**-0.5)), g.op("Transpose", k, perm=[0, 1, 3, 2]))
    y = g.op("MatMul", g.softmax(a, 4), v)
    y = g.linear(g.reshape(g.op("Transpose", y, perm=[0, 2, 1, 3]), batch, tokens, width), f"{n}.proj")
    y = g.reshape(g.op("Transpose", y, perm=[0, 2, 1]), batch, width, grid, grid)
    return g.op("Add", x, scaled(g, y, f"{name}.mixer", width))


def mobileclip_features(g, model, x):
    blocks, widths = MCI[model.name]
    act, grid, p = model.vision.act, model.vision.size // 4, "image_encoder.model"
    batch = vit.length(g, x, 0, g.style.batch)
    with g.scope("image_encoder"):
        d = widths[0]
        x = g.act(conv(g, x, f"{p}.stem.0", 3, d, 3, 2, gain=1.5), act)
        x = g.act(conv(g, x, f"{p}.stem.1", d, d, 3, 2, group=d, gain=1.5), act)
        x = g.act(conv(g, x, f"{p}.stem.2", d, d, 1, gain=1.5), act)
        for i, (n, width) in enumerate(zip(blocks, widths)):
            if i:  # to half the side and the next width, by a 7×7 that gives several maps for each
                down = f"{p}.down.{i}"
                x = conv(g, x, f"{down}.lk", d, width, 7, 2, group=d if width % d == 0 else 1, gain=1.5)
                if i > 1:
                    x = squeeze_excite(g, x, f"{down}.se", width)
                x = g.act(conv(g, g.act(x, act), f"{down}.pw", width, width, 1, gain=1.5), act)
                d, grid = width, grid // 2
            if i == 3:  # position by a depthwise 7×7
                x = g.op("Add", x, conv(g, x, f"{p}.cpe", d, d, 7, group=d, gain=0.5))
            for j in range(n):
                name = f"{p}.network.{i}.{j}"
                if i == 3:
                    x = spatial_attention(g, x, name, d, grid, batch)
                else:
                    x = mixer(g, x, f"{name}.mixer", d)
                x = conv_mlp(g, x, f"{name}.mlp", d, act)
        x = conv(g, x, f"{p}.exp", d, d * 2, 3, group=d, gain=1.5)
        x = g.act(squeeze_excite(g, x, f"{p}.exp.se", d * 2), act)
        x = g.reduce("ReduceMean", x, 2, 3, keepdims=0)
        if f"{p}.head.proj" not in g.w:
            g.w.mat(f"{p}.head.proj", (model.dim, d * 2), 1.0 / np.sqrt(d * 2))
        return g.project(x, f"{p}.head.proj")


def image_features(g, model, x):
    return (resnet_features if model.family == "resnet" else mobileclip_features)(g, model, x)


def vision(model, weights, style):
    g = Graph(style, weights)
    x = vit.pixels(g, model.vision)
    g.output("image_embeds", image_features(g, model, x), style.batch or "batch_size", model.dim)
    return g.model("vision")
