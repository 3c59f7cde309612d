"""Files that must be refused, each with words that the refusal has to hold."""
import io
import json
import pickle
import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper, numpy_helper

import folders
import forms
import state
import tensors
import text
import tokenizer
import vit
from onnx_graph import Style

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d7a" * 16 + b"\nsize 605157884\n"
PAGE = b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head><body><h1>Not Found</h1></body></html>\n"


def graph_of(nodes, inputs, outputs, inits=(), opset=17, domains=()):
    g = helper.make_graph(nodes, "g", inputs, outputs, list(inits))
    m = helper.make_model(g, opset_imports=[helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)])
    m.ir_version = 8
    return m


def info(name, dims, dtype=T.FLOAT):
    return helper.make_tensor_value_info(name, dtype, dims)


def detector():
    """Pictures in, boxes, scores and classes out."""
    w = numpy_helper.from_array(np.full((6, 3, 16, 16), 0.01, np.float32), "w")
    nodes = [
        helper.make_node("Conv", ["images", "w"], ["y"], name="/conv", strides=[16, 16]),
        helper.make_node("Reshape", ["y", "to"], ["r"], name="/reshape"),
        helper.make_node("Transpose", ["r"], ["t"], name="/transpose", perm=[0, 2, 1]),
        helper.make_node("Split", ["t", "cuts"], ["boxes", "scores", "labels"], name="/split", axis=2),
    ]
    inits = [w, numpy_helper.from_array(np.array([1, 6, -1]), "to"), numpy_helper.from_array(np.array([4, 1, 1]), "cuts")]
    outs = [info("boxes", [1, 196, 4]), info("scores", [1, 196, 1]), info("labels", [1, 196, 1])]
    return graph_of(nodes, [info("images", [1, 3, 224, 224])], outs, inits)


def unknown_operator(m):
    """A product as 4-bit exports write it, in a domain of its own."""
    m = forms.copy(m)
    m.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    for n in m.graph.node:
        if n.op_type == "MatMul" and "fc1" in str(n.input) + n.name or (n.op_type == "MatMul" and "mlp" in n.name):
            n.op_type, n.domain = "MatMulNBits", "com.microsoft"
            n.attribute.extend([helper.make_attribute("K", 64), helper.make_attribute("N", 256),
                                helper.make_attribute("bits", 4), helper.make_attribute("block_size", 32)])
            return m, n.name
    raise AssertionError("no product to change")


def legacy_pickle():
    """torch.save of old: a magic number, a protocol number and the rest, each a pickle of protocol 2."""
    out = io.BytesIO()
    for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {"logit_scale": 4.6052}):
        pickle.dump(value, out, protocol=2)
    return out.getvalue()


def zipped(entry, data):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        z.writestr(entry, data)
    return out.getvalue()


class Cases:
    """A folder for each, and what to do with it."""

    def __init__(self, out):
        self.out, self.cases = Path(out), []

    def folder(self, name):
        f = self.out / name
        shutil.rmtree(f, ignore_errors=True)
        f.mkdir(parents=True)
        return f

    def case(self, name, words, given=None, flags=()):
        """`words`: regular expressions that the one line must match, whatever the case."""
        paths = [f"broken/{name}/{g}" for g in given] if given else [f"broken/{name}"]
        self.cases.append({"name": f"broken/{name}", "import": paths, "flags": list(flags), "refused": list(words)})

    def file(self, name, file, data, words, flags=()):
        (self.folder(name) / file).write_bytes(data)
        self.case(name, words, [file], flags)


