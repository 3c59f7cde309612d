"""Image encoders of CLIP's architecture, as exporters write them, with seeded weights.

Shapes, order of operators and free axes are those of an export of CLIPVisionModelWithProjection
(pixel_values -> image_embeds, opset 17). The weights mean nothing: for speed and numerics only.
"""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 224
OPSET = 17


@dataclass
class Vit:
    layers: int
    width: int
    heads: int
    patch: int
    embed: int = 512

    @property
    def tokens(self):
        return (SIDE // self.patch) ** 2 + 1

    def macs(self):
        """Multiply-adds of one picture; the last layer counts for every token, as the file says."""
        d, t = self.width, self.tokens
        layer = 12 * d * d * t + 2 * t * t * d
        return self.layers * layer + 3 * self.patch**2 * d * (t - 1) + d * self.embed


VITS = {
    "vitb32": Vit(layers=12, width=768, heads=12, patch=32),  # openai/clip-vit-base-patch32
    "tinyclip8m": Vit(layers=10, width=256, heads=4, patch=16),  # wkcn/TinyCLIP-ViT-8M-16-Text-3M-YFCC15M
}


class Graph:
    """op() adds a node, const() a constant (equal ones once)."""

    def __init__(self):
        self.nodes, self.constants, self.names = [], [], {}

    def const(self, value, name=None, dtype=np.float32):
        array = np.asarray(value, dtype)
        key = name or (array.dtype.str, array.shape, array.tobytes())
        if key not in self.names:
            self.names[key] = name or f"const_{len(self.constants)}"
            self.constants.append(numpy_helper.from_array(array, self.names[key]))
        return self.names[key]

    def ints(self, *values):
        return self.const(values, dtype=np.int64)

    def op(self, kind, *inputs, name, **attributes):
        output = f"{name}_output_0"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=name, **attributes))
        return output

    def length(self, x, axis, name):
        """One axis of x, as a vector of one number."""
        shape = self.op("Shape", x, name=f"{name}/Shape")
        one = self.op("Gather", shape, self.const(axis, dtype=np.int64), axis=0, name=f"{name}/Gather")
        return self.op("Unsqueeze", one, self.ints(0), name=f"{name}/Unsqueeze")

    def save(self, embed, path):
        image = ["batch_size", "num_channels", "height", "width"]
        graph = helper.make_graph(
            self.nodes, "clip_vision",
            [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, image)],
            [helper.make_tensor_value_info("image_embeds", TensorProto.FLOAT, ["batch_size", embed])],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="edgeclip-compare")
        model.ir_version = 8
        onnx.checker.check_model(model)
        onnx.save(model, path)


