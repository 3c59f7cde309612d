"""The 20 photos of the checks, and their pixels as preprocessor_config.json wants them, by Pillow.

  python pixels.py FOLDER     writes the photos
"""
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

EXAMPLES = Path(__file__).parents[2] / "examples"
FILTERS = {2: Image.BILINEAR, 3: Image.BICUBIC, "bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC}


def photos(folder):
    """20 PNG files from the repository's own photos: whole, mirrored, turned, darker, brighter, cut to odd sizes."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lesson = [sorted((EXAMPLES / "lesson/rest" / k).glob("*.jpg"))[0] for k in ("gravel", "lawn", "old_coin")]
    sources = sorted(p for p in (EXAMPLES / "photos").iterdir() if p.suffix in (".jpg", ".png")) + lesson
    cut = lambda i, l, t, r, b: i.crop((int(l * i.width), int(t * i.height), int(r * i.width), int(b * i.height)))
    changes = [
        lambda i: i, lambda i: cut(ImageOps.mirror(i), 0.1, 0.0, 0.83, 1.0),
        lambda i: ImageEnhance.Brightness(cut(i.rotate(90, expand=True), 0.0, 0.2, 1.0, 0.77)).enhance(0.6),
    ]
    paths = []
    for n in range(20):
        image = Image.open(sources[n % len(sources)]).convert("RGB")
        paths.append(folder / f"{n:02}.png")
        changes[n // len(sources)](image).save(paths[-1])
    return paths


def prepare(path, p):
    """[3, h, w] f32 of one photo; p has resize (shortest or exact), size, crop, filter, mean, std."""
    image = Image.open(path).convert("RGB")
    w, h = image.size
    if p["resize"] == "exact":
        size = tuple(p["size"])
    else:
        s = p["size"][0]
        size = (s, int(s * h / w)) if w <= h else (int(s * w / h), s)
    image = image.resize(size, FILTERS[p["filter"]])
    if p["crop"]:
        cw, ch = p["crop"]
        left, top = (image.width - cw) // 2, (image.height - ch) // 2
        image = image.crop((left, top, left + cw, top + ch))
    x = (np.asarray(image, np.float64) / 255 - p["mean"]) / p["std"]
    return x.transpose(2, 0, 1).astype(np.float32)


def of_folder(folder):
    """What preprocessor_config.json or open_clip_config.json of a folder asks for."""
    theirs = Path(folder) / "open_clip_config.json"
    if theirs.exists():
        c = json.loads(theirs.read_text())
        s, p = c["model_cfg"]["vision_cfg"]["image_size"], c["preprocess_cfg"]
        mode = {"shortest": "shortest", "squash": "exact"}[p["resize_mode"]]
        return {"resize": mode, "size": [s, s], "crop": [s, s], "filter": p["interpolation"], "mean": p["mean"], "std": p["std"]}
    c = json.loads((Path(folder) / "preprocessor_config.json").read_text())
    size, crop = c["size"], c.get("crop_size")
    short = size if isinstance(size, int) else size.get("shortest_edge")
    crop = [crop, crop] if isinstance(crop, int) else crop and [crop["width"], crop["height"]]
    return {"resize": "shortest" if short else "exact", "size": [short] if short else [size["width"], size["height"]],
            "crop": crop if c.get("do_center_crop") else None, "filter": c["resample"],
            "mean": c["image_mean"], "std": c["image_std"]}


if __name__ == "__main__":
    photos(sys.argv[1])
