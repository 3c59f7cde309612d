"""EfficientNet-Lite0 as an ONNX graph, with the starter's image projection on top.

Batch normalisation is folded into the convolutions. Padding is TensorFlow's "same", for which the
weights were trained: where it is uneven, the odd row and column come last.
"""

import math

import numpy as np
from onnx import TensorProto

from graph import Graph

IMAGE_SIDE = 224
FEATURE_WIDTH = 1280
BATCH_NORM_EPSILON = 1e-3
# repeats, kernel, stride, expansion, channels in, channels out
STAGES = [
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
]


def same_padding(side, kernel, stride):
    """[top, left, bottom, right] and the side that comes out."""
    out = math.ceil(side / stride)
    total = max((out - 1) * stride + kernel - side, 0)
    first = total // 2
    return [first, first, total - first, total - first], out


class Backbone:
    """Adds EfficientNet-Lite0 to a graph, layer by layer."""

    def __init__(self, graph, tensors):
        self.graph = graph
        self.tensors = tensors
        self.low, self.high = graph.scalar(0), graph.scalar(6)
        self.side = IMAGE_SIDE

    def folded(self, convolution, norm):
        """Weight and bias of a convolution with the batch normalisation after it folded in."""
        t = self.tensors
        variance = t[norm + ".running_var"].astype(np.float64)
        gain = t[norm + ".weight"] / np.sqrt(variance + BATCH_NORM_EPSILON)
        bias = t[norm + ".bias"] - t[norm + ".running_mean"] * gain
        weight = t[convolution + ".weight"].astype(np.float64) * gain[:, None, None, None]
        return weight.astype(np.float32), bias.astype(np.float32)

    def convolve(self, x, convolution, norm, stride=1, groups=1, relu6=True):
        weight, bias = self.folded(convolution, norm)
        kernel = weight.shape[2]
        pads, self.side = same_padding(self.side, kernel, stride)
        graph = self.graph
        inputs = [x, graph.constant(weight), graph.constant(bias, "b")]
        x = graph.node(
            "Conv", inputs, kernel_shape=[kernel, kernel], strides=[stride, stride],
            pads=pads, group=groups, dilations=[1, 1],
        )
        return graph.node("Clip", [x, self.low, self.high]) if relu6 else x

    def block(self, x, prefix, stride, expansion, channels_in, channels_out):
        """Inverted bottleneck: widen, filter each channel, narrow; a skip where shapes agree."""
        middle, skip = channels_in * expansion, x
        if expansion != 1:
            x = self.convolve(x, prefix + "_expand_conv", prefix + "_bn0")
        x = self.convolve(x, prefix + "_depthwise_conv", prefix + "_bn1", stride, groups=middle)
        x = self.convolve(x, prefix + "_project_conv", prefix + "_bn2", relu6=False)
        if stride == 1 and channels_in == channels_out:
            x = self.graph.node("Add", [x, skip])
        return x

    def features(self, x):
        """[batch, 3, 224, 224] to [batch, 1280]."""
        x = self.convolve(x, "_conv_stem", "_bn0", stride=2)
        index = 0
        for repeats, _, stride, expansion, channels_in, channels_out in STAGES:
            for turn in range(repeats):
                first = turn == 0
                x = self.block(
                    x, f"_blocks.{index}.", stride if first else 1, expansion,
                    channels_in if first else channels_out, channels_out,
                )
                index += 1
        x = self.convolve(x, "_conv_head", "_bn1")
        x = self.graph.node("GlobalAveragePool", [x])
        return self.graph.node("Flatten", [x], axis=1)


def write_image_encoder(tensors, space, path):
    """pixel_values [batch, 3, 224, 224] to image_embeds [batch, 512], unit length.

    The head is `space.image_feature`, written as a graph.
    """
    graph = Graph()
    feature = Backbone(graph, tensors).features("pixel_values")
    warmth = np.float32(space.image_temperature)
    weight = graph.constant(tensors["_fc.weight"] / warmth, "classifier")
    bias = graph.constant(tensors["_fc.bias"] / warmth, "b")
    logits = graph.node("Gemm", [feature, weight, bias], transB=1)
    chances = graph.node("Softmax", [logits], axis=1)
    named = graph.node("MatMul", [chances, graph.constant(space.class_names_low)])
    looks = graph.node("MatMul", [feature, graph.constant(space.looks)])
    parts = [graph.unit(named, space.named_share), graph.unit(looks, space.looks_share)]
    graph.node("Concat", parts, "image_embeds", axis=1)
    graph.save(
        path,
        [("pixel_values", TensorProto.FLOAT, ["batch", 3, IMAGE_SIDE, IMAGE_SIDE])],
        [("image_embeds", TensorProto.FLOAT, ["batch", space.dim])],
        "edgeclip starter image encoder (EfficientNet-Lite0 in a sentence space); not CLIP",
    )
