"""Pillow's answers, for tests and benches to be held against.

Needs pillow==11.3.0 (13 changed the order of the resize passes) and numpy.

  golden FILE      writes the small records that are committed as tests/golden/preprocess.bin
  photos FOLDER    streams a record for every photo below FOLDER, with resized results
  decode FOLDER    the same without results, and generated files of many layouts in front
  time             answers each line on stdin "width height shortest crop" with a line of
                   nanoseconds: resize and crop to RGB bytes, the same with numpy's normalising

A record is a line of JSON and the bytes that it announces: the file, its RGB pixels as Pillow
decodes them, and each result. A result is RGB bytes, or [3, h, w] little-endian floats where
"tensor" is true. "exact" says that decoding involves no choice of the decoder.
"""

import io
import json
import random
import sys
import time
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageOps

MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
CLIP = {"shortest": 256, "crop": [224, 224], "filter": "bicubic"}
ROTATING = [
    {"shortest": 224, "crop": [224, 224], "filter": "bicubic"},
    {"width": 224, "height": 224, "filter": "bicubic"},
    {"shortest": 256, "crop": [224, 224], "filter": "bilinear"},
    {"width": 31, "height": 397, "filter": "bicubic"},
    {"width": 401, "height": 299, "filter": "bicubic"},
    {"shortest": 64, "crop": [63, 61], "filter": "bilinear", "tensor": True},
    {"width": 1, "height": 57, "filter": "bicubic"},
    {"width": 333, "height": 1, "filter": "bilinear"},
    {"shortest": 336, "crop": [336, 336], "filter": "bicubic", "tensor": True},
    {"shortest": 17, "crop": [13, 16], "filter": "bicubic"},
]


def to_rgb(image):
    """Upright RGB: alpha laid on white, 16-bit grey by its high byte."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def resized(image, want):
    """The picture after resize and crop, by Hugging Face's rules for CLIP."""
    if "shortest" in want:
        width, height = image.size
        short, long = sorted((width, height))
        other = int(want["shortest"] * long / short)
        size = (want["shortest"], other) if width <= height else (other, want["shortest"])
    else:
        size = (want["width"], want["height"])
    image = image.resize(size, FILTERS[want["filter"]])
    if "crop" in want:
        width, height = want["crop"]
        left, top = (image.width - width) // 2, (image.height - height) // 2
        image = image.crop((left, top, left + width, top + height))
    return image


def normalised(image):
    levels = np.asarray(image).astype(np.float32) / np.float32(255)
    return np.ascontiguousarray(((levels - MEAN) / STD).transpose(2, 0, 1))


def result(image, want):
    image = resized(image, want)
    return normalised(image).astype("<f4").tobytes() if want.get("tensor") else image.tobytes()


def write(out, name, data, wants, exact=True):
    image = Image.open(io.BytesIO(data))
    rgb = to_rgb(image)
    results = [result(rgb, want) for want in wants]
    head = {
        "name": name,
        "file": len(data),
        "width": rgb.width,
        "height": rgb.height,
        "exact": exact,
        "results": [want | {"len": len(got)} for want, got in zip(wants, results)],
    }
    out.write(json.dumps(head).encode() + b"\n")
    out.write(data)
    out.write(rgb.tobytes())
    for got in results:
        out.write(got)


