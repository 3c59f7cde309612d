"""Writes examples/photos from scikit-image's sample photos: usage: example_photos.py WORK FOLDER

None of them is calibrated on (see TEXTURES in calibration.py).
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


def main(work, folder):
    for target, source in PHOTOS.items():
        image = Image.open(work / "packages/py/skimage/data" / source)
        image.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
        image.save(folder / target, **({"quality": QUALITY} if target.endswith("jpg") else {"optimize": True}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
