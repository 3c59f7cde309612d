"""A small writer of ONNX graphs: constants, nodes, int8 weights, unit length.

Every graph of the recipe is written through it, with the plain operators of opset 13 only, so
that any runtime can take it.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 13
IR_VERSION = 8


class Graph:
    def __init__(self):
        self.nodes = []
        self.constants = []
        self.count = 0

    def name(self, stem):
        self.count += 1
        return f"{stem}_{self.count}"

    def constant(self, values, stem="w"):
        name = self.name(stem)
        self.constants.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
        return name

    def scalar(self, value):
        return self.constant(np.float32(value), "c")

    def indices(self, *values):
        return self.constant(np.array(values, np.int64), "i")

    def node(self, kind, inputs, output=None, **attributes):
        """Adds one node and returns the name of its output."""
        output = output or self.name(kind.lower())
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def int8_weight(self, weight, axis=1):
        """`weight` held as int8 with one scale per slice of `axis`; returns the float again."""
        quantized, scale = quantize_rows(np.moveaxis(np.asarray(weight), axis, 0))
        inputs = [
            self.constant(np.moveaxis(quantized, 0, axis), "w8"),
            self.constant(scale, "scale"),
            self.constant(np.zeros(len(scale), np.int8), "zero"),
        ]
        return self.node("DequantizeLinear", inputs, axis=axis)

    def int8_rows(self, table, ids):
        """Rows `ids` of a table held as int8 with one scale per row."""
        quantized, scale = quantize_rows(table)
        rows = self.node("Gather", [self.constant(quantized, "table8"), ids], axis=0)
        rows = self.node("Cast", [rows], to=TensorProto.FLOAT)
        scales = self.node("Gather", [self.constant(scale[:, None], "scale"), ids], axis=0)
        return self.node("Mul", [rows, scales])

    def unit(self, x, length=None, output=None):
        """Rows of `x` brought to unit length, then times `length`."""
        squares = self.node("ReduceSum", [self.node("Mul", [x, x]), self.indices(1)], keepdims=1)
        norm = self.node("Sqrt", [squares])
        if length is None:
            return self.node("Div", [x, norm], output)
        return self.node("Mul", [self.node("Div", [x, norm]), self.scalar(length)], output)

    def save(self, path, inputs, outputs, about):
        """`inputs` and `outputs`: (name, element type, shape), shapes with names for free axes."""
        graph = helper.make_graph(
            self.nodes,
            "starter",
            [helper.make_tensor_value_info(*value) for value in inputs],
            [helper.make_tensor_value_info(*value) for value in outputs],
            self.constants,
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            producer_name="edgeclip-recipe",
            doc_string=about,
        )
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model)
        onnx.save(model, path)


def int8_steps(table):
    """For each row the step with which its largest value becomes 127."""
    peak = np.abs(table).max(axis=tuple(range(1, table.ndim)))
    return (np.maximum(peak, 1e-12) / 127).astype(np.float32)


def quantize_rows(table):
    """A table as int8 with one float scale per row: `table ≈ int8 * scale[:, None]`."""
    table = np.asarray(table, np.float32)
    scale = int8_steps(table)
    shaped = scale.reshape((-1,) + (1,) * (table.ndim - 1))
    return np.clip(np.rint(table / shaped), -127, 127).astype(np.int8), scale