def scene(width, height, seed):
    """A picture with slopes, hard edges and noise, the same every time."""
    draw = random.Random(seed)
    y, x = np.mgrid[0:height, 0:width]
    slopes = [(x * draw.randint(1, 9) + y * draw.randint(1, 9)) % 256 for _ in range(3)]
    pixels = np.stack(slopes, -1)
    noise = np.array([draw.randint(0, 255) for _ in range(width * height)]).reshape(height, width)
    pixels[(x // 5 + y // 4) % 3 == 0] = draw.choice([0, 255])
    return np.where((x + y)[..., None] % 4 == 0, noise[..., None], pixels).astype(np.uint8)


def saved(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def png16(levels, colour):
    """A 16-bit PNG by hand: Pillow writes only grey ones. Levels are [h, w, channels]."""
    import struct
    import zlib

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = levels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    head = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    chunks = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def layouts(width, height):
    """Generated files: name, bytes, whether decoding is without choice."""
    rgb = Image.fromarray(scene(width, height, 1))
    grey, alpha = rgb.convert("L"), Image.fromarray(scene(width, height, 2)[..., 0])
    rgba, la = rgb.copy(), grey.copy()
    rgba.putalpha(alpha)
    la.putalpha(alpha)
    palette = rgb.quantize(60)
    see_through = bytes(range(0, 240, 4))
    deep = np.random.default_rng(3).integers(0, 65536, (height, width, 4), np.uint16)
    for kind, image in [("rgb", rgb), ("rgba", rgba), ("grey", grey), ("grey_alpha", la), ("palette", palette)]:
        yield f"{kind}.png", saved(image, "PNG"), True
    yield "bits1.png", saved(grey.convert("1"), "PNG"), True
    yield "bits2.png", saved(rgb.quantize(4), "PNG", bits=2), True
    yield "bits4.png", saved(rgb.quantize(16), "PNG", bits=4), True
    yield "palette_alpha.png", saved(palette, "PNG", transparency=see_through), True
    yield "colour_key.png", saved(rgb, "PNG", transparency=rgb.getpixel((0, 0))), True
    yield "grey_key.png", saved(grey, "PNG", transparency=grey.getpixel((0, 0))), True
    for colour, channels, kind in [(0, 1, "grey"), (2, 3, "rgb"), (4, 2, "grey_alpha"), (6, 4, "rgba")]:
        yield f"{kind}16.png", png16(deep[..., :channels], colour), True
    for orientation in range(1, 9):
        options = {"exif": turned(orientation)}
        yield f"turned{orientation}.png", saved(rgb, "PNG", **options), True
        yield f"turned{orientation}.webp", saved(rgb, "WEBP", lossless=True, **options), True
        yield f"turned{orientation}.jpg", saved(rgb, "JPEG", quality=95, subsampling=0, **options), False
    for kind, image in [("rgb", rgb), ("grey", grey), ("palette", palette), ("bits1", grey.convert("1"))]:
        yield f"{kind}.bmp", saved(image, "BMP"), True
    yield "rgba.webp", saved(rgba, "WEBP", lossless=True, exact=True), True
    yield "lossy.webp", saved(rgb, "WEBP", quality=90), False
    yield "lossy_alpha.webp", saved(rgba, "WEBP", quality=90), False
    yield "chroma420.jpg", saved(rgb, "JPEG", quality=90, subsampling=2), False
    yield "progressive.jpg", saved(rgb, "JPEG", quality=90, progressive=True), False
    yield "grey.jpg", saved(grey, "JPEG", quality=90), False
    yield "rgb.jpg", saved(rgb, "JPEG", quality=90, keep_rgb=True), False
    cmyk = saved(rgb.convert("CMYK"), "JPEG", quality=95)
    yield "cmyk.jpg", cmyk, False
    # The last byte of the Adobe segment says how the four channels are coded.
    at = cmyk.index(b"Adobe") + 11
    yield "ycck.jpg", cmyk[:at] + b"\2" + cmyk[at + 1:], False


def golden(path):
    shapes = [(1, 1), (1, 40), (40, 1), (3, 2), (37, 53), (64, 48), (90, 11), (7, 97), (71, 45)]
    sizes = [(1, 1), (1, 9), (13, 1), (37, 53), (16, 16), (29, 71), (64, 20)]
    with open(path, "wb") as out:
        for name, data, exact in layouts(13, 9):
            write(out, name, data, [], exact)
        for i, (width, height) in enumerate(shapes):
            wants = [
                {"width": w, "height": h, "filter": list(FILTERS)[(i + j) % 2]}
                for j, (w, h) in enumerate(sizes)
            ]
            wants += [
                {"shortest": 24, "crop": [20, 23], "filter": "bicubic", "tensor": i == 5},
                {"shortest": 11, "crop": [11, 7], "filter": "bilinear"},
            ]
            picture = Image.fromarray(scene(width, height, i))
            write(out, f"scene{i}.png", saved(picture, "PNG"), wants)


def stream(folder, with_results):
    out = sys.stdout.buffer
    if not with_results:
        for name, data, exact in layouts(61, 47):
            write(out, name, data, [], exact)
    for i, path in enumerate(sorted(Path(folder).rglob("*"))):
        if path.suffix.lower() not in {".jpg", ".png", ".bmp", ".webp", ".gif", ".tiff"}:
            continue
        data = path.read_bytes()
        wants = [CLIP, ROTATING[i % len(ROTATING)]] if with_results else []
        try:
            Image.open(io.BytesIO(data)).load()
        except OSError:
            continue
        write(out, str(path.relative_to(folder)), data, wants, path.suffix in {".png", ".bmp"})


def clock(work):
    start = time.perf_counter_ns()
    work()
    return time.perf_counter_ns() - start


def answer_times():
    pictures = {}
    for line in sys.stdin:
        width, height, shortest, crop = map(int, line.split())
        want = {"shortest": shortest, "crop": [crop, crop], "filter": "bicubic"}
        if (width, height) not in pictures:
            noise = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
            pictures[width, height] = Image.fromarray(noise)
        picture = pictures[width, height]
        plain = clock(lambda: resized(picture, want).tobytes())
        print(plain, clock(lambda: normalised(resized(picture, want))), flush=True)


def main():
    if PIL.__version__ != "11.3.0":
        sys.exit(f"pillow {PIL.__version__} found, 11.3.0 expected: pip install pillow==11.3.0")
    match sys.argv[1:]:
        case ["golden", path]:
            golden(path)
        case ["photos", folder]:
            stream(folder, True)
        case ["decode", folder]:
            stream(folder, False)
        case ["time"]:
            answer_times()
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
