#!/usr/bin/env python3
"""Makes vit.onnx, a small vision tower of CLIP's architecture with seeded weights, and features.json:
what ONNX Runtime says of three made-up pictures, which the test makes again.

  python make.py            (needs numpy, onnx, onnxruntime)

64 pixels, patches of 8, 2 blocks, width 32, 2 heads, QuickGELU, 24 values out.
"""
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto as T
from onnx import helper, numpy_helper

SIDE, PATCH, WIDTH, HEADS, BLOCKS, OUT = 64, 8, 32, 2, 2, 24
rng = np.random.default_rng(5)
nodes, weights = [], []


def const(value, dtype=np.float32):
    name = f"w{len(weights)}"
    weights.append(numpy_helper.from_array(np.asarray(value, dtype), name))
    return name


def op(kind, *inputs, **attributes):
    out = f"t{len(nodes)}"
    nodes.append(helper.make_node(kind, list(inputs), [out], name=f"{kind}_{len(nodes)}", **attributes))
    return out


def matrix(*shape):
    return const(rng.standard_normal(shape) * 0.9 / np.sqrt(shape[0]))


def norm(x):
    gain, bias = np.exp(0.4 * rng.standard_normal(WIDTH)), 0.1 * rng.standard_normal(WIDTH)
    return op("LayerNormalization", x, const(gain), const(bias), axis=-1, epsilon=1e-5)


def linear(x, inputs, columns):
    x = op("MatMul", x, matrix(inputs, columns))
    return op("Add", const(0.1 * rng.standard_normal(columns)), x)


def heads(x, perm):
    x = op("Reshape", x, const([1, -1, HEADS, WIDTH // HEADS], np.int64))
    return op("Transpose", x, perm=perm)


def block(x):
    h = norm(x)
    scale = const(float(WIDTH // HEADS) ** -0.25)
    q = op("Mul", heads(linear(h, WIDTH, WIDTH), [0, 2, 1, 3]), scale)
    k = op("Mul", heads(linear(h, WIDTH, WIDTH), [0, 2, 3, 1]), scale)
    v = heads(linear(h, WIDTH, WIDTH), [0, 2, 1, 3])
    a = op("MatMul", op("Softmax", op("MatMul", q, k), axis=-1), v)
    a = op("Reshape", op("Transpose", a, perm=[0, 2, 1, 3]), const([1, -1, WIDTH], np.int64))
    x = op("Add", x, linear(a, WIDTH, WIDTH))
    h = linear(norm(x), WIDTH, 4 * WIDTH)
    h = op("Mul", h, op("Sigmoid", op("Mul", h, const(1.702))))
    return op("Add", x, linear(h, 4 * WIDTH, WIDTH))


grid = SIDE // PATCH
kernel = const(rng.standard_normal((WIDTH, 3, PATCH, PATCH)) * 0.05)
x = op("Conv", "pixel_values", kernel, kernel_shape=[PATCH, PATCH], strides=[PATCH, PATCH])
x = op("Reshape", x, const([1, WIDTH, grid * grid], np.int64))
x = op("Transpose", x, perm=[0, 2, 1])
x = op("Concat", const(rng.standard_normal((1, 1, WIDTH))), x, axis=1)
x = norm(op("Add", x, const(0.3 * rng.standard_normal((1, grid * grid + 1, WIDTH)))))
for _ in range(BLOCKS):
    x = block(x)
x = norm(op("Gather", x, const(0, np.int64), axis=1))
nodes.append(helper.make_node("MatMul", [x, matrix(WIDTH, OUT)], ["image_embeds"], name="projection"))
graph = helper.make_graph(
    nodes,
    "vit",
    [helper.make_tensor_value_info("pixel_values", T.FLOAT, [1, 3, SIDE, SIDE])],
    [helper.make_tensor_value_info("image_embeds", T.FLOAT, [1, OUT])],
    weights,
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
model.ir_version = 8
onnx.checker.check_model(model)
here = Path(__file__).parent
onnx.save(model, here / "vit.onnx")
session = ort.InferenceSession(str(here / "vit.onnx"), providers=["CPUExecutionProvider"])
features = []
for seed in range(3):
    i = np.arange(3 * SIDE * SIDE)
    pixels = (((i * (31 + 2 * seed) + i // 97) % 251) / 125.0 - 1.0).astype(np.float32)
    value = session.run(None, {"pixel_values": pixels.reshape(1, 3, SIDE, SIDE)})[0][0]
    features.append([round(float(v), 6) for v in value])
text = json.dumps({"onnxruntime": ort.__version__, "features": features})
(here / "features.json").write_text(text + "\n")
