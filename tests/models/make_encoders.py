#!/usr/bin/env python3
"""Write ONNX image encoders with the true architecture of CLIP models and seeded random weights.

Loaders are tested on these files: every form that exporters write, of models whose shape is CLIP's. Shapes, op sequence and dynamic axes follow what Optimum /
transformers export for CLIPVisionModelWithProjection (pixel_values -> image_embeds).
The weights mean nothing: they serve numerics and speed, never claims of accuracy.

  python make_encoders.py OUTDIR [--only small,tinyclip8m,mobilenetv2,vitb32] [--no-quant]

Needs numpy and onnx; onnxruntime too for the int8 files (skip them with --no-quant).
Files per encoder NAME (same weights in all):
  NAME.op14.onnx    f32, LayerNorm as ReduceMean/Sub/Pow/Sqrt/Div ops
  NAME.op17.onnx    f32, LayerNormalization op
  NAME.fp16.onnx    f16 weights and compute, f32 input and output
  NAME.dyn-s8.onnx  onnxruntime quantize_dynamic, s8 weights per channel
  NAME.dyn-u8.onnx  onnxruntime quantize_dynamic, u8 weights per channel
  NAME.qdq.onnx     onnxruntime quantize_static, QDQ, s8 weights per channel, u8 activations
"""
import argparse
import os

import numpy as np
import onnx
from onnx import TensorProto as T, helper, numpy_helper

#               layers width heads patch embed  (224 px, mlp ratio 4, QuickGELU, eps 1e-5)
VITS = {
    "small": (2, 128, 2, 32, 64),
    "vitb32": (12, 768, 12, 32, 512),      # openai/clip-vit-base-patch32, vision side
    "vitb16": (12, 768, 12, 16, 512),      # openai/clip-vit-base-patch16, vision side
    "tinyclip8m": (10, 256, 4, 16, 512),   # wkcn/TinyCLIP-ViT-8M-16-Text-3M-YFCC15M, vision side
}
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


