"""ONNX exports in every form, each in a folder with the JSON files beside it, and cases.json for check.py."""
import shutil
from pathlib import Path

import numpy as np
import onnx

import configs
import convs
import folders
import forms
import state
import tensors
import text
import vit
from onnx_graph import Style

# Least cosine to ONNX Runtime on the same file: of all photos, and in the mean.
FLOAT, ROUNDED = (0.9999, 0.9999), (0.999, 0.999)
# A rounding that falls the other way moves a net of 64 channels more than one of 768: integers in the small ones.
INTEGER, OURS = (0.997, 0.999), (0.995, 0.999)


def image_tower(model, w, style, ends=("image_embeds",)):
    if model.family in ("clip", "siglip"):
        return vit.vision(model, w, style, ends)
    return convs.vision(model, w, style)


def both_towers(model, w, style, **more):
    return text.both(model, w, style, masked=model.family != "siglip", **more)


class Exports:
    """Writes models below `out` and remembers how each is to be imported and run."""

    def __init__(self, out, models):
        self.out, self.models, self.cases, self.weights = Path(out), models, [], {}

    def w(self, name):
        if name not in self.weights:
            self.weights[name] = state.make(self.models[name])
        return self.weights[name]

    def folder(self, name, model):
        f = self.out / "exports" / name
        shutil.rmtree(f, ignore_errors=True)
        f.mkdir(parents=True)
        folders.beside(f, model)
        return f

    def text_of(self, model, style, **more):
        # SigLIP knows no mask; every second export of CLIP leaves it out, as several published ones do
        masked = model.family != "siglip" and style.opset % 2 == 1
        return text.text(model, self.w(model.name), style, masked=masked, **more)

    def case(self, name, model, image=None, words=None, given=None, flags=(), bound=FLOAT, folder=None):
        """`image` and `words`: how ONNX Runtime runs the towers; files are relative to the folder."""
        base = f"exports/{folder or name}"
        paths = [f"{base}/{g}" for g in given] if given else [base]
        case = {"name": name, "import": paths, "flags": list(flags), "folder": base, "least": bound[0], "mean": bound[1],
                "family": model.family}
        if image:
            case["image"] = {"input": "pixel_values", "output": "image_embeds", "layout": "nchw", "batch": 0, "f16": False,
                             "pool": None, "projection": None, **image, "file": f"{base}/{image['file']}"}
        if words:
            case["text"] = {"output": "text_embeds", "batch": 0, **words, "file": f"{base}/{words['file']}"}
        self.cases.append(case)

    # one way of writing, both towers

    def pair(self, name, model, style, change=lambda m: m, bound=FLOAT, as_files=False, with_text=True, image=None, flags=(), **more):
        """vision_model.onnx and text_model.onnx, both changed by `change`."""
        f = self.folder(name, model)
        ends = ("pooler_output",) if model.family == "siglip" and not image else ("image_embeds",)
        siglip_text = {"end": "pooler_output"} if model.family == "siglip" else {}
        onnx.save(change(image_tower(model, self.w(model.name), style, ends)), f / "vision_model.onnx")
        words, given = None, ["vision_model.onnx"]
        if with_text:
            onnx.save(change(self.text_of(model, style, **siglip_text)), f / "text_model.onnx")
            words = {"file": "text_model.onnx", "batch": style.batch, "output": siglip_text.get("end", "text_embeds")}
            given.append("text_model.onnx")
        run = {"file": "vision_model.onnx", "batch": style.batch, "output": ends[0], **(image or {})}
        self.case(name, model, run, words, given if as_files else None, flags, bound, **more)
        return f

    def combined(self, name, model, style, change=lambda m: m, bound=FLOAT, scale="folded", file="model.onnx"):
        f = self.folder(name, model)
        onnx.save(change(both_towers(model, self.w(model.name), style, scale=scale)), f / file)
        self.case(name, model, {"file": file, "batch": style.batch}, {"file": file, "batch": style.batch}, [file], bound=bound)

    def integers(self, name, model, opset, quantize, bound=INTEGER, with_text=True, **more):
        """Both towers made integer by `quantize(source, target, feeds)`."""
        f = self.folder(name, model)
        style = Style.of(opset)
        pixels, ids = folders.inputs(model, 8)
        mask = folders.mask(model, ids)
        # towers are exported under the same names in SigLIP too: the form is what counts here
        sources = {"vision": image_tower(model, self.w(model.name), style)}
        if with_text:
            sources["text"] = self.text_of(model, style)
        given = []
        for tower, m in sources.items():
            source, target = f / f"{tower}.source", f / f"{tower}_model.onnx"
            onnx.save(m, source)
            inputs = [i.name for i in m.graph.input]
            feeds = [{"pixel_values": pixels[i : i + 1], "input_ids": ids[i : i + 1], "attention_mask": mask[i : i + 1]} for i in range(8)]
            quantize(source, target, [{k: v for k, v in feed.items() if k in inputs} for feed in feeds])
            source.unlink()
            given.append(target.name)
        self.case(name, model, {"file": given[0]}, {"file": given[1]} if with_text else None, given, bound=bound, **more)