class Writer:
    def __init__(self, vit, seed=1):
        self.vit, self.rng, self.g = vit, np.random.default_rng(seed), Graph()

    def matrix(self, name, shape, spread):
        return self.g.const(self.rng.standard_normal(shape) * spread, name)

    def norm(self, x, name, gain):
        # Trained gains vary by channel, a few are large: this is what makes int8 hard.
        d = self.vit.width
        gains = gain * np.exp(0.3 * self.rng.standard_normal(d))
        gains[self.rng.choice(d, max(2, d // 256), replace=False)] *= 4.0
        weight, bias = self.g.const(gains, f"{name}.weight"), self.matrix(f"{name}.bias", d, 0.1)
        return self.g.op("LayerNormalization", x, weight, bias, axis=-1, epsilon=1e-5, name=f"/{name}/LayerNormalization")

    def linear(self, x, name, given, wanted, spread):
        weight = self.matrix(f"{name}.weight", (given, wanted), spread)
        product = self.g.op("MatMul", x, weight, name=f"/{name}/MatMul")
        return self.g.op("Add", self.matrix(f"{name}.bias", wanted, 0.05), product, name=f"/{name}/Add")

    def embeddings(self):
        g, d, patch = self.g, self.vit.width, self.vit.patch
        weight = self.matrix("embeddings.patch_embedding.weight", (d, 3, patch, patch), 1 / np.sqrt(3 * patch * patch))
        x = g.op("Conv", "pixel_values", weight, kernel_shape=[patch] * 2, strides=[patch] * 2, pads=[0] * 4,
                 dilations=[1, 1], group=1, name="/embeddings/patch_embedding/Conv")
        shape = g.op("Shape", x, name="/embeddings/Shape_1")
        shape = g.op("Slice", shape, g.ints(0), g.ints(2), g.ints(0), name="/embeddings/Slice")
        shape = g.op("Concat", shape, g.ints(-1), axis=0, name="/embeddings/Concat")
        x = g.op("Reshape", x, shape, name="/embeddings/Reshape")
        x = g.op("Transpose", x, perm=[0, 2, 1], name="/embeddings/Transpose")
        x = g.op("Concat", self.class_token(), x, axis=1, name="/embeddings/Concat_2")
        places = self.matrix("embeddings.position_embedding", (1, self.vit.tokens, d), 0.3)
        return g.op("Add", x, places, name="/embeddings/Add")

    def class_token(self):
        """The class token, expanded to the batch the way torch exports it."""
        g = self.g
        batch = g.length("pixel_values", 0, "/embeddings")
        shape = g.op("Concat", batch, g.ints(1), g.ints(-1), axis=0, name="/embeddings/Concat_1")
        one = helper.make_tensor("value", TensorProto.INT64, [1], [1])
        ones = g.op("ConstantOfShape", g.ints(3), value=one, name="/embeddings/ConstantOfShape")
        minus = g.op("Mul", ones, g.ints(-1), name="/embeddings/Mul")
        kept = g.op("Equal", shape, minus, name="/embeddings/Equal")
        shape = g.op("Where", kept, ones, shape, name="/embeddings/Where")
        token = self.matrix("embeddings.class_embedding", (1, 1, self.vit.width), 0.3)
        return g.op("Expand", token, shape, name="/embeddings/Expand")

    def attention(self, x, name):
        g, d, heads = self.g, self.vit.width, self.vit.heads
        dim = d // heads
        batch, tokens = (g.length(x, axis, f"/{name}/{axis}") for axis in (0, 1))
        split = g.op("Concat", batch, g.ints(-1), g.ints(heads), g.ints(dim), axis=0, name=f"/{name}/Concat")
        joined = g.op("Concat", batch, tokens, g.ints(d), axis=0, name=f"/{name}/Concat_1")
        parts = []
        for part, gain in (("q", 1.3), ("k", 1.3), ("v", 1.0)):
            y = self.linear(x, f"{name}.{part}_proj", d, d, gain / np.sqrt(d))
            y = g.op("Reshape", y, split, name=f"/{name}/Reshape_{part}")
            turned = [0, 2, 3, 1] if part == "k" else [0, 2, 1, 3]
            y = g.op("Transpose", y, perm=turned, name=f"/{name}/Transpose_{part}")
            if part != "v":  # torch scales both sides by the fourth root
                y = g.op("Mul", y, g.const(dim**-0.25), name=f"/{name}/Mul_{part}")
            parts.append(y)
        a = g.op("MatMul", parts[0], parts[1], name=f"/{name}/MatMul")
        a = g.op("Softmax", a, axis=-1, name=f"/{name}/Softmax")
        a = g.op("MatMul", a, parts[2], name=f"/{name}/MatMul_1")
        a = g.op("Transpose", a, perm=[0, 2, 1, 3], name=f"/{name}/Transpose_o")
        a = g.op("Reshape", a, joined, name=f"/{name}/Reshape_o")
        return self.linear(a, f"{name}.out_proj", d, d, 0.9 / np.sqrt(d))

    def mlp(self, x, name):
        g, d = self.g, self.vit.width
        x = self.linear(x, f"{name}.fc1", d, 4 * d, 1 / np.sqrt(d))
        gate = g.op("Mul", x, g.const(1.702), name=f"/{name}/activation_fn/Mul")
        gate = g.op("Sigmoid", gate, name=f"/{name}/activation_fn/Sigmoid")
        x = g.op("Mul", x, gate, name=f"/{name}/activation_fn/Mul_1")
        return self.linear(x, f"{name}.fc2", 4 * d, d, 0.5 / np.sqrt(d))

    def write(self, path):
        g, vit = self.g, self.vit
        x = self.norm(self.embeddings(), "pre_layrnorm", 0.5)
        for i in range(vit.layers):
            layer = f"encoder.layers.{i}"
            y = self.attention(self.norm(x, f"{layer}.layer_norm1", 1.0), f"{layer}.self_attn")
            x = g.op("Add", x, y, name=f"/{layer}/Add")
            y = self.mlp(self.norm(x, f"{layer}.layer_norm2", 1.0), f"{layer}.mlp")
            x = g.op("Add", x, y, name=f"/{layer}/Add_1")
        x = g.op("Gather", x, g.const(0, dtype=np.int64), axis=1, name="/Gather")
        x = self.norm(x, "post_layernorm", 1.0)
        weight = self.matrix("visual_projection.weight", (vit.width, vit.embed), 1 / np.sqrt(vit.width))
        g.nodes.append(helper.make_node("MatMul", [x, weight], ["image_embeds"], name="/visual_projection/MatMul"))
        g.save(vit.embed, path)


def write(name, path):
    """The f32 file of one of VITS."""
    Writer(VITS[name]).write(path)
