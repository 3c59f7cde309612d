"""A thin builder of ONNX graphs that writes each operator as the chosen opset and the exporters of its day do."""
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper, numpy_helper


@dataclass(frozen=True)
class Style:
    """How an exporter writes. Each opset stands for one way of its time, so that many ways are seen."""

    opset: int
    attention: str = "sdpa"  # bmm: heads in the batch; sdpa; mha: tokens first, q k v in one; fused: q k v by Split
    constants: str = "node"  # node: Constant nodes (tracing exporters); initializer
    batch: int = 0  # a fixed batch; 0 is symbolic
    listed: bool = False  # initializers stand among the inputs too, as in old files
    dropout: bool = False  # Dropout nodes are left in
    scale: str = "folded"  # computed: the attention scale is taken from a Shape
    causal: str = "range"  # range: Range, Less, Where; trilu
    nan_guard: bool = False  # after Softmax: Where(IsNaN, 0, p)
    pick: str = "flat"  # the end token by Gather on rows made by Flatten, on rows made by reshape, or by gathernd
    norm: str = "ReduceL2"  # or pow: Pow, ReduceSum, Pow

    @staticmethod
    def of(opset, **over):
        return replace(STYLES[opset], **over)


STYLES = {
    11: Style(11, "bmm", listed=True, dropout=True),
    12: Style(12, "bmm"),
    13: Style(13, "bmm", dropout=True),
    14: Style(14, "sdpa", causal="trilu"),
    15: Style(15, "mha"),
    16: Style(16, "sdpa", scale="computed", causal="trilu"),
    17: Style(17, "sdpa", pick="reshape", norm="pow"),
    18: Style(18, "fused", "initializer", pick="gathernd", norm="pow"),
    19: Style(19, "sdpa", "initializer", pick="gathernd"),
    20: Style(20, "fused", "initializer", pick="gathernd", causal="trilu"),
    21: Style(21, "sdpa", "initializer", pick="gathernd", nan_guard=True, norm="pow"),
}


