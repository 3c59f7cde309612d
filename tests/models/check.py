#!/usr/bin/env python3
"""Imports every model that make.py made, and holds features and refusals against references.

  python check.py PROGRAM OUTDIR [--full] [--only WORD,WORD] [--verbose]

Exports: ONNX Runtime on the same file, its rewrites off, on pixels that Pillow prepared and on ids of
Python's tokenizers; cosine of the features of 20 photos and of some names. safetensors: reference.py,
largest difference of a value of a unit feature. Broken files: exit status 1, one line that says what is
wrong, no file left. Prints a table; exit status 1 if anything is off.

Integer products with signed weights run with unsigned ones in the reference, the same in exact
arithmetic: on x86 without VNNI, ONNX Runtime's u8 × s8 kernels saturate.
"""
import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import tokenizers

import forms
import pixels
import reference

NAMES = ["cat", "red mug", "a cup of coffee", "Workbench!", "naïve screwdriver 27", "x" * 200]


class Off(Exception):
    """What is wrong, in a line."""


def run(words, cwd=None):
    return subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=600, cwd=cwd)


class Program:
    def __init__(self, path, scratch):
        self.path, self.scratch = Path(path).resolve(), scratch
        self.bundle = scratch / "x.ecmodel"

    def make(self, root, case):
        self.bundle.unlink(missing_ok=True)
        paths = [root / p for p in case["import"]]
        flags = [f.replace("{dir}", str(root)) for f in case["flags"]]
        return run([self.path, "model", "import", *paths, "-o", self.bundle, *flags])

    def embed(self, *what):
        rows = self.scratch / "rows.npy"
        rows.unlink(missing_ok=True)
        done = run([self.path, "embed", "--model", self.bundle, "-q", "-o", rows, *what])
        if done.returncode:
            raise Off(f"embed: {last_line(done.stderr)}")
        return np.load(rows).astype(np.float64)


def last_line(text):
    lines = text.strip().splitlines()
    return lines[-1] if lines else "nothing said"


# references

def session(path):
    """ONNX Runtime on the file as it is; only where signed weights would saturate, with unsigned ones."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 2
    options.log_severity_level = 3
    model = onnx.load(path, load_external_data=False)
    integer = any(n.op_type.endswith("Integer") or n.op_type.startswith("QLinear") for n in model.graph.node)
    return ort.InferenceSession(forms.unsigned(model).SerializeToString() if integer else str(path), options)


def image_reference(root, spec, x):
    """Unit features of prepared pixels [n, 3, h, w]."""
    s = session(root / spec["file"])
    x = x.astype(np.float16) if spec["f16"] else x
    if spec["layout"] == "nhwc":
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    others = {}
    for i in s.get_inputs():  # a file with both towers wants ids too; the image's answer does not hang on them
        if i.name != spec["input"]:
            tokens = i.shape[1] if isinstance(i.shape[1], int) else 16
            others[i.name] = np.ones((1, tokens), np.int64)
    # one photo at a time: with a scale for the whole tensor, dynamic int8 gives other answers in company
    y = np.concatenate([s.run([spec["output"]], {spec["input"]: p[None], **others})[0] for p in x]).astype(np.float64)
    if spec["pool"]:
        y = y[:, 0] if spec["pool"] == "class" else y.mean(1)
    if spec["projection"]:
        y = y @ np.load(root / spec["projection"])
    return reference.unit(y)


@lru_cache
def tokenizer_of(folder):
    t = tokenizers.Tokenizer.from_file(f"{folder}/tokenizer.json")
    length = json.loads(Path(folder, "tokenizer_config.json").read_text())["model_max_length"]
    t.enable_truncation(length)
    return t, length


def token_ids(folder, name, fill):
    """One row; `fill`: to the full length with the end token, which is SigLIP's padding too."""
    t, length = tokenizer_of(folder)
    ids = t.encode(name).ids
    return np.array([ids + [ids[-1]] * (length - len(ids) if fill else 0)])


def text_reference(root, case):
    spec = case["text"]
    s = session(root / spec["file"])
    rows = []
    for name in NAMES:
        fill = case["family"] == "siglip" or spec["batch"]
        ids = token_ids(str(root / case["folder"]), name, fill)
        feed = {}
        for i in s.get_inputs():
            if i.name == "input_ids":
                feed[i.name] = ids
            elif i.name == "attention_mask":
                feed[i.name] = np.ones_like(ids)
            else:
                side = [d if isinstance(d, int) else case_side(root, case) for d in i.shape[2:]]
                feed[i.name] = np.zeros((1, 3, *side), np.float16 if "float16" in i.type else np.float32)
        rows.append(s.run([spec["output"]], feed)[0][0])
    rows = np.array(rows, np.float64)
    if spec.get("projection"):
        rows = rows @ np.load(root / spec["projection"])
    return reference.unit(rows)


def case_side(root, case):
    return pixels.of_folder(root / case["folder"])["size"][0]


# the checks

