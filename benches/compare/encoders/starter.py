"""What peers are given of the starter: the file in the bundle, and the same weights as floats."""

import math

import numpy as np
import onnx
from onnx import numpy_helper


def to_float(source, target):
    """The bundle's file without quantization: weights as the floats that their int8 stand for,
    activations not rounded."""
    model = onnx.load(source)
    graph = model.graph
    values = {c.name: numpy_helper.to_array(c) for c in graph.initializer}
    renamed, kept = {}, []
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        if node.op_type == "QuantizeLinear":
            renamed[node.output[0]] = node.input[0]
        elif node.op_type == "DequantizeLinear" and node.input[0] in values:
            values[node.output[0]] = dequantized(node, values)
        elif node.op_type == "DequantizeLinear":
            renamed[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    used = {name for node in kept for name in node.input}
    fresh = [numpy_helper.from_array(v, name) for name, v in values.items() if name in used]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(kept)
    graph.initializer.extend(fresh)
    onnx.checker.check_model(model)
    onnx.save(model, target)


def dequantized(node, values):
    whole, scale, zero = (values[name] for name in node.input)
    axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
    if scale.ndim:
        shape = [-1 if i == axis else 1 for i in range(whole.ndim)]
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    return ((whole.astype(np.int64) - zero) * scale.astype(np.float64)).astype(np.float32)


def macs(path):
    """Multiply-adds of one picture, in convolutions and products."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    weights = {c.name: list(c.dims) for c in graph.initializer}
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in [*graph.value_info, *graph.output]}
    total = 0
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul") and node.input[1] in weights:
            places = math.prod(shapes[node.output[0]][2:]) if node.op_type == "Conv" else 1
            total += math.prod(weights[node.input[1]]) * places
    return total
