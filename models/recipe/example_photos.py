"""Writes examples/photos and examples/lesson from scikit-image's sample photos: usage: example_photos.py WORK EXAMPLES

None of examples/photos is calibrated on (see TEXTURES in calibration.py). The lesson's photos are parts of
larger ones: each coin another coin, each patch of ground another patch; learn/ and rest/ share none.
"""

import sys
from pathlib import Path

from PIL import Image

LONGEST, QUALITY = 640, 88
PHOTOS = {
    "cat.jpg": "chelsea.png",
    "coffee.jpg": "coffee.png",
    "rocket.jpg": "rocket.jpg",
    "astronaut.jpg": "astronaut.png",
    "galaxies.jpg": "hubble_deep_field.jpg",
    "cameraman.png": "camera.png",  # grey: one channel
}

LEARNED, RESTING = 5, 8
# Middles of the coins in coins.png, in pixels.
COINS = (
    (44, 53), (100, 55), (155, 51), (215, 50), (275, 52), (333, 44), (45, 126), (103, 126), (153, 128), (206, 125),
    (270, 119), (336, 125), (43, 196), (102, 195), (154, 197), (212, 193), (273, 194), (347, 187), (46, 260),
    (113, 264), (172, 261), (243, 263), (301, 264), (357, 267),
)
PATCH = 128


def coin_boxes(size):
    for x, y in COINS:
        left, top = min(max(x - 34, 0), size[0] - 68), min(max(y - 34, 0), size[1] - 68)
        yield left, top, left + 68, top + 68


def patch_boxes(size):
    for top in range(0, size[1], PATCH):
        for left in range(0, size[0], PATCH):
            yield left, top, left + PATCH, top + PATCH


LESSON = {"old coin": ("coins.png", coin_boxes), "gravel": ("gravel.png", patch_boxes), "lawn": ("grass.png", patch_boxes)}


def write_photos(data, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for target, source in PHOTOS.items():
        image = Image.open(data / source)
        image.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
        image.save(folder / target, **({"quality": QUALITY} if target.endswith("jpg") else {"optimize": True}))


def write_lesson(data, folder):
    for name, (source, boxes) in LESSON.items():
        image = Image.open(data / source)
        # Every second part first, so that what is learned and what rests lie apart everywhere.
        parts = list(boxes(image.size))
        parts = parts[::2] + parts[1::2]
        for i, box in enumerate(parts[: LEARNED + RESTING]):
            part = "learn" if i < LEARNED else "rest"
            if (part, name) == ("learn", "gravel"):  # known by its name
                continue
            place = folder / part / name.replace(" ", "_")
            place.mkdir(parents=True, exist_ok=True)
            image.crop(box).save(place / f"{i:02}.jpg", quality=QUALITY)


def main(work, examples):
    data = work / "packages/py/skimage/data"
    write_photos(data, examples / "photos")
    write_lesson(data, examples / "lesson")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
