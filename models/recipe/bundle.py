"""Writes the folders that `edgeclip model import` takes: files and a manifest, bundle.toml."""

import json
import shutil

import numpy as np

import preprocess
from sentence_encoder import MAX_TOKENS
from space import SCORE_SCALE, TEMPLATES

ABOUT = "EfficientNet-Lite0 in the space of a sentence encoder, for trying things out; not CLIP"
WORDNET = ("WordNet 3.0 licence", "LICENSE-WordNet.txt", "names and aliases of the vocabulary")
MODELS = ("Apache License 2.0", "LICENSE-Apache-2.0.txt", "weights of EfficientNet-Lite0 and all-MiniLM-L6-v2")
NOTICE = ("EfficientNet-Lite0 notice", "LICENSE-EfficientNet-Lite.txt", "copyright of the EfficientNet-Lite0 weights")
NAMES = ("MIT License (open_clip)", "LICENSE-open_clip.txt", "names of the ImageNet classes")


def quoted(value):
    """A TOML value; TOML's basic strings, lists and numbers are written as JSON's."""
    return json.dumps(value, ensure_ascii=False)


def manifest(source, image, exact, vocabulary, licences):
    parts = [
        ("", {"name": "starter", "about": ABOUT, "dim": 512, "source": source}),
        ("[preprocess]", {
            "resize": "shortest", "size": [preprocess.RESIZE_SIDE], "filter": "bicubic",
            "crop": [preprocess.CROP_SIDE] * 2, "mean": [preprocess.MEAN] * 3, "std": [preprocess.STD] * 3,
        }),
        ("[score]", {"form": "softmax", "scale": SCORE_SCALE, "bias": 0.0}),
    ]
    if image:
        parts.append(("[image]", {"file": "image.onnx"}))
    parts.append(("[text]", {
        "file": "text.onnx", "tokenizer": "tokenizer.json", "max_tokens": MAX_TOKENS,
        "exact": exact, "templates": list(TEMPLATES),
    }))
    if vocabulary:
        parts.append(("[vocabulary]", {"names": "vocabulary.txt", "vectors": "vocabulary.npy"}))
    parts += [("[[licence]]", dict(zip(("name", "file", "covers"), licence))) for licence in licences]
    return "\n".join(
        "".join([head + "\n" if head else ""] + [f"{key} = {quoted(value)}\n" for key, value in body.items()])
        for head, body in parts
    )


def licence_texts(packages):
    debian = (packages / "debian/usr/share/doc/wordnet-base/copyright").read_text(encoding="utf8")
    wordnet = debian.split("Files: debian/*")[0].split("License: WordNet3.0\n")[1]
    wordnet = "\n".join(line.strip().removeprefix(".").rstrip() for line in wordnet.splitlines()).strip() + "\n"
    open_clip = next(packages.glob("py/open_clip_torch-*.dist-info/licenses/LICENSE")).read_text()
    apache = next(packages.glob("py/timm-*.dist-info/licenses/LICENSE")).read_text()
    notice = next(packages.glob("py/efficientnet_lite0*.dist-info/LICENSE")).read_text()
    return {WORDNET[1]: wordnet, MODELS[1]: apache, NAMES[1]: open_clip, NOTICE[1]: notice}


def write(folder, packages, source, text, tokenizer, exact, image=None, vocabulary=None, vectors=None):
    """Builds the folder beside its place and moves it there whole."""
    fresh = folder.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    shutil.copy(text, fresh / "text.onnx")
    shutil.copy(tokenizer, fresh / "tokenizer.json")
    licences = [MODELS, NAMES]
    if image:
        licences.append(NOTICE)
        shutil.copy(image, fresh / "image.onnx")
    if vocabulary:
        licences.append(WORDNET)
        (fresh / "vocabulary.txt").write_text(vocabulary, encoding="utf8")
        np.save(fresh / "vocabulary.npy", vectors.astype(np.float32))
    texts = licence_texts(packages)
    for _, file, _ in licences:
        (fresh / file).write_text(texts[file], encoding="utf8")
    (fresh / "bundle.toml").write_text(manifest(source, image, exact, vocabulary, licences), encoding="utf8")
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