def opsets(e):
    clip, gelu, siglip, rn, mobile = (e.models[n] for n in (
        "clip-small", "clip-gelu-small", "siglip-small", "rn-small", "mobileclip-small"))
    for op in range(11, 22):
        e.pair(f"clip-op{op}", clip, Style.of(op), as_files=op % 2 == 0)
    for op in (12, 14, 17, 20):
        e.pair(f"clip-gelu-op{op}", gelu, Style.of(op))
    for op in (11, 13, 15, 17, 18, 20, 21):
        e.pair(f"siglip-op{op}", siglip, Style.of(op))
    for op in (11, 14, 17, 18, 21):
        e.pair(f"rn-op{op}", rn, Style.of(op), with_text=op == 17)
    for op in (11, 13, 17, 18, 20):
        e.pair(f"mobileclip-op{op}", mobile, Style.of(op), with_text=op == 17)
    for op in (11, 13, 15, 17, 18, 21):
        e.pair(f"clip-fixed-op{op}", clip, Style.of(op, batch=1))
    e.pair("siglip-fixed-op17", siglip, Style.of(17, batch=1))
    e.pair("rn-fixed-op14", rn, Style.of(14, batch=1), with_text=False)
    e.pair("mobileclip-fixed-op17", mobile, Style.of(17, batch=1), with_text=False)
    for op in (11, 14, 17, 20, 21):
        e.combined(f"clip-both-op{op}", clip, Style.of(op), scale="folded" if op % 2 else "exp")
    e.combined("siglip-both-op17", siglip, Style.of(17))
    e.combined("clip-both-fixed-op17", clip, Style.of(17, batch=1))


def floats(e):
    clip, siglip, rn, mobile = (e.models[n] for n in ("clip-small", "siglip-small", "rn-small", "mobileclip-small"))
    for op in (11, 14, 17, 20):
        e.pair(f"clip-fp16-op{op}", clip, Style.of(op), forms.fp16, ROUNDED)
    e.pair("siglip-fp16-op17", siglip, Style.of(17), forms.fp16, ROUNDED)
    e.pair("rn-fp16-op17", rn, Style.of(17), forms.fp16, ROUNDED, with_text=False)
    e.pair("mobileclip-fp16-op17", mobile, Style.of(17), forms.fp16, ROUNDED, with_text=False)
    e.pair("clip-fp16-ends", clip, Style.of(17), lambda m: forms.fp16(m, "f16"), ROUNDED, image={"f16": True})
    keep = ("LayerNormalization", "Softmax")
    e.pair("clip-fp16-kept", clip, Style.of(17), lambda m: forms.fp16(m, keep=keep), ROUNDED)
    e.pair("clip-fp16-weights", clip, Style.of(17), forms.weights_only, ROUNDED)
    e.pair("clip-bf16-weights", clip, Style.of(17), lambda m: forms.weights_only(m, "bf16"), ROUNDED)
    e.combined("clip-both-fp16", clip, Style.of(14), forms.fp16, ROUNDED)


