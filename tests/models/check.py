"""Imports models of CLIP's shape in every form and compares features: usage: check.py PROGRAM FOLDER [--full]

Makes the models in FOLDER where they are not there (make_encoders.py), and 20 pictures out of
examples/. The reference is ONNX Runtime on the same file with its rewrites switched off, on pixels
that Pillow prepared; integer files with signed weights are run by onnx's own reference evaluator
(numpy, four pictures) where the processor lacks VNNI, since ONNX Runtime's kernels saturate there.
Prints a table; exit status 1 if a cosine is below its bound.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import version_converter
from onnx.reference import ReferenceEvaluator
from PIL import Image, ImageEnhance, ImageOps

HERE = Path(__file__).parent
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
FLOAT, ROUNDED = 0.9999, 0.999


def pictures(folder, count=20):
    """Photos of the examples, then the same turned, mirrored and lit otherwise."""
    sources = sorted(p for p in (HERE.parent.parent / "examples").rglob("*") if p.suffix in (".jpg", ".png"))
    changes = [lambda i: i, ImageOps.mirror, lambda i: i.rotate(90, expand=True), lambda i: ImageEnhance.Brightness(i).enhance(0.6)]
    paths = []
    for number in range(count):
        image = Image.open(sources[number % len(sources)]).convert("RGB")
        image = changes[number // len(sources) % len(changes)](image)
        paths.append(folder / f"{number:02}.png")
        image.save(paths[-1])
    return paths


def pixels(path, side=224):
    image = Image.open(path)
    width, height = image.size
    size = (side, int(side * height / width)) if width < height else (int(side * width / height), side)
    image = image.resize(size, Image.BICUBIC)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    values = np.asarray(image.crop((left, top, left + side, top + side)), np.float32) / 255
    return ((values - MEAN) / STD).transpose(2, 0, 1)[None]


def run(model, inputs):
    signed = ".dyn-s8." in model.name and "avx512_vnni" not in Path("/proc/cpuinfo").read_text()
    if signed:
        session, inputs = ReferenceEvaluator(str(model)), inputs[:4]
    else:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = ort.InferenceSession(str(model), options)
    rows = np.concatenate([session.run(None, {"pixel_values": x})[0] for x in inputs]).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def features(program, model, paths, scratch, *flags):
    bundle, rows = scratch / "x.ecmodel", scratch / "rows.npy"
    made = subprocess.run([program, "model", "import", model, "-o", bundle, *flags], capture_output=True, text=True)
    if made.returncode:
        return made.stderr.strip()
    subprocess.run([program, "embed", "--model", bundle, "-o", rows, *paths], check=True, capture_output=True)
    return np.load(rows), [line for line in made.stderr.splitlines() if line.startswith("int8")]


def opsets(folder):
    """The small model in every opset that exporters write, by onnx's converter."""
    for opset in (11, 12, 13, 15, 16, 18, 19, 20, 21):
        source = onnx.load(folder / ("small.op14.onnx" if opset < 17 else "small.op17.onnx"))
        path = folder / f"small.op{opset}.onnx"
        try:
            onnx.save(version_converter.convert_version(source, opset), path)
        except Exception as error:  # the converter knows no way back for some operators
            print(f"opset {opset}: not made ({str(error).splitlines()[0][:60]})")


def main():
    program, folder = sys.argv[1], Path(sys.argv[2])
    names = ["small", "tinyclip8m", "mobilenetv2"] + (["vitb32"] if "--full" in sys.argv else [])
    missing = [name for name in names if not (folder / f"{name}.qdq.onnx").exists()]
    if missing:
        subprocess.run([sys.executable, HERE / "make_encoders.py", folder, "--only", ",".join(missing)], check=True, stderr=subprocess.DEVNULL)
    opsets(folder)
    failed = []
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        paths = pictures(scratch)
        inputs = [pixels(path) for path in paths]
        print(f"{'model':28} {'mean':>9} {'least':>9}")

        def check(label, model, reference, bound, *flags):
            got = features(program, model, paths, scratch, *flags)
            if isinstance(got, str):
                failed.append(label)
                return print(f"{label:28} refused: {got}")
            cosines = (got[0][: len(reference)] * reference).sum(axis=1)
            if cosines.mean() < bound:
                failed.append(label)
            print(f"{label:28} {cosines.mean():9.6f} {cosines.min():9.6f} {'' if cosines.mean() >= bound else 'BELOW ' + str(bound)}", flush=True)
            for words in got[1]:
                print(f"  {words}")

        for name in names:
            plain = folder / f"{name}.op17.onnx"
            reference = run(plain, inputs)
            for model in sorted(folder.glob(f"{name}.*.onnx")):
                exact = ".op" in model.name
                check(model.stem, model, reference if exact else run(model, inputs), FLOAT if exact else ROUNDED)
            check(f"{name} --quantize int8", plain, reference, ROUNDED, "--quantize", "int8")
    if failed:
        sys.exit(f"below their bound, or refused: {', '.join(failed)}")


if __name__ == "__main__":
    main()
