"""A photo to the encoder's input, as the manifest of the bundle says it: Pillow's pixels."""

import numpy as np
from PIL import Image

RESIZE_SIDE, CROP_SIDE = 256, 224
# The weights were trained on (x - 127) / 128, x from 0 to 255.
MEAN, STD = 127 / 255, 128 / 255


def resized_and_cropped(image):
    """Shortest side to 256 (the other truncated, as Hugging Face's CLIP does), centre 224."""
    image = image.convert("RGB")
    width, height = image.size
    if width <= height:
        size = (RESIZE_SIDE, int(RESIZE_SIDE * height / width))
    else:
        size = (int(RESIZE_SIDE * width / height), RESIZE_SIDE)
    image = image.resize(size, Image.Resampling.BICUBIC)
    left, top = (size[0] - CROP_SIDE) // 2, (size[1] - CROP_SIDE) // 2
    return image.crop((left, top, left + CROP_SIDE, top + CROP_SIDE))


def pixels(image):
    """A Pillow image to float32 [3, 224, 224]."""
    values = np.asarray(resized_and_cropped(image), np.float32) / np.float32(255)
    return ((values - np.float32(MEAN)) / np.float32(STD)).transpose(2, 0, 1)


def load(path):
    with Image.open(path) as image:
        return pixels(image)
