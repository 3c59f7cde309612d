"""LiteRT's files of the models: usage: litert.py FOLDER MODEL...

From FOLDER/MODEL/f32.onnx, step by step through TensorFlow's converter, for batches of 1 and 8:
f32-bN.tflite, dynamic-bN.tflite (int8 weights, activations rounded as they come) and, of the starter,
static-bN.tflite (ranges by calibration).
"""

import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np
import onnx
import tensorflow as tf
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

import pictures

BATCHES = (1, 8)
CALIBRATION_SEED = 100


def conv(x, attributes, weight, bias=None):
    """x is [n, h, w, c]; depthwise and plain convolutions."""
    kernel, strides, pads = (attributes[k] for k in ("kernel_shape", "strides", "pads"))
    wanted = [max((-(-size // s) - 1) * s + k - size, 0) for size, k, s in zip(x.shape[1:3], kernel, strides)]
    same = pads == [w // 2 for w in wanted] + [w - w // 2 for w in wanted]
    if not same and any(pads):
        x = tf.pad(x, [[0, 0], [pads[0], pads[2]], [pads[1], pads[3]], [0, 0]])
    padding = "SAME" if same else "VALID"
    if attributes["group"] == 1:
        y = tf.nn.conv2d(x, weight.transpose(2, 3, 1, 0), strides, padding)
    else:
        y = tf.nn.depthwise_conv2d(x, weight.transpose(2, 3, 0, 1), [1, *strides, 1], padding)
    return y if bias is None else y + bias


def layer_norm(x, attributes, weight, bias):
    centred = x - tf.reduce_mean(x, -1, keepdims=True)
    spread = tf.reduce_mean(centred * centred, -1, keepdims=True)
    return centred * tf.math.rsqrt(spread + attributes["epsilon"]) * weight + bias


def clip(x, _, low, high):
    assert (low, high) == (0, 6), "only ReLU6 is known"
    return tf.nn.relu6(x)


def gemm(x, attributes, weight, bias):
    return tf.matmul(x, weight.T if attributes["transB"] else weight) + bias


# By operator: TensorFlow's way, from the inputs and the attributes.
STEPS = {
    "Add": lambda x, _, y: x + y,
    "Mul": lambda x, _, y: x * y,
    "Div": lambda x, _, y: x / y,
    "Sqrt": lambda x, _: tf.sqrt(x),
    "Sigmoid": lambda x, _: tf.sigmoid(x),
    "Softmax": lambda x, a: tf.nn.softmax(x, a["axis"]),
    "MatMul": lambda x, _, y: tf.matmul(x, y),
    "Gemm": gemm,
    "Clip": clip,
    "Conv": conv,
    "LayerNormalization": layer_norm,
    "GlobalAveragePool": lambda x, _: tf.reduce_mean(x, [1, 2]),
    "Flatten": lambda x, _: x,  # after the pooling, which has dropped the axes
    "ReduceSum": lambda x, a, axes: tf.reduce_sum(x, axes, keepdims=bool(a["keepdims"])),
    "Transpose": lambda x, a: tf.transpose(x, a["perm"]),
    "Gather": lambda x, a, at: tf.gather(x, at, axis=a["axis"]),
    "Expand": lambda x, _, shape: tf.broadcast_to(x, shape),
}


# What leaves a picture a picture, with its channels last.
KEEPS_PLACES = ("Conv", "Clip", "Add")


def step(node, inputs, picture):
    """`picture`: the first input has its channels last, where the file has them second."""
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    x = inputs[0]
    if node.op_type == "Shape":
        return np.array([x.shape[i] for i in (0, 3, 1, 2)] if picture else list(x.shape), np.int64)
    if not any(tf.is_tensor(value) for value in inputs):
        return ReferenceEvaluator(node).run(None, dict(zip(node.input, inputs)))[0]
    if node.op_type == "Concat":
        return tf.concat(inputs, attributes["axis"])
    if node.op_type == "Reshape":
        return tf.reshape(tf.transpose(x, [0, 3, 1, 2]) if picture else x, inputs[1])
    return STEPS[node.op_type](x, attributes, *inputs[1:])


def function(path, batch):
    graph = onnx.load(path).graph
    constants = {c.name: numpy_helper.to_array(c) for c in graph.initializer}

    @tf.function(input_signature=[tf.TensorSpec([batch, pictures.SIDE, pictures.SIDE, 3], tf.float32, "pixel_values")])
    def run(pixel_values):
        values, last = {**constants, "pixel_values": pixel_values}, {"pixel_values"}
        for node in graph.node:
            picture = node.input[0] in last if node.input else False
            values[node.output[0]] = step(node, [values[name] for name in node.input], picture)
            if picture and node.op_type in KEEPS_PLACES:
                last.add(node.output[0])
        return values[graph.output[0].name]

    return run.get_concrete_function()


def convert(folder, form, batch):
    run = function(folder / "f32.onnx", batch)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([run], tf.Module())
    if form != "f32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if form == "static":
        rgb = pictures.pictures(8, CALIBRATION_SEED, pictures.SIDES[folder.name])
        inputs = pictures.tensors(folder.name, rgb).transpose(0, 2, 3, 1)
        converter.representative_dataset = lambda: ([np.resize(x, (batch, *x.shape))] for x in inputs)
    (folder / f"{form}-b{batch}.tflite").write_bytes(converter.convert())


def main():
    for name in sys.argv[2:]:
        folder = Path(sys.argv[1]) / name
        forms = ["f32", "dynamic", "static"] if name == "starter" else ["f32", "dynamic"]
        for form, batch in ((form, batch) for form in forms for batch in BATCHES):
            if not (folder / f"{form}-b{batch}.tflite").exists():
                print(f"converting {name} for LiteRT: {form}, batch {batch}", file=sys.stderr)
                convert(folder, form, batch)


if __name__ == "__main__":
    main()
