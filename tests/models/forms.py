"""The forms that one model is published in: other number types, integers, names, layouts, files beside."""
import contextlib
import io
import logging
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper, numpy_helper

HALF_MAX = 65504.0


def copy(m):
    out = onnx.ModelProto()
    out.CopyFrom(m)
    return out


def rename(m, old, new):
    """A value under another name, at the ends too."""
    m = copy(m)
    for n in m.graph.node:
        n.input[:] = [new if i == old else i for i in n.input]
        n.output[:] = [new if o == old else o for o in n.output]
    for v in [*m.graph.input, *m.graph.output]:
        if v.name == old:
            v.name = new
    return m


def nhwc(m, name="pixel_values", told=True):
    """The picture with its channels last, told by their number or not; a Transpose inside brings them forward."""
    m = rename(m, name, f"{name}_nchw")
    (v,) = (i for i in m.graph.input if i.name == f"{name}_nchw")
    v.name = name
    dims = [copy_dim(d) for d in v.type.tensor_type.shape.dim]
    del v.type.tensor_type.shape.dim[:]
    v.type.tensor_type.shape.dim.extend(dims[i] for i in (0, 2, 3, 1))
    if told:
        v.type.tensor_type.shape.dim[3].Clear()
        v.type.tensor_type.shape.dim[3].dim_value = 3
    m.graph.node.insert(0, helper.make_node("Transpose", [name], [f"{name}_nchw"], name="/to_nchw", perm=[0, 3, 1, 2]))
    return m


def copy_dim(d):
    out = onnx.TensorShapeProto.Dimension()
    out.CopyFrom(d)
    return out


def _half(t):
    a = np.clip(numpy_helper.to_array(t), -HALF_MAX, HALF_MAX).astype(np.float16)
    t.CopyFrom(numpy_helper.from_array(a, t.name))


def _floats(m):
    """Every float tensor that stands in the model: weights, Constant nodes, values of ConstantOfShape."""
    for t in m.graph.initializer:
        if t.data_type == T.FLOAT:
            yield t
    for n in m.graph.node:
        for a in n.attribute:
            if a.type == onnx.AttributeProto.TENSOR and a.t.data_type == T.FLOAT:
                yield a.t


def fp16(m, ends="f32", keep=()):
    """All floats as f16. `ends`: f32 puts Casts at inputs and outputs, f16 leaves both as f16.

    `keep` names operators that stay in f32 between Casts, as converters do for what f16 serves badly.
    """
    m = copy(m)
    g = m.graph
    wide = {i for n in g.node if n.op_type in keep for i in n.input} & {t.name for t in g.initializer}
    for t in list(_floats(m)):
        if t.name not in wide or not t.name:
            _half(t)
    for n in g.node:
        for a in n.attribute:
            if n.op_type == "Cast" and a.name == "to" and a.i == T.FLOAT:
                a.i = T.FLOAT16
    for v in [*g.input, *g.output]:
        if v.type.tensor_type.elem_type == T.FLOAT and v.name not in {t.name for t in g.initializer}:
            v.type.tensor_type.elem_type = T.FLOAT16
    for v in g.input:  # initializers that are listed as inputs
        if v.name in {t.name for t in g.initializer if t.data_type == T.FLOAT16}:
            v.type.tensor_type.elem_type = T.FLOAT16
    nodes = []
    for n in g.node:
        if n.op_type not in keep:
            nodes.append(n)
            continue
        x, y = n.input[0], n.output[0]
        nodes.append(helper.make_node("Cast", [x], [f"{y}/f32_in"], name=f"{n.name}/cast_in", to=T.FLOAT))
        n.input[0], n.output[0] = f"{y}/f32_in", f"{y}/f32_out"
        nodes += [n, helper.make_node("Cast", [f"{y}/f32_out"], [y], name=f"{n.name}/cast_out", to=T.FLOAT16)]
    nodes = [copy_node(n) for n in nodes]
    del g.node[:]
    g.node.extend(nodes)
    if ends == "f32":
        for v in g.input:
            if v.type.tensor_type.elem_type == T.FLOAT16 and v.name not in {t.name for t in g.initializer}:
                for n in g.node:
                    n.input[:] = [f"{v.name}/f16" if i == v.name else i for i in n.input]
                v.type.tensor_type.elem_type = T.FLOAT
                g.node.insert(0, helper.make_node("Cast", [v.name], [f"{v.name}/f16"], name=f"/cast/{v.name}", to=T.FLOAT16))
        for v in g.output:
            if v.type.tensor_type.elem_type == T.FLOAT16:
                for n in g.node:
                    n.input[:] = [f"{v.name}/f16" if i == v.name else i for i in n.input]
                    n.output[:] = [f"{v.name}/f16" if o == v.name else o for o in n.output]
                v.type.tensor_type.elem_type = T.FLOAT
                g.node.append(helper.make_node("Cast", [f"{v.name}/f16"], [v.name], name=f"/cast/{v.name}", to=T.FLOAT))
    onnx.checker.check_model(m)
    return m