class Check:
    def __init__(self, program, root, photos, names):
        self.program, self.root, self.photos, self.names = program, root, photos, names
        self.prepared = {}

    def pixels(self, wanted):
        key = json.dumps(wanted)
        if key not in self.prepared:
            if len(self.prepared) > 4:
                self.prepared.clear()
            self.prepared[key] = np.stack([pixels.prepare(p, wanted) for p in self.photos])
        return self.prepared[key]

    def texts(self):
        return self.program.embed("--labels-file", self.names, "--prompts", "plain")

    def imported(self, case):
        done = self.program.make(self.root, case)
        if done.returncode:
            raise Off(last_line(done.stderr))
        return done

    def refusal(self, case):
        done = self.program.make(self.root, case)
        said = [line for line in done.stderr.strip().splitlines() if line.strip()]
        if self.program.bundle.exists() or any(p.name.startswith(".x.ecmodel") for p in self.program.scratch.iterdir()):
            raise Off(f"left a file; status {done.returncode}: {last_line(done.stderr)}")
        if done.returncode != 1:
            raise Off(f"status {done.returncode}: {last_line(done.stderr)}")
        if len(said) != 1:
            raise Off(f"{len(said)} lines: {' / '.join(said)[:300]}")
        lacking = [w for w in case["refused"] if not re.search(w, said[0], re.IGNORECASE)]
        if lacking:
            raise Off(f"does not say {', '.join(lacking)}: {said[0]}")
        return "refused", said[0]

    def weights(self, case):
        self.imported(case)
        folder = self.root / case["folder"]
        clip = reference.Clip(folder, np.float32 if self.root.name == "full" else np.float64)
        photos = self.photos[:8] if self.root.name == "full" else self.photos
        image = reference.unit(clip.images(self.pixels(pixels.of_folder(folder))[: len(photos)]))
        if "max_off" not in case:
            c = (self.program.embed(*photos) * image).sum(1)
            words = f"image {c.min():.6f} mean {c.mean():.6f}"
            if not (c.min() >= case["least"] and c.mean() >= case["mean"]):
                raise Off(words)
            return "equal", words
        ids = np.concatenate([token_ids(str(folder), n, True) for n in NAMES])
        off = [np.abs(self.program.embed(*photos) - image).max(), np.abs(self.texts() - reference.unit(clip.texts(ids))).max()]
        words = f"off by {off[0]:.1e} {off[1]:.1e}"
        if max(off) > case["max_off"]:
            raise Off(words)
        return "equal", words

    def export(self, case):
        try:
            self.imported(case)
        except Off as off:  # where it is the text tower, say how the image tower does
            if not case.get("text") or "--no-text" in case["flags"]:
                raise
            alone = self.export({**case, "text": None, "flags": [*case["flags"], "--no-text"]})
            raise Off(f"with --no-text {alone[1]}; else {off}") from None
        wanted = case.get("pixels") or pixels.of_folder(self.root / case["folder"])
        got = self.program.embed(*self.photos)
        ours = image_reference(self.root, case["image"], self.pixels(wanted))
        if ours.shape != got.shape:
            raise Off(f"{got.shape[1]} wide, expected {ours.shape[1]}")
        cosines = {"image": (got * ours).sum(1)}
        if case.get("text"):
            cosines["text"] = (self.texts() * text_reference(self.root, case)).sum(1)
        words = "  ".join(f"{of} {c.min():.6f} mean {c.mean():.6f}" for of, c in cosines.items())
        if not all(c.min() >= case["least"] and c.mean() >= case["mean"] for c in cosines.values()):
            raise Off(words)
        return "equal", words

    def one(self, case):
        if "refused" in case:
            return self.refusal(case)
        return self.weights(case) if case.get("numpy") else self.export(case)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("program")
    ap.add_argument("outdir", type=Path)
    ap.add_argument("--full", action="store_true", help="the true sizes")
    ap.add_argument("--only", default="", help="cases with one of these in their names")
    ap.add_argument("--verbose", action="store_true", help="the words of each refusal")
    args = ap.parse_args()
    root = (args.outdir / ("full" if args.full else "small")).resolve()
    made = json.loads((root / "cases.json").read_text())
    cases = [c for part in made.values() for c in part if any(w in c["name"] for w in args.only.split(","))]
    began, failed = time.monotonic(), []
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        names = scratch / "names.txt"
        names.write_text("\n".join(NAMES) + "\n", encoding="utf-8")
        check = Check(Program(args.program, scratch), root, pixels.photos(args.outdir / "photos"), names)
        for case in cases:
            try:
                result, words = check.one(case)
            except Off as off:
                result, words = "OFF", str(off)
            except (Exception, subprocess.TimeoutExpired) as error:  # noqa: BLE001 one bad case must not hide the rest
                result, words = "OFF", f"check itself: {type(error).__name__}: {str(error)[:200]}"
            if result == "OFF":
                failed.append(case["name"])
            if result == "refused" and not args.verbose:
                words = ""
            print(f"{case['name']:32} {result:8} {words}", flush=True)
    took = time.monotonic() - began
    print(f"models: {len(cases) - len(failed)} passed, {len(failed)} failed in {took:.0f} s")
    sys.exit(1 if failed or not cases else 0)


if __name__ == "__main__":
    main()
