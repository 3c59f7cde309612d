"""Writes what ONNX Runtime and Pillow answer, for tests: usage: reference.py WORK PHOTOS OUT

OUT/photos.json       size, and sha256 of the RGB pixels as Pillow decodes them, in row order
OUT/image_int8.npy    [photos, 512] features of starter/image.onnx as it stands
OUT/image_f32.npy     of starter-f32/image.onnx
OUT/texts.json        texts, and their token ids in starter
OUT/text_small.npy    [texts, 512], of the small text encoder in starter
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from tokenizers import Tokenizer

import preprocess
from accuracy import features, image_session
from sentence_encoder import TextEncoder
from space import TEMPLATES, sha256

TEXTS = [template.format(name) for name in (
    "cat", "cup of coffee", "rocket", "astronaut", "cardboard box", "my blue mug", "Phillips screwdriver",
) for template in TEMPLATES] + [
    "a close-up photo of a rusty pipe wrench.", "T-shirt", "naïve café", "ESP32 dev board", "x", "",
]


def write_images(work, photos, out):
    files = sorted(path for path in photos.iterdir() if path.suffix in (".jpg", ".png"))
    listed, inputs = [], []
    for path in files:
        image = Image.open(path).convert("RGB")
        listed.append({"file": path.name, "size": image.size, "rgb_sha256": sha256(image.tobytes())})
        inputs.append(preprocess.pixels(image))
    (out / "photos.json").write_text(json.dumps(listed, indent=1) + "\n")
    int8, f32 = (work / name / "image.onnx" for name in ("starter", "starter-f32"))
    for name, graph in (("int8", int8), ("f32", f32)):
        np.save(out / f"image_{name}.npy", features(image_session(graph), np.stack(inputs), batch=1))


def write_texts(work, out):
    graph, tokenizer = work / "starter/text.onnx", work / "starter/tokenizer.json"
    np.save(out / "text_small.npy", TextEncoder(graph, tokenizer)(TEXTS, batch=1))
    ids = [e.ids for e in Tokenizer.from_file(str(tokenizer)).encode_batch(TEXTS)]
    listed = {"texts": TEXTS, "small_ids": ids}
    (out / "texts.json").write_text(json.dumps(listed, indent=1, ensure_ascii=False) + "\n", encoding="utf8")


if __name__ == "__main__":
    work, photos, out = map(Path, sys.argv[1:])
    out.mkdir(parents=True, exist_ok=True)
    write_images(work, photos, out)
    write_texts(work, out)