def integers(e):
    clip, siglip, rn, mobile, strong = (e.models[n] for n in (
        "clip-small", "siglip-small", "rn-small", "mobileclip-small", "outliers-small"))
    products = ["MatMul", "Gemm", "Gather"]
    all_known = [*products, "Conv"]
    dyn = lambda **k: lambda s, t, feeds: forms.dynamic(s, t, **k)
    for op in (11, 14, 17, 20):
        e.integers(f"clip-dyn-s8-op{op}", clip, op, dyn(ops=products))
    e.integers("clip-dyn-u8", clip, 17, dyn(signed=False, ops=products))
    e.integers("clip-dyn-tensor-s8", clip, 14, dyn(per_channel=False, ops=products))
    e.integers("clip-dyn-tensor-u8", clip, 14, dyn(signed=False, per_channel=False, ops=all_known))
    e.integers("clip-dyn-conv-u8", clip, 17, dyn(signed=False, ops=all_known))
    e.integers("rn-dyn-conv-u8", rn, 17, dyn(signed=False, ops=all_known), with_text=False)
    e.integers("mobileclip-dyn-conv-u8", mobile, 17, dyn(signed=False, ops=all_known), with_text=False)
    e.integers("siglip-dyn-s8", siglip, 17, dyn(ops=products), )
    e.integers("siglip-dyn-tensor-u8", siglip, 14, dyn(signed=False, per_channel=False, ops=all_known))
    qdq = lambda **k: lambda s, t, feeds: forms.static(s, t, feeds, **k)
    for op in (13, 14, 17, 20):
        e.integers(f"clip-qdq-op{op}", clip, op, qdq(), with_text=False)
    e.integers("clip-qdq-s8", clip, 17, qdq(signed_activations=True), with_text=False)
    e.integers("clip-qdq-tensor", clip, 17, qdq(per_channel=False), with_text=False)
    e.integers("clip-qdq-softmax", clip, 17, qdq(ops=("Conv", "MatMul", "Gemm", "Softmax")), with_text=False)
    e.integers("clip-qdq-all", clip, 17, qdq(ops=None), with_text=False)
    e.integers("siglip-qdq-all", siglip, 17, qdq(ops=None), with_text=False)
    e.integers("rn-qdq", rn, 17, qdq(), with_text=False)
    e.integers("mobileclip-qdq", mobile, 17, qdq(), with_text=False)
    e.integers("clip-qlinear", clip, 17, qdq(operators=True, per_channel=False, ops=("Conv", "MatMul")), with_text=False)
    e.integers("rn-qlinear", rn, 17, qdq(operators=True, per_channel=False, ops=("Conv", "MatMul")), with_text=False)
    e.pair("outliers-f32", strong, Style.of(17), with_text=False)
    ours = dict(with_text=False, flags=["--quantize", "int8", "--calibrate", "{dir}/../photos"], bound=OURS)
    for name, model in (("outliers", strong), ("clip", clip), ("siglip", siglip), ("rn", rn), ("mobileclip", mobile)):
        e.pair(f"{name}-quantized", model, Style.of(17), **ours)


