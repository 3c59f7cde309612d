"""Measures image encoders on folders of photos that take no part in making them.

usage: accuracy.py IMAGE_ONNX... [--text TEXT_ONNX --tokenizer FILE]... [--photos FOLDER]

FOLDER (or $EDGECLIP_DATA/photos) holds pets/, clothing/ and trash/, each with a folder per class.
Prints top-1 in percent: zero-shot by the names of label_names.toml, then nearest mean of 1, 5 and
16 photos a class, averaged over 100 draws, tested on all the other photos. The first text encoder
serves zero-shot; for a further one its own zero-shot is printed beside.
"""

import argparse
import os
import tomllib
from pathlib import Path

import numpy as np
import onnxruntime

import preprocess
from sentence_encoder import TextEncoder
from space import TEMPLATES, unit

SETS = ("pets", "clothing", "trash")
SHOTS = (1, 5, 16)
DRAWS = 100
LABELS = Path(__file__).parent / "label_names.toml"


class PhotoSet:
    """The photos of one set, decoded once."""

    def __init__(self, folder):
        classes = sorted(path for path in folder.iterdir() if path.is_dir())
        given = tomllib.loads(LABELS.read_text())[folder.name]
        self.names = [given["names"].get(c.name, c.name.replace("_", " ")) for c in classes]
        self.names = [given.get("form", "{}").format(name) for name in self.names]
        files = [(path, k) for k, c in enumerate(classes) for path in sorted(c.iterdir())]
        self.labels = np.array([k for _, k in files])
        self.inputs = np.stack([preprocess.load(path) for path, _ in files])


def image_session(path, threads=1):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Without it, ONNX Runtime's int8 kernels overflow 16 bits on x86 processors that have no VNNI,
    # and features are far off (cosine 0.93 in place of 0.997).
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])


def features(session, inputs, batch=16):
    rows = [
        session.run(None, {"pixel_values": inputs[i : i + batch]})[0]
        for i in range(0, len(inputs), batch)
    ]
    return unit(np.concatenate(rows))


def text_weights(encoder, names):
    """[names, dim]: the mean over the templates, unit length."""
    rows = encoder([template.format(name) for name in names for template in TEMPLATES])
    return unit(rows.reshape(len(names), len(TEMPLATES), -1).mean(axis=1))


def zero_shot(rows, labels, weights):
    return 100 * float(np.mean(np.argmax(rows @ weights.T, axis=1) == labels))


def nearest_mean(rows, labels, shots):
    """None where a class has no photo left to test on."""
    if np.bincount(labels).min() <= shots:
        return None
    rng = np.random.default_rng(0)
    right = []
    for _ in range(DRAWS):
        order = rng.permutation(len(labels))
        support = np.concatenate([order[labels[order] == k][:shots] for k in range(labels.max() + 1)])
        query = np.setdiff1d(order, support)
        means = rows[support].reshape(labels.max() + 1, shots, -1).mean(axis=1)
        right.append(zero_shot(rows[query], labels[query], unit(means)))
    return float(np.mean(right))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", nargs="+", type=Path)
    parser.add_argument("--text", nargs="+", type=Path, required=True)
    parser.add_argument("--tokenizer", nargs="+", type=Path, required=True)
    default = os.environ.get("EDGECLIP_DATA")
    parser.add_argument("--photos", type=Path, default=Path(default, "photos") if default else None)
    arguments = parser.parse_args()
    if arguments.photos is None:
        parser.error("say where the photos are: --photos, or EDGECLIP_DATA")

    sets = [(name, PhotoSet(arguments.photos / name)) for name in SETS]
    encoders = [TextEncoder(*pair) for pair in zip(arguments.text, arguments.tokenizer, strict=True)]
    reference = None
    print("set        zero-shot" + "".join(f"  {n:>2} shots" for n in SHOTS) + "  cosine to the first (mean, least)")
    for path in arguments.image:
        print(path)
        session = image_session(path)
        rows = {name: features(session, photos.inputs) for name, photos in sets}
        reference = reference or rows
        for name, photos in sets:
            zero = [zero_shot(rows[name], photos.labels, text_weights(e, photos.names)) for e in encoders]
            shots = [nearest_mean(rows[name], photos.labels, n) for n in SHOTS]
            cells = "".join("        –" if s is None else f"{s:9.1f}" for s in shots)
            cosine = (rows[name] * reference[name]).sum(axis=1)
            print(f"{name:9}  {' / '.join(f'{z:.1f}' for z in zero):>9}{cells}  {cosine.mean():.4f} {cosine.min():.4f}")


if __name__ == "__main__":
    main()