def test_images(n, seed=0, size=224):
    """n smooth, colourful, CLIP-normalised images [n,3,size,size]: blobs, gratings and some noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    out = np.empty((n, 3, size, size), np.float32)
    for i in range(n):
        img = np.broadcast_to(rng.uniform(0.1, 0.9, (3, 1, 1)), (3, size, size)).astype(np.float32)
        for _ in range(6):
            cx, cy, r = rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(0.05, 0.35)
            blob = np.exp(-(((x - cx) ** 2 + (y - cy) ** 2) / r**2) ** 2)
            img = img * (1 - blob) + blob * rng.uniform(0, 1, (3, 1, 1))
        f, a = rng.uniform(5, 40), rng.uniform(0, np.pi)
        img = img + 0.15 * np.sin(2 * np.pi * f * (x * np.cos(a) + y * np.sin(a)))
        img = np.clip(img + 0.02 * rng.standard_normal(img.shape), 0, 1)
        out[i] = (img - MEAN[:, None, None]) / STD[:, None, None]
    return out


class Graph:
    """A thin builder: op() adds a node, const() an initializer (deduplicated by value)."""

    def __init__(self):
        self.nodes, self.inits, self.seen = [], [], {}

    def const(self, value, name=None, dtype=np.float32):
        a = np.asarray(value, dtype)
        key = (a.dtype.str, a.shape, a.tobytes()) if name is None else name
        if key not in self.seen:
            self.seen[key] = name or f"const_{len(self.inits)}"
            self.inits.append(numpy_helper.from_array(a, self.seen[key]))
        return self.seen[key]

    def ints(self, *v):
        return self.const(list(v), dtype=np.int64)

    def op(self, kind, *inputs, name, **attrs):
        out = f"{name}_output_0"
        self.nodes.append(helper.make_node(kind, list(inputs), [out], name=name, **attrs))
        return out

    def dim(self, x, axis, name):
        s = self.op("Shape", x, name=f"{name}/Shape")
        return self.op("Gather", s, self.const(axis, dtype=np.int64), axis=0, name=f"{name}/Gather")

    def unsq(self, x, name):
        return self.op("Unsqueeze", x, self.ints(0), name=name)

    def model(self, inp, outp, opset, name):
        g = helper.make_graph(self.nodes, name, [inp], [outp], self.inits)
        m = helper.make_model(g, opset_imports=[helper.make_opsetid("", opset)], producer_name="make_encoders")
        m.ir_version = 8
        onnx.checker.check_model(m)
        return m


def make_vit(cfg, opset, seed=1):
    layers, d, heads, patch, embed = cfg
    hd, grid = d // heads, 224 // patch
    rng = np.random.default_rng(seed)
    g = Graph()

    def mat(name, shape, std):
        return g.const(rng.standard_normal(shape) * std, name)

    def vec(name, n, mean=0.0, std=0.05):
        return g.const(mean + rng.standard_normal(n) * std, name)

    def layer_norm(x, p, gain):
        # trained CLIP gains vary by channel, with a few large ones: this is what makes int8 hard
        w = gain * np.exp(0.3 * rng.standard_normal(d))
        w[rng.choice(d, max(2, d // 256), replace=False)] *= 4.0
        w, b = g.const(w, f"{p}.weight"), vec(f"{p}.bias", d, 0, 0.1)
        if opset >= 17:
            return g.op("LayerNormalization", x, w, b, axis=-1, epsilon=1e-5, name=f"/{p}/LayerNormalization")
        mu = g.op("ReduceMean", x, axes=[-1], name=f"/{p}/ReduceMean")
        c = g.op("Sub", x, mu, name=f"/{p}/Sub")
        v = g.op("Pow", c, g.const(2.0), name=f"/{p}/Pow")
        v = g.op("ReduceMean", v, axes=[-1], name=f"/{p}/ReduceMean_1")
        v = g.op("Add", v, g.const(1e-5), name=f"/{p}/Add")
        v = g.op("Sqrt", v, name=f"/{p}/Sqrt")
        y = g.op("Div", c, v, name=f"/{p}/Div")
        y = g.op("Mul", y, w, name=f"/{p}/Mul")
        return g.op("Add", y, b, name=f"/{p}/Add_1")

    def linear(x, p, n_in, n_out, std):
        y = g.op("MatMul", x, mat(f"{p}.weight", (n_in, n_out), std), name=f"/{p}/MatMul")
        return g.op("Add", vec(f"{p}.bias", n_out), y, name=f"/{p}/Add")

    # patch embedding: conv, flatten the grid, move tokens before channels
    w = mat("embeddings.patch_embedding.weight", (d, 3, patch, patch), 1.0 / np.sqrt(3 * patch * patch))
    x = g.op("Conv", "pixel_values", w, kernel_shape=[patch] * 2, strides=[patch] * 2, pads=[0] * 4,
             dilations=[1, 1], group=1, name="/embeddings/patch_embedding/Conv")
    s = g.op("Shape", x, name="/embeddings/Shape_1")
    s = g.op("Slice", s, g.ints(0), g.ints(2), g.ints(0), name="/embeddings/Slice")
    s = g.op("Concat", s, g.ints(-1), axis=0, name="/embeddings/Concat")
    x = g.op("Reshape", x, s, name="/embeddings/Reshape")
    x = g.op("Transpose", x, perm=[0, 2, 1], name="/embeddings/Transpose")
    # class token, expanded to the batch
    n = g.unsq(g.dim("pixel_values", 0, "/embeddings"), "/embeddings/Unsqueeze")
    s = g.op("Concat", n, g.ints(1), g.ints(-1), axis=0, name="/embeddings/Concat_1")
    s1 = g.op("ConstantOfShape", g.ints(3), value=helper.make_tensor("v", T.INT64, [1], [1]), name="/embeddings/ConstantOfShape")
    m1 = g.op("Mul", s1, g.ints(-1), name="/embeddings/Mul")
    eq = g.op("Equal", s, m1, name="/embeddings/Equal")
    s = g.op("Where", eq, s1, s, name="/embeddings/Where")
    c = g.op("Expand", mat("embeddings.class_embedding", (1, 1, d), 0.3), s, name="/embeddings/Expand")
    x = g.op("Concat", c, x, axis=1, name="/embeddings/Concat_2")
    x = g.op("Add", x, mat("embeddings.position_embedding", (1, grid * grid + 1, d), 0.3), name="/embeddings/Add")
    x = layer_norm(x, "pre_layrnorm", 0.5)

    for i in range(layers):
        p = f"encoder.layers.{i}"
        h = layer_norm(x, f"{p}.layer_norm1", 1.0)
        b = g.dim(h, 0, f"/{p}/self_attn/b")
        t = g.dim(h, 1, f"/{p}/self_attn/t")
        shape = g.op("Concat", g.unsq(b, f"/{p}/self_attn/Unsqueeze"), g.ints(-1), g.ints(heads), g.ints(hd),
                     axis=0, name=f"/{p}/self_attn/Concat")
        back = g.op("Concat", g.unsq(b, f"/{p}/self_attn/Unsqueeze_1"), g.unsq(t, f"/{p}/self_attn/Unsqueeze_2"),
                    g.ints(d), axis=0, name=f"/{p}/self_attn/Concat_1")
        qkv = []
        for which, gain in (("q", 1.3), ("k", 1.3), ("v", 1.0)):
            y = linear(h, f"{p}.self_attn.{which}_proj", d, d, gain / np.sqrt(d))
            y = g.op("Reshape", y, shape, name=f"/{p}/self_attn/Reshape_{which}")
            perm = [0, 2, 3, 1] if which == "k" else [0, 2, 1, 3]
            y = g.op("Transpose", y, perm=perm, name=f"/{p}/self_attn/Transpose_{which}")
            if which != "v":  # torch's SDPA export scales both sides by d^-1/4
                y = g.op("Mul", y, g.const(hd**-0.25), name=f"/{p}/self_attn/Mul_{which}")
            qkv.append(y)
        a = g.op("MatMul", qkv[0], qkv[1], name=f"/{p}/self_attn/MatMul")
        a = g.op("Softmax", a, axis=-1, name=f"/{p}/self_attn/Softmax")
        a = g.op("MatMul", a, qkv[2], name=f"/{p}/self_attn/MatMul_1")
        a = g.op("Transpose", a, perm=[0, 2, 1, 3], name=f"/{p}/self_attn/Transpose_o")
        a = g.op("Reshape", a, back, name=f"/{p}/self_attn/Reshape_o")
        a = linear(a, f"{p}.self_attn.out_proj", d, d, 0.9 / np.sqrt(d))
        x = g.op("Add", x, a, name=f"/{p}/Add")
        h = layer_norm(x, f"{p}.layer_norm2", 1.0)
        h = linear(h, f"{p}.mlp.fc1", d, 4 * d, 1.0 / np.sqrt(d))
        s = g.op("Mul", h, g.const(1.702), name=f"/{p}/mlp/activation_fn/Mul")
        s = g.op("Sigmoid", s, name=f"/{p}/mlp/activation_fn/Sigmoid")
        h = g.op("Mul", h, s, name=f"/{p}/mlp/activation_fn/Mul_1")
        h = linear(h, f"{p}.mlp.fc2", 4 * d, d, 0.5 / np.sqrt(d))
        x = g.op("Add", x, h, name=f"/{p}/Add_1")

    x = g.op("Gather", x, g.const(0, dtype=np.int64), axis=1, name="/Gather")
    x = layer_norm(x, "post_layernorm", 1.0)
    w = mat("visual_projection.weight", (d, embed), 1.0 / np.sqrt(d))
    g.nodes.append(helper.make_node("MatMul", [x, w], ["image_embeds"], name="/visual_projection/MatMul"))
    return g.model(
        helper.make_tensor_value_info("pixel_values", T.FLOAT, ["batch_size", "num_channels", "height", "width"]),
        helper.make_tensor_value_info("image_embeds", T.FLOAT, ["batch_size", embed]), opset, "clip_vision")


def make_mobilenetv2(opset, seed=2, embed=512):
    """MobileNetV2 1.0 trunk (BN folded, ReLU6 as Clip), global pool, projection to `embed`."""
    rng = np.random.default_rng(seed)
    g = Graph()
    count = 0

    def conv(x, cin, cout, k, stride, group, relu):
        nonlocal count
        n = f"/conv{count}"
        count += 1
        fan = (cin // group) * k * k
        w = g.const(rng.standard_normal((cout, cin // group, k, k)) * np.sqrt((2.0 if relu else 1.0) / fan), f"{n}.weight")
        b = g.const(rng.standard_normal(cout) * 0.1, f"{n}.bias")
        y = g.op("Conv", x, w, b, kernel_shape=[k, k], strides=[stride] * 2, pads=[k // 2] * 4, dilations=[1, 1],
                 group=group, name=n)
        return g.op("Clip", y, g.const(0.0), g.const(6.0), name=f"{n}/Clip") if relu else y

    x = conv("pixel_values", 3, 32, 3, 2, 1, True)
    cin = 32
    for t, c, n, s in [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]:
        for i in range(n):
            stride, h = (s if i == 0 else 1), x
            if t != 1:
                h = conv(h, cin, cin * t, 1, 1, 1, True)
            h = conv(h, cin * t, cin * t, 3, stride, cin * t, True)
            h = conv(h, cin * t, c, 1, 1, 1, False)
            x = g.op("Add", x, h, name=f"/add{count}") if stride == 1 and cin == c else h
            cin = c
    x = conv(x, cin, 1280, 1, 1, 1, True)
    x = g.op("GlobalAveragePool", x, name="/pool")
    x = g.op("Flatten", x, axis=1, name="/flatten")
    w = g.const(rng.standard_normal((embed, 1280)) / np.sqrt(1280), "proj.weight")
    b = g.const(rng.standard_normal(embed) * 0.05, "proj.bias")
    g.nodes.append(helper.make_node("Gemm", [x, w, b], ["image_embeds"], name="/proj", transB=1))
    return g.model(helper.make_tensor_value_info("pixel_values", T.FLOAT, ["batch_size", 3, 224, 224]),
                   helper.make_tensor_value_info("image_embeds", T.FLOAT, ["batch_size", embed]), opset, "mobilenetv2")


def to_fp16(m):
    """All f32 initializers to f16; one Cast after the input and one before the output."""
    m = onnx.ModelProto.FromString(m.SerializeToString())
    g = m.graph
    for t in g.initializer:
        if t.data_type == T.FLOAT:
            t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(t).astype(np.float16), t.name))
    for n in g.node:
        n.input[:] = ["pixel_values_f16" if i == "pixel_values" else i for i in n.input]
        n.output[:] = ["image_embeds_f16" if o == "image_embeds" else o for o in n.output]
    g.node.insert(0, helper.make_node("Cast", ["pixel_values"], ["pixel_values_f16"], to=T.FLOAT16, name="/cast_in"))
    g.node.append(helper.make_node("Cast", ["image_embeds_f16"], ["image_embeds"], to=T.FLOAT, name="/cast_out"))
    onnx.checker.check_model(m)
    return m


def quantize(src, base, ops):
    from onnxruntime import quantization as q

    class Reader(q.CalibrationDataReader):
        def __init__(self):
            self.it = iter(test_images(8, seed=100))

        def get_next(self):
            x = next(self.it, None)
            return None if x is None else {"pixel_values": x[None]}

    for tag, wt in (("s8", q.QuantType.QInt8), ("u8", q.QuantType.QUInt8)):
        q.quantize_dynamic(src, f"{base}.dyn-{tag}.onnx", per_channel=True, weight_type=wt,
                           extra_options={"DefaultTensorType": T.FLOAT})
    q.quantize_static(src, f"{base}.qdq.onnx", Reader(), quant_format=q.QuantFormat.QDQ, per_channel=True,
                      op_types_to_quantize=ops, activation_type=q.QuantType.QUInt8, weight_type=q.QuantType.QInt8,
                      extra_options={"DefaultTensorType": T.FLOAT})


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("outdir")
    ap.add_argument("--only", default="small,tinyclip8m,mobilenetv2")
    ap.add_argument("--no-quant", action="store_true")
    args = ap.parse_args()
    os.makedirs(args.outdir, exist_ok=True)
    for name in args.only.split(","):
        base = os.path.join(args.outdir, name)
        made = {op: make_vit(VITS[name], op) if name in VITS else make_mobilenetv2(op) for op in (14, 17)}
        for op, m in made.items():
            onnx.save(m, f"{base}.op{op}.onnx")
        onnx.save(to_fp16(made[17]), f"{base}.fp16.onnx")
        if not args.no_quant:
            quantize(f"{base}.op17.onnx", base, ["Conv", "MatMul"] if name in VITS else None)
        print(f"{name}: {sum(np.prod(t.dims) for t in made[17].graph.initializer) / 1e6:.2f} M values, "
              f"{len(made[14].graph.node)} nodes (opset 14), {len(made[17].graph.node)} (opset 17)")


if __name__ == "__main__":
    main()
