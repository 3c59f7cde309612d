"""Measures the program itself on folders of photos: what its users get.

usage: accuracy.py PROGRAM BUNDLE... [--photos FOLDER] [--text-model BUNDLE] [--estimate]

FOLDER (or $EDGECLIP_DATA/photos) holds pets/, clothing/ and trash/, each with a folder per class.
Prints top-1 in percent: zero-shot by the names of models/recipe/label_names.toml, then nearest
mean of 1, 5 and 16 photos a class over 100 draws, tested on all other photos; and the cosine of the
features to those of the first bundle. With --estimate the vocabulary is passed by: every name goes
through the text encoder (the stand-in, or the one of --text-model).
"""

import argparse
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import numpy as np

SETS = ("pets", "clothing", "trash")
SHOTS = (1, 5, 16)
DRAWS = 100
LABELS = Path(__file__).parents[2] / "models/recipe/label_names.toml"


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def embed(program, bundle, arguments, folder):
    """Rows, and what each row is, of one `edgeclip embed`."""
    out = Path(folder) / "rows.npy"
    command = [program, "embed", "--model", bundle, "--quiet", "-o", out, *arguments]
    subprocess.run([str(part) for part in command], check=True)
    return np.load(out).astype(np.float64), Path(f"{out}.txt").read_text().splitlines()


def class_names(folder, classes):
    given = tomllib.loads(LABELS.read_text())[folder.name]
    names = [given["names"].get(c, c.replace("_", " ")) for c in classes]
    return [given.get("form", "{}").format(name) for name in names]


def top1(rows, labels, weights):
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
        right.append(top1(rows[query], labels[query], unit(means)))
    return float(np.mean(right))


def measure(arguments, bundle, reference, scratch):
    for name in SETS:
        folder = arguments.photos / name
        rows, paths = embed(arguments.program, bundle, [folder], scratch)
        classes = sorted({Path(path).parent.name for path in paths})
        labels = np.array([classes.index(Path(path).parent.name) for path in paths])
        names = class_names(folder, classes)
        # A label's own prompts pass the vocabulary by; these are the starter's templates.
        lines = [f"{n} | a photo of a {n}. | {n}" if arguments.estimate else n for n in names]
        labels_file = Path(scratch) / "labels.txt"
        labels_file.write_text("\n".join(lines) + "\n")
        text = ["--text-model", arguments.text_model] if arguments.text_model else []
        weights, _ = embed(arguments.program, bundle, ["--labels-file", labels_file, *text], scratch)
        first = reference.setdefault(name, rows)
        cosine = (rows * first).sum(axis=1)
        cells = [nearest_mean(rows, labels, n) for n in SHOTS]
        cells = "".join("        –" if c is None else f"{c:9.1f}" for c in cells)
        print(f"{name:9} {len(rows):6} {top1(rows, labels, weights):10.1f}{cells}   {cosine.mean():.4f} {cosine.min():.4f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=Path)
    parser.add_argument("bundle", nargs="+", type=Path)
    default = os.environ.get("EDGECLIP_DATA")
    parser.add_argument("--photos", type=Path, default=Path(default, "photos") if default else None)
    parser.add_argument("--text-model", type=Path)
    parser.add_argument("--estimate", action="store_true")
    arguments = parser.parse_args()
    if arguments.photos is None or not arguments.photos.is_dir():
        sys.exit("accuracy: no photos: set EDGECLIP_DATA, or say --photos FOLDER")
    shots = "".join(f"  {n:>2} shots" for n in SHOTS)
    reference = {}
    for bundle in arguments.bundle:
        print(f"{bundle}{' with ' + str(arguments.text_model) if arguments.text_model else ''}")
        print(f"set       photos  zero-shot{shots}   cosine to the first: mean, least")
        with tempfile.TemporaryDirectory() as scratch:
            measure(arguments, bundle, reference, scratch)


if __name__ == "__main__":
    main()