class Graph:
    def __init__(self, style, weights):
        self.style, self.w = style, weights
        self.nodes, self.inits, self.inputs, self.outputs = [], [], [], []
        self.seen, self.names, self.path = {}, {}, []

    # names

    @contextmanager
    def scope(self, name):
        self.path.append(name)
        yield
        self.path.pop()

    def _unique(self, kind):
        name = "/" + "/".join([*self.path, kind])
        n = self.names[name] = self.names.get(name, -1) + 1
        return f"{name}_{n}" if n else name

    # constants

    def const(self, value, dtype=np.float32):
        """A small constant: a node or an initializer, as the style says."""
        a = np.asarray(value, dtype)
        if self.style.constants == "node":
            return self.op("Constant", value=numpy_helper.from_array(a))
        key = (a.dtype.str, a.shape, a.tobytes())
        if key not in self.seen:
            self.seen[key] = f"val_{len(self.inits)}"
            self.inits.append(numpy_helper.from_array(a, self.seen[key]))
        return self.seen[key]

    def ints(self, *v):
        return self.const(list(v), np.int64)

    def weight(self, name, turned=False):
        """A weight by its name; turned ones get a number for a name, as exporters fold the transposition."""
        key = (name, turned)
        if key not in self.seen:
            a = self.w[name]
            self.seen[key] = f"onnx::MatMul_{len(self.inits) + 1000}" if turned else name
            self.inits.append(numpy_helper.from_array(np.ascontiguousarray(a.T if turned else a), self.seen[key]))
        return self.seen[key]

    # nodes

    def op(self, kind, *inputs, outputs=1, domain=None, **attrs):
        name = self._unique(kind)
        outs = [f"{name}_output_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), outs, name=name, domain=domain, **attrs))
        return outs[0] if outputs == 1 else outs

    def unsqueeze(self, x, *axes):
        if self.style.opset < 13:
            return self.op("Unsqueeze", x, axes=list(axes))
        return self.op("Unsqueeze", x, self.ints(*axes))

    def squeeze(self, x, *axes):
        if self.style.opset < 13:
            return self.op("Squeeze", x, axes=list(axes))
        return self.op("Squeeze", x, self.ints(*axes))

    def reduce(self, kind, x, *axes, keepdims=1):
        since = 13 if kind == "ReduceSum" else 18  # from then on the axes are an input
        if self.style.opset < since:
            return self.op(kind, x, axes=list(axes), keepdims=keepdims)
        return self.op(kind, x, self.ints(*axes), keepdims=keepdims)

    def split(self, x, parts, axis, size):
        if self.style.opset < 13:
            return self.op("Split", x, outputs=parts, axis=axis, split=[size] * parts)
        if self.style.opset < 18:
            return self.op("Split", x, self.ints(*[size] * parts), outputs=parts, axis=axis)
        return self.op("Split", x, outputs=parts, axis=axis, num_outputs=parts)

    def softmax(self, x, rank):
        # before opset 13 Softmax looked at all axes from `axis` on, so only the last one is safe there
        return self.op("Softmax", x, axis=rank - 1 if self.style.opset < 13 else -1)

    def dropout(self, x):
        return self.op("Dropout", x) if self.style.dropout else x

    def length(self, x, axis):
        s = self.op("Shape", x)
        return self.op("Gather", s, self.const(axis, np.int64), axis=0)

    def shape(self, *dims):
        """A shape of numbers and of scalars of the graph, for Reshape and Expand."""
        if all(isinstance(d, int) for d in dims):
            return self.ints(*dims)
        parts = [self.ints(d) if isinstance(d, int) else self.unsqueeze(d, 0) for d in dims]
        return self.op("Concat", *parts, axis=0)

    def reshape(self, x, *dims):
        return self.op("Reshape", x, self.shape(*dims))

    def times(self, a, b):
        """The product of two lengths, each a number or a scalar of the graph."""
        if isinstance(a, int) and isinstance(b, int):
            return a * b
        return self.op("Mul", *(self.const(v, np.int64) if isinstance(v, int) else v for v in (a, b)))

    # layers

    def linear(self, x, name, bias=True):
        y = self.op("MatMul", x, self.weight(f"{name}.weight", turned=True))
        return self.op("Add", self.weight(f"{name}.bias"), y) if bias else y

    def project(self, x, name):
        """[n, width] by a weight [dim, width]."""
        if self.style.opset >= 18:
            return self.op("Gemm", x, self.weight(name), transB=1)
        return self.op("MatMul", x, self.weight(name, turned=True))

    def layer_norm(self, x, name, eps):
        w, b = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        if self.style.opset >= 17:
            return self.op("LayerNormalization", x, w, b, axis=-1, epsilon=eps)
        c = self.op("Sub", x, self.reduce("ReduceMean", x, -1))
        v = self.reduce("ReduceMean", self.op("Pow", c, self.const(2.0)), -1)
        s = self.op("Sqrt", self.op("Add", v, self.const(eps)))
        return self.op("Add", self.op("Mul", self.op("Div", c, s), w), b)

    def act(self, x, kind):
        if kind == "quick_gelu":
            s = self.op("Sigmoid", self.op("Mul", x, self.const(1.702)))
            return self.op("Mul", x, s)
        if self.style.opset >= 20:
            return self.op("Gelu", x, approximate="tanh" if kind == "gelu_pytorch_tanh" else "none")
        if kind == "gelu":
            e = self.op("Erf", self.op("Div", x, self.const(np.sqrt(2.0))))
            y = self.op("Mul", x, self.op("Add", e, self.const(1.0)))
            return self.op("Mul", y, self.const(0.5))
        half = self.op("Mul", x, self.const(0.5))
        inner = self.op("Add", x, self.op("Mul", self.op("Pow", x, self.const(3.0)), self.const(0.044715)))
        t = self.op("Tanh", self.op("Mul", inner, self.const(np.sqrt(2.0 / np.pi))))
        return self.op("Mul", half, self.op("Add", t, self.const(1.0)))

    def unit(self, x):
        """Rows at unit length."""
        if self.style.norm == "ReduceL2":
            return self.op("Div", x, self.reduce("ReduceL2", x, -1))
        s = self.reduce("ReduceSum", self.op("Pow", x, self.const(2.0)), -1)
        return self.op("Div", x, self.op("Pow", s, self.const(0.5)))

    # the whole

    def input(self, name, dtype, *dims):
        self.inputs.append(helper.make_tensor_value_info(name, dtype, list(dims)))
        return name

    def output(self, name, value, *dims, dtype=T.FLOAT):
        """Gives `value` its name at the end; what else reads it reads it by that name."""
        for n in self.nodes:
            n.input[:] = [name if i == value else i for i in n.input]
            n.output[:] = [name if o == value else o for o in n.output]
        self.outputs = [(n, name if v == value else v, *rest) for n, v, *rest in self.outputs]
        self.outputs.append((name, name, dtype, dims))
        return name

    def model(self, name, extra_domains=()):
        outs = [helper.make_tensor_value_info(n, dtype, list(dims)) for n, _, dtype, dims in self.outputs]
        listed = [helper.make_tensor_value_info(i.name, i.data_type, list(i.dims)) for i in self.inits]
        inputs = self.inputs + (listed if self.style.listed else [])
        g = helper.make_graph(self.nodes, name, inputs, outs, self.inits)
        opsets = [helper.make_opsetid("", self.style.opset), *(helper.make_opsetid(d, 1) for d in extra_domains)]
        m = helper.make_model(g, opset_imports=opsets, producer_name="edgeclip-tests")
        m.ir_version = helper.find_min_ir_version_for(opsets, ignore_unknown=True)
        if not extra_domains:
            onnx.checker.check_model(m)
        return m