def layouts(e):
    clip, siglip, rn = (e.models[n] for n in ("clip-small", "siglip-small", "rn-small"))
    w = e.w("clip-small")
    s17 = Style.of(17)
    # names
    for name in ("input", "image"):
        e.pair(f"clip-named-{name}", clip, s17, lambda m, n=name: forms.rename(forms.rename(m, "pixel_values", n), "image_embeds", "output"),
               as_files=True, image={"input": name, "output": "output"}, with_text=False)
    two = lambda m: forms.rename(m, "image_embeds", "features")
    f = e.folder("clip-two-outputs", clip)
    onnx.save(two(vit.vision(clip, w, s17, ("pooler_output", "image_embeds"))), f / "clip.onnx")
    e.case("clip-two-outputs", clip, {"file": "clip.onnx", "output": "features"}, None, ["clip.onnx"], ["--image-output", "features"])
    f = e.folder("clip-hidden-too", clip)
    onnx.save(vit.vision(clip, w, s17, ("last_hidden_state", "image_embeds")), f / "vision_model.onnx")
    e.case("clip-hidden-too", clip, {"file": "vision_model.onnx"}, None, None)
    # channels last
    for name, model, style in (("clip-nhwc-op13", clip, Style.of(13)), ("clip-nhwc-fixed-op17", clip, Style.of(17, batch=1)),
                               ("rn-nhwc-op17", rn, s17)):
        e.pair(name, model, style, lambda m: forms.nhwc(m) if m.graph.input[0].name == "pixel_values" else m,
               image={"layout": "nhwc"}, with_text=False)
    e.pair("clip-nhwc-by-flag", clip, s17, lambda m: forms.nhwc(m, told=False), image={"layout": "nhwc"}, with_text=False,
           flags=["--layout", "nhwc"])
    # projection elsewhere
    pooled = vit.vision(clip, w, s17, ("last_hidden_state", "pooler_output"))
    turned = np.ascontiguousarray(w["visual_projection.weight"].T)
    for name, file, flag in (("npy", "projection.npy", "projection.npy"), ("npy-turned", "turned.npy", "turned.npy"),
                             ("safetensors", "rest.safetensors", "rest.safetensors:visual_projection.weight")):
        f = e.folder(f"clip-projection-{name}", clip)
        onnx.save(pooled, f / "clip.onnx")
        np.save(f / "projection.npy", turned)
        if file == "turned.npy":
            np.save(f / file, w["visual_projection.weight"])
        if file.endswith("safetensors"):
            tensors.write(f / file, {n: w[n] for n in ("visual_projection.weight", "text_projection.weight", "logit_scale")})
        e.case(f"clip-projection-{name}", clip,
               {"file": "clip.onnx", "output": "pooler_output", "projection": f"exports/clip-projection-{name}/projection.npy"},
               None, ["clip.onnx"], ["--projection", f"{{dir}}/exports/clip-projection-{name}/{flag}"])
    # both projections elsewhere
    f = e.folder("clip-projections", clip)
    onnx.save(vit.vision(clip, w, s17, ("pooler_output",)), f / "vision_model.onnx")
    onnx.save(text.text(clip, w, s17, end="pooler_output"), f / "text_model.onnx")
    np.save(f / "image.npy", turned)
    np.save(f / "text.npy", np.ascontiguousarray(w["text_projection.weight"].T))
    at = "exports/clip-projections"
    e.case("clip-projections", clip, {"file": "vision_model.onnx", "output": "pooler_output", "projection": f"{at}/image.npy"},
           {"file": "text_model.onnx", "output": "pooler_output", "projection": f"{at}/text.npy"}, ["vision_model.onnx", "text_model.onnx"],
           ["--projection", f"{{dir}}/{at}/image.npy", "--text-projection", f"{{dir}}/{at}/text.npy",
            "--image-output", "pooler_output", "--text-output", "pooler_output"])
    # tokens, pooled by the importer
    for pool, model in (("class", clip), ("mean", siglip)):
        f = e.folder(f"hidden-{pool}", model)
        onnx.save(vit.vision(model, e.w(model.name), s17, ("last_hidden_state",)), f / "vit.onnx")
        e.case(f"hidden-{pool}", model, {"file": "vit.onnx", "output": "last_hidden_state", "pool": pool}, None, ["vit.onnx"],
               ["--pool", pool])
    f = e.folder("hidden-class-projection", clip)
    onnx.save(vit.vision(clip, w, s17, ("last_hidden_state",)), f / "vit.onnx")
    np.save(f / "projection.npy", turned)
    e.case("hidden-class-projection", clip,
           {"file": "vit.onnx", "output": "last_hidden_state", "pool": "class", "projection": "exports/hidden-class-projection/projection.npy"},
           None, ["vit.onnx"], ["--pool", "class", "--projection", "{dir}/exports/hidden-class-projection/projection.npy"])
    # weights in files beside
    for name, suffix, each in (("onnx_data", ".onnx_data", False), ("onnx.data", ".onnx.data", False), ("each", "", True)):
        f = e.folder(f"clip-external-{name}", clip)
        forms.save_external(vit.vision(clip, w, s17), f / "vision_model.onnx", suffix, each)
        forms.save_external(e.text_of(clip, s17), f / "text_model.onnx", suffix, each)
        e.case(f"clip-external-{name}", clip, {"file": "vision_model.onnx"}, {"file": "text_model.onnx"}, None)


def pixels(e):
    """Preprocessing by flags: nothing beside the file."""
    clip = e.models["clip-small"]
    plain = {"resize": "shortest", "size": [64], "crop": [64, 64], "filter": "bicubic", "mean": configs.CLIP_MEAN, "std": configs.CLIP_STD}
    ways = {
        "flags": (dict(resize="shortest", size=[80], crop=[64, 64], filter="bilinear", mean=[0.5, 0.4, 0.3], std=[0.2, 0.3, 0.25]),
                  ["--size", "80", "--crop", "64", "--filter", "bilinear", "--mean", "0.5,0.4,0.3", "--std", "0.2,0.3,0.25"]),
        "exact": (dict(plain, resize="exact", size=[64, 64], crop=None), ["--size", "64x64"]),
        "size": (plain, ["--size", "64"]),
        "positions": (plain, []),
    }
    for name, (p, flags) in ways.items():
        f = e.folder(f"pixels-{name}", clip)
        for beside in f.iterdir():
            beside.unlink()
        # without a fixed input, the table of positions says how large pictures are
        onnx.save(vit.vision(clip, e.w("clip-small"), Style.of(17, batch=1 if name == "size" else 0)), f / "model.onnx")
        e.case(f"pixels-{name}", clip, {"file": "model.onnx", "batch": 1 if name == "size" else 0}, None, ["model.onnx"], flags)
        e.cases[-1]["pixels"] = p
    for name, config in (("legacy", configs.clip_preprocessor(64, legacy=True)),
                         ("larger", configs.clip_preprocessor(64, shortest=73)),
                         ("bilinear", configs.clip_preprocessor(64, mean=[0.0] * 3, std=[1.0] * 3, resample=configs.BILINEAR)),
                         ("squash", configs.siglip_preprocessor(64))):
        f = e.folder(f"pixels-{name}", clip)
        onnx.save(vit.vision(clip, e.w("clip-small"), Style.of(17)), f / "vision_model.onnx")
        folders.put_json(f / "preprocessor_config.json", config)
        e.case(f"pixels-{name}", clip, {"file": "vision_model.onnx"}, None, None)