def onnx_cases(c, model, w):
    style = Style.of(17)
    good = vit.vision(model, w, style).SerializeToString()
    c.file("detector", "yolo.onnx", detector().SerializeToString(), ["output", "boxes", "detector"])
    c.file("text-only", "text_model.onnx", text.text(model, w, style).SerializeToString(), ["image|picture"])
    c.file("lfs-onnx", "vision_model.onnx", POINTER, ["lfs"])
    c.file("truncated-onnx", "vision_model.onnx", good[: len(good) * 2 // 3], ["truncat|cut|damaged|incomplete|whole|ends|protobuf"])
    c.file("zip-onnx", "vision_model.onnx", zipped("vision_model/README", b"x"), ["zip"])
    c.file("html-onnx", "vision_model.onnx", PAGE, ["web page|html"])
    c.file("empty-onnx", "vision_model.onnx", b"", ["empty"])
    c.file("noise-onnx", "vision_model.onnx", bytes(np.random.default_rng(1).integers(0, 256, 4096, np.uint8)), ["model"])
    c.file("pickle-zip", "pytorch_model.bin", zipped("archive/data.pkl", legacy_pickle()), ["pickle", "safetensors"])
    c.file("pickle-pt", "open_clip_pytorch_model.pt", zipped("model/data.pkl", legacy_pickle()), ["pickle", "safetensors"])
    c.file("pickle-legacy", "ViT-B-32.pt", legacy_pickle(), ["pickle", "safetensors"])
    c.file("pickle-named-onnx", "vision_model.onnx", legacy_pickle(), ["pickle"])
    strange, node = unknown_operator(vit.vision(model, w, style))
    c.file("unknown-operator", "vision_model_q4.onnx", strange.SerializeToString(), ["MatMulNBits", node.replace("/", "[/]")])
    m = forms.copy(vit.vision(model, w, style))
    m.graph.node[-1].op_type, m.graph.node[-1].name = "FancyProjection", "/visual_projection/Fancy"
    c.file("unknown-operator-2", "vision_model.onnx", m.SerializeToString(), ["FancyProjection", "visual_projection/Fancy"])
    pooled = vit.vision(model, w, style, ("last_hidden_state", "pooler_output"))
    c.file("no-projection", "vision_model.onnx", pooled.SerializeToString(), ["projection"])
    c.file("no-such-output", "vision_model.onnx", good, ["output", "image_embeds"], ["--image-output", "nothing"])
    np.save(c.folder("projection-misfit") / "wrong.npy", np.zeros((13, 40), np.float32))
    onnx.save(pooled, c.out / "projection-misfit/vision_model.onnx")
    c.case("projection-misfit", ["projection"], ["vision_model.onnx"],
           ["--projection", "{dir}/broken/projection-misfit/wrong.npy", "--image-output", "pooler_output"])
    flags = {"layout": (["--layout", "nhwc"], ["layout", "channels"]), "pool": (["--pool", "class"], ["--pool", "image_embeds"]),
             "size": (["--size", "80"], ["80×80", "64×64"]),
             "projection-unnamed": (["--projection", "{dir}/broken/misused-projection-unnamed/w.safetensors", "--image-output", "pooler_output"],
                                    ["visual_projection.weight"])}
    for name, (given, words) in flags.items():
        f = c.folder(f"misused-{name}")
        tensors.write(f / "w.safetensors", w)
        onnx.save(pooled if "pooler_output" in given else vit.vision(model, w, style), f / "vision_model.onnx")
        c.case(f"misused-{name}", words, ["vision_model.onnx"], given)
    f = c.folder("external-missing")
    forms.save_external(vit.vision(model, w, style), f / "vision_model.onnx")
    (f / "vision_model.onnx_data").unlink()
    c.case("external-missing", ["vision_model.onnx_data"], ["vision_model.onnx"])
    f = c.folder("external-short")
    forms.save_external(vit.vision(model, w, style), f / "vision_model.onnx")
    data = f / "vision_model.onnx_data"
    data.write_bytes(data.read_bytes()[:1000])
    c.case("external-short", ["vision_model.onnx_data|bytes"], ["vision_model.onnx"])
    f = c.folder("external-outside")
    m = forms.copy(vit.vision(model, w, style))
    t = m.graph.initializer[0]
    t.ClearField("raw_data")
    t.data_location = T.EXTERNAL
    t.external_data.add(key="location", value="../../../../../../../../etc/passwd")
    (f / "vision_model.onnx").write_bytes(m.SerializeToString())
    c.case("external-outside", ["passwd|outside|inside|folder"], ["vision_model.onnx"])


def text_cases(c, model, w):
    f = c.folder("wrong-tokenizer")  # names more tokens than the table of the model has rows
    folders.beside(f, model)
    (f / "tokenizer.json").write_text(json.dumps(tokenizer.bpe(tokenizer.small_merges(1500)), ensure_ascii=False))
    onnx.save(vit.vision(model, w, Style.of(17)), f / "vision_model.onnx")
    onnx.save(text.text(model, w, Style.of(17)), f / "text_model.onnx")
    c.case("wrong-tokenizer", ["token"])
    f = c.folder("towers-of-two-widths")
    folders.beside(f, model)
    onnx.save(vit.vision(model, w, Style.of(17), ("pooler_output",)), f / "vision_model.onnx")
    onnx.save(text.text(model, w, Style.of(17)), f / "text_model.onnx")
    c.case("towers-of-two-widths", [f"{model.dim}|{model.vision.width}"], flags=["--image-output", "pooler_output"])


def weight_cases(c, model, w):
    whole = tensors.frame(tensors.header_of(w, {"format": "pt"}), b"".join(a.tobytes() for a in w.values()))
    (length,) = struct.unpack("<Q", whole[:8])
    header, data = json.loads(whole[8 : 8 + length]), whole[8 + length :]

    def put(name, raw, words, spoil=None, file="model.safetensors"):
        f = c.folder(name)
        folders.beside(f, model)
        (f / file).write_bytes(raw)
        if spoil:
            spoil(f)
        c.case(name, words)

    def changed(name, **change):
        h = json.loads(json.dumps(header))
        h[name].update(change)
        return tensors.frame(h, data)

    def config(key, value):
        def spoil(f):
            cfg = json.loads((f / "config.json").read_text())
            cfg[key] = value
            folders.put_json(f / "config.json", cfg)
        return spoil

    first = next(iter(w))
    put("lfs-safetensors", POINTER, ["lfs"])
    put("truncated-safetensors", whole[: len(whole) // 2], ["truncat|cut|ends|bytes|whole|length"])
    put("header-absurd", struct.pack("<Q", 1 << 60) + whole[8:], ["header|bytes|format"])
    put("header-beyond-file", struct.pack("<Q", len(whole) * 2) + whole[8:], ["header|bytes|format"])
    put("header-no-json", struct.pack("<Q", 64) + b"{" * 64 + data, ["header|json"])
    a, b = header[first]["data_offsets"]
    other = list(w)[1]
    put("offsets-overlap", changed(other, data_offsets=[0, header[other]["data_offsets"][1] - header[other]["data_offsets"][0]]),
        ["overlap|gap|offset|bytes"])
    put("offsets-backwards", changed(first, data_offsets=[b, a]), [f"offset|bytes|{first}"])
    put("offsets-beyond", changed(first, data_offsets=[a, 1 << 50]), [f"offset|bytes|{first}"])
    put("shape-absurd", changed(first, shape=[1 << 40, 1 << 40]), [f"shape|bytes|{first}"])
    put("dtype-unknown", changed(first, dtype="F7"), ["F7|type"])
    lacking = {n: x for n, x in w.items() if n != "visual_projection.weight"}
    put("no-projection-safetensors", tensors.frame(tensors.header_of(lacking, {}), b"".join(x.tobytes() for x in lacking.values())),
        ["projection"])
    lacking = {n: x for n, x in w.items() if "layers.1.mlp.fc2.weight" not in n}
    put("tensor-missing", tensors.frame(tensors.header_of(lacking, {}), b"".join(x.tobytes() for x in lacking.values())),
        ["mlp.fc2"])
    put("other-model-type", whole, ["bert"], config("model_type", "bert"))
    put("config-missing", whole, ["config.json"], lambda f: (f / "config.json").unlink())
    put("config-no-json", whole, ["config.json"], lambda f: (f / "config.json").write_bytes(PAGE))
    f = c.folder("shard-missing")
    folders.beside(f, model)
    tensors.write_sharded(f, dict(w), 3)
    (f / "model-00002-of-00003.safetensors").unlink()
    c.case("shard-missing", ["model-00002-of-00003"])


def make(out, models):
    """All of them, into out/broken; returns the cases."""
    model = models["clip-small"]
    w = state.make(model)
    c = Cases(Path(out))
    weight_cases(c, model, dict(w))
    onnx_cases(c, model, w)
    text_cases(c, model, w)
    return c.cases