def copy_node(n):
    out = onnx.NodeProto()
    out.CopyFrom(n)
    return out


def weights_only(m, kind="f16"):
    """Weights in f16 or bf16, each with a Cast to f32 behind it; all else stays f32."""
    m = copy(m)
    g, casts = m.graph, []
    listed = {v.name for v in g.input}
    for t in g.initializer:
        if t.data_type != T.FLOAT or t.name in listed:
            continue
        a = numpy_helper.to_array(t)
        if kind == "f16":
            _half(t)
        else:
            bits = a.astype(ml_dtypes.bfloat16)
            name, dims = t.name, list(a.shape)
            t.CopyFrom(helper.make_tensor(name, T.BFLOAT16, dims, bits.tobytes(), raw=True))
        for n in g.node:
            n.input[:] = [f"{t.name}/f32" if i == t.name else i for i in n.input]
        casts.append(helper.make_node("Cast", [t.name], [f"{t.name}/f32"], name=f"/cast/{t.name}", to=T.FLOAT))
    nodes = casts + [copy_node(n) for n in g.node]
    del g.node[:]
    g.node.extend(nodes)
    onnx.checker.check_model(m)
    return m


def save_external(m, path, suffix=".onnx_data", each=False):
    """The weights in a file beside: X.onnx_data or X.onnx.data; `each`: a file for every tensor."""
    path = Path(path)
    name = path.stem + suffix
    (path.parent / name).unlink(missing_ok=True)
    onnx.save_model(copy(m), str(path), save_as_external_data=True, all_tensors_to_one_file=not each,
                    location=None if each else name, size_threshold=256)


@contextlib.contextmanager
def _silent():
    logging.disable(logging.WARNING)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
    logging.disable(logging.NOTSET)


def dynamic(source, target, signed=True, per_channel=True, ops=None):
    """ONNX Runtime's dynamic int8: DynamicQuantizeLinear, MatMulInteger, and ConvInteger where Conv is among ops."""
    from onnxruntime import quantization as q  # noqa: PLC0415

    with _silent():
        q.quantize_dynamic(str(source), str(target), per_channel=per_channel, op_types_to_quantize=ops,
                           weight_type=q.QuantType.QInt8 if signed else q.QuantType.QUInt8,
                           extra_options={"DefaultTensorType": T.FLOAT})


def static(source, target, feeds, ops=("Conv", "MatMul", "Gemm"), signed_activations=False, operators=False, per_channel=True):
    """ONNX Runtime's static int8: QuantizeLinear and DequantizeLinear around `ops` (None: all that it knows),
    or (`operators`) QLinearMatMul and its like."""
    from onnxruntime import quantization as q  # noqa: PLC0415

    class Reader(q.CalibrationDataReader):
        def __init__(self):
            self.feeds = iter(feeds)

        def get_next(self):
            return next(self.feeds, None)

    with _silent():
        q.quantize_static(str(source), str(target), Reader(), per_channel=per_channel,
                          quant_format=q.QuantFormat.QOperator if operators else q.QuantFormat.QDQ,
                          op_types_to_quantize=list(ops) if ops else None,
                          activation_type=q.QuantType.QInt8 if signed_activations else q.QuantType.QUInt8,
                          weight_type=q.QuantType.QInt8, extra_options={"DefaultTensorType": T.FLOAT})


def unsigned(m):
    """The same model with unsigned weights in integer products, zero points moved along: equal in exact arithmetic.

    On x86 without VNNI, ONNX Runtime's kernels of u8 × s8 saturate and give other answers; u8 × u8 is exact.
    """
    m = copy(m)
    inits = {t.name: t for t in m.graph.initializer}
    spots = {"MatMulInteger": (1, 3), "ConvInteger": (1, 3), "QLinearMatMul": (3, 5), "QLinearConv": (3, 5)}
    done = set()
    for n in m.graph.node:
        for at in spots.get(n.op_type, ()):
            name = n.input[at] if at < len(n.input) else ""
            if name in inits and inits[name].data_type == T.INT8 and name not in done:
                done.add(name)
                a = (numpy_helper.to_array(inits[name]).astype(np.int16) + 128).astype(np.uint8)
                inits[name].CopyFrom(numpy_helper.from_array(a, name))
    return m