def hubs(e):
    """Folders with everything in them, as hubs have them."""
    clip, siglip = e.models["clip-small"], e.models["siglip-small"]
    for name, model in (("hub-clip", clip), ("hub-siglip", siglip)):
        f, w, style = e.folder(name, model), e.w(model.name), Style.of(14)
        (f / "onnx").mkdir()
        o = f / "onnx"
        end = "pooler_output" if model.family == "siglip" else "image_embeds"
        ends = ("last_hidden_state", end) if model.family == "siglip" else (end,)
        word_end = "pooler_output" if model.family == "siglip" else "text_embeds"
        towers = {"vision_model": vit.vision(model, w, style, ends), "text_model": e.text_of(model, style, end=word_end),
                  "model": both_towers(model, w, style)}
        for tower, m in towers.items():
            onnx.save(m, o / f"{tower}.onnx")
            onnx.save(forms.fp16(m), o / f"{tower}_fp16.onnx")
            for variant, signed in (("quantized", False), ("uint8", False), ("int8", True)):
                forms.dynamic(o / f"{tower}.onnx", o / f"{tower}_{variant}.onnx", signed, per_channel=False, ops=["MatMul", "Gemm", "Gather", "Conv"] if not signed else ["MatMul", "Gemm", "Gather"])
        for variant, bound in (("", FLOAT), ("fp16", ROUNDED), ("quantized", INTEGER), ("uint8", INTEGER), ("int8", INTEGER)):
            tail = f"_{variant}" if variant else ""
            e.case(f"{name}{tail}", model, {"file": f"onnx/vision_model{tail}.onnx", "output": end},
                   {"file": f"onnx/text_model{tail}.onnx", "output": word_end}, None,
                   ["--variant", variant] if variant else [], bound, folder=name)
    f = e.folder("hub-optimum", clip)
    onnx.save(both_towers(clip, e.w("clip-small"), Style.of(17), scale="exp"), f / "model.onnx")
    e.case("hub-optimum", clip, {"file": "model.onnx"}, {"file": "model.onnx"}, None)


def small(out, models):
    e = Exports(out, models)
    for part in (opsets, floats, integers, layouts, pixels, hubs):
        part(e)
    return e.cases


def full(out, models):
    """True sizes, in the forms that they are published in."""
    e = Exports(out, models)
    b32, tiny, rn, mobile, siglip = (models[n] for n in ("vit-b32", "tinyclip-8m", "rn50", "mobileclip-s0", "siglip-b16"))
    products = ["MatMul", "Gemm", "Gather"]
    dyn = lambda **k: lambda s, t, feeds: forms.dynamic(s, t, **k)
    e.pair("tinyclip-8m-op14", tiny, Style.of(14))
    e.pair("tinyclip-8m-fp16", tiny, Style.of(14), forms.fp16, ROUNDED)
    # the true sizes are held to the bound of rounded floats
    e.integers("tinyclip-8m-quantized", tiny, 14, dyn(signed=False, per_channel=False, ops=[*products, "Conv"]), bound=ROUNDED)
    # with every activation rounded, ONNX Runtime itself gives 0.9985 at least where pixels change by 1 in 100,000
    e.integers("tinyclip-8m-qdq", tiny, 17, lambda s, t, feeds: forms.static(s, t, feeds), with_text=False,
               bound=(0.998, 0.999))
    e.pair("mobileclip-s0-op17", mobile, Style.of(17))
    e.pair("mobileclip-s0-fp16", mobile, Style.of(17), forms.fp16, ROUNDED, with_text=False)
    e.integers("mobileclip-s0-quantized", mobile, 17, dyn(signed=False, ops=[*products, "Conv"]), with_text=False, bound=ROUNDED)
    e.pair("rn50-op14", rn, Style.of(14), with_text=False)
    e.pair("rn50-op18", rn, Style.of(18), with_text=False)
    e.pair("vit-b32-op17", b32, Style.of(17))
    e.pair("vit-b32-op12", b32, Style.of(12), with_text=False)
    e.integers("vit-b32-dyn-s8", b32, 17, dyn(ops=products), with_text=False, bound=ROUNDED)
    e.pair("vit-b32-ours-int8", b32, Style.of(17), with_text=False, flags=["--quantize", "int8"], bound=ROUNDED)
    e.pair("siglip-b16-op17", siglip, Style.of(17))
    return e.cases
