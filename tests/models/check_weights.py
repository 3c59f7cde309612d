"""Imports models in safetensors and compares both towers with numpy: usage: check_weights.py PROGRAM FOLDER [--full]

Makes the folders (folders.py): CLIPModel in f32, f16, bf16 and in shards, with both activations and both
ways of telling the end token, open_clip's names, SigLIP, and a model with strong outlier channels;
with --full also ViT-B/32, TinyCLIP-8M/16 and SigLIP-B/16 by their true sizes. The reference (reference.py)
is float64 numpy on the same weights, on pixels that Pillow prepared and on ids of Python's tokenizers.
Exit status 1 if a value of a unit feature is off by more than 1e-4, or an int8 bundle by a cosine of 0.999.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import tokenizers
from PIL import Image

import check
import folders
import reference
import specs
import tokenizer

NAMES = ["cat", "red mug", "a cup of coffee", "Workbench!", "naïve screwdriver", "x" * 200]
MOST_OFF = 1e-4


def pixels(path, config):
    """A picture as the folder's preprocessor_config.json asks for it; open_clip's is CLIP's own."""
    side = config["size"] if isinstance(config["size"], int) else config["size"].get("shortest_edge", config["size"].get("height"))
    image = Image.open(path)
    if config.get("do_center_crop"):
        width, height = image.size
        size = (side, int(side * height / width)) if width < height else (int(side * width / height), side)
        image = image.resize(size, Image.BICUBIC)
        left, top = (size[0] - side) // 2, (size[1] - side) // 2
        image = image.crop((left, top, left + side, top + side))
    else:
        image = image.resize((side, side), Image.BICUBIC)
    values = np.asarray(image, np.float64) / 255
    return ((values - config["image_mean"]) / config["image_std"]).transpose(2, 0, 1)[None]


def preprocessing(folder):
    path = folder / "preprocessor_config.json"
    if path.exists():
        return json.loads(path.read_text())
    config = json.loads((folder / "open_clip_config.json").read_text())
    side = config["model_cfg"]["vision_cfg"]["image_size"]
    return {"size": side, "do_center_crop": True, "image_mean": config["preprocess_cfg"]["mean"], "image_std": config["preprocess_cfg"]["std"]}


def token_ids(folder, texts):
    """Full rows: cut with the end token kept, filled with the end token, which is SigLIP's padding too."""
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    length = json.loads((folder / "tokenizer_config.json").read_text())["model_max_length"]
    tokenizer.enable_truncation(length)
    rows = [tokenizer.encode(text).ids for text in texts]
    return np.array([row + [row[-1]] * (length - len(row)) for row in rows])


def clip_size(folder):
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def main():
    program, root = sys.argv[1], Path(sys.argv[2])
    folders.small(root, specs.ALL)
    if "--full" in sys.argv:
        tokenizer.WHEEL_FILE = check.HERE.parent.parent / "target/tokens/open_clip/bpe_simple_vocab_16e6.txt.gz"
        if not tokenizer.WHEEL_FILE.exists():
            sys.exit("the true sizes need CLIP's vocabulary: run `make tokens` first")
        folders.full(root, specs.ALL)
    failed = []
    print(f"{'model':24} {'image':>10} {'text':>10} {'int8 cosine':>12}   largest difference of a unit feature")
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        paths = check.pictures(scratch, 8)
        labels = scratch / "names.txt"
        labels.write_text("\n".join(NAMES) + "\n")

        def run(*words):
            done = subprocess.run([program, *words], capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{' '.join(map(str, words))}: {done.stderr}")

        for folder in sorted(p for p in root.iterdir() if (p / "reference").is_dir()):
            bundle, rows = scratch / "x.ecmodel", scratch / "rows.npy"
            large = clip_size(folder) > 1 << 28
            clip = reference.Clip(folder, np.float32 if large else np.float64)
            run("model", "import", folder, "-o", bundle)
            run("embed", "--model", bundle, "-o", rows, *paths)
            config = preprocessing(folder)
            image = unit(clip.images(np.concatenate([pixels(path, config) for path in paths])))
            of_image = np.abs(np.load(rows) - image).max()
            run("embed", "--model", bundle, "-o", rows, "--labels-file", labels, "--prompts", "plain")
            of_text = np.abs(np.load(rows) - unit(clip.texts(token_ids(folder, NAMES)))).max()
            run("model", "import", folder, "-o", bundle, "--quantize", "int8", "--calibrate", scratch)
            run("embed", "--model", bundle, "-o", rows, *paths)
            cosines = (np.load(rows) * image).sum(axis=1)
            holds = of_image <= MOST_OFF and of_text <= MOST_OFF and cosines.mean() >= check.ROUNDED
            if not holds:
                failed.append(folder.name)
            print(f"{folder.name:24} {of_image:10.1e} {of_text:10.1e} {cosines.mean():12.6f} {'' if holds else '  OFF'}", flush=True)
    if failed:
        sys.exit(f"off: {', '.join(failed)}")


if __name__ == "__main__":
    main()
