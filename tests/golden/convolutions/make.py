#!/usr/bin/env python3
"""Makes convolutions.onnx, a small network of convolutions with seeded weights, quantized as ONNX Runtime does it
(QuantizeLinear and DequantizeLinear around every activation), and features.json: what ONNX Runtime, unoptimised,
says of three made-up pictures, which the test makes again.

  python make.py            (needs numpy, onnx, onnxruntime)

48 × 40 pixels; windows of 1, 3 and 5 with strides 1 and 2, channels alone and together, sums, grids with and without
sign; the starter's head: a mean, softmax, unit lengths, 48 values out.
"""
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto as T
from onnx import helper, numpy_helper

HEIGHT, WIDTH = 48, 40
rng = np.random.default_rng(13)
nodes, weights = [], []


def const(value, dtype=np.float32):
    name = f"w{len(weights)}"
    weights.append(numpy_helper.from_array(np.asarray(value, dtype), name))
    return name


def op(kind, *inputs, **attributes):
    out = f"t{len(nodes)}"
    nodes.append(helper.make_node(kind, list(inputs), [out], name=f"{kind}_{len(nodes)}", **attributes))
    return out


def grid(x, scale, zero, signed=False):
    kind = np.int8 if signed else np.uint8
    scale, zero = const(scale), const(zero, kind)
    return op("DequantizeLinear", op("QuantizeLinear", x, scale, zero), scale, zero)


def whole(values, axis):
    """int8 weights with a scale for each channel of `axis`."""
    others = tuple(i for i in range(values.ndim) if i != axis)
    scale = np.abs(values).max(axis=others) / 127
    shape = [-1 if i == axis else 1 for i in range(values.ndim)]
    q = np.round(values / scale.reshape(shape))
    return op("DequantizeLinear", const(q, np.int8), const(scale), const(np.zeros(len(scale)), np.int8), axis=axis)


def conv(x, columns, channels, side, stride=1, pads=None, group=1):
    inputs = channels // group
    values = rng.standard_normal((columns, inputs, side, side)) * 1.6 / np.sqrt(inputs * side * side)
    pads = pads or [side // 2] * 4
    bias = const(0.3 * rng.standard_normal(columns))
    return op("Conv", x, whole(values, 0), bias, kernel_shape=[side, side], strides=[stride, stride], pads=pads, group=group)


def relu6(x):
    return grid(op("Clip", x, const(0.0), const(6.0)), 6 / 255, 0)


def unit(x, scale):
    length = op("Sqrt", op("ReduceSum", op("Mul", x, x), const([1], np.int64), keepdims=1))
    return op("Mul", op("Div", x, length), const(scale))


x = grid("pixel_values", 1 / 128, 128)
x = relu6(conv(x, 20, 3, 3, 2, [0, 0, 1, 1]))
x = relu6(conv(x, 20, 20, 3, group=20))
x = grid(conv(x, 24, 20, 1), 0.05, 121)
y = relu6(conv(x, 40, 24, 1))
y = relu6(conv(y, 40, 40, 5, 2, [1, 1, 2, 2], group=40))
x = grid(conv(y, 24, 40, 1), 0.04, 5, signed=True)
y = grid(op("Relu", conv(x, 40, 24, 1)), 0.02, 0)
y = relu6(conv(y, 40, 40, 5, group=40))
y = grid(conv(y, 24, 40, 1), 0.04, 117)
x = grid(op("Add", y, x), 0.06, -3, signed=True)
x = relu6(conv(x, 32, 24, 3, 2))
x = relu6(conv(x, 36, 32, 1, 2, [0, 0, 0, 0]))
x = op("Flatten", op("GlobalAveragePool", x), axis=1)
a = op("Gemm", x, whole(rng.standard_normal((50, 36)), 0), const(rng.standard_normal(50)), transB=1)
a = op("MatMul", op("Softmax", a, axis=1), whole(rng.standard_normal((50, 32)), 1))
b = op("MatMul", x, whole(rng.standard_normal((36, 16)), 1))
nodes.append(helper.make_node("Concat", [unit(a, 0.3), unit(b, 0.95)], ["image_embeds"], axis=1))

graph = helper.make_graph(
    nodes, "convolutions",
    [helper.make_tensor_value_info("pixel_values", T.FLOAT, ["batch", 3, HEIGHT, WIDTH])],
    [helper.make_tensor_value_info("image_embeds", T.FLOAT, ["batch", 48])],
    weights,
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
onnx.checker.check_model(model)
here = Path(__file__).parent
onnx.save(model, here / "convolutions.onnx")

options = ort.SessionOptions()
options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
session = ort.InferenceSession(model.SerializeToString(), options)
features = []
for seed in range(3):
    c, y, x = np.mgrid[:3, :HEIGHT, :WIDTH]
    steps = x // 4 * (3 + seed) + y // 3 * (5 + 2 * seed) + (11 + 5 * seed) * c
    pixels = (steps % 29 / np.float32(14) - 1).astype(np.float32)[None]
    features.append([round(float(v), 6) for v in session.run(None, {"pixel_values": pixels})[0][0]])
(here / "features.json").write_text(json.dumps({"features": features}) + "\n")
f = np.array(features)
print("cosines of the pictures to each other", np.round((f @ f.T / np.outer(*[np.linalg.norm(f, axis=1)] * 2))[np.triu_indices(3, 1)], 4))
