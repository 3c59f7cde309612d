"""Seeded pictures: for all the same pixels, edgeclip gets the bytes, the others ready tensors."""

import numpy as np

# The starter keeps the middle of 256, CLIP takes 224: neither resizes.
SIDES = {"vitb32": 224, "tinyclip8m": 224, "starter": 256}
SIDE = 224
SHOWN, SEED = 8, 0
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
SPREADS = {"starter": ((127 / 255,) * 3, (128 / 255,) * 3)}  # mean and spread of each colour


def pictures(n, seed, side):
    """n smooth, colourful pictures, uint8 [n, side, side, 3]: blobs, gratings, some noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    out = np.empty((n, side, side, 3), np.uint8)
    for i in range(n):
        picture = np.broadcast_to(rng.uniform(0.1, 0.9, (3, 1, 1)), (3, side, side))
        for _ in range(6):
            across, down, radius = rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(0.05, 0.35)
            blob = np.exp(-(((x - across) ** 2 + (y - down) ** 2) / radius**2) ** 2)
            picture = picture * (1 - blob) + blob * rng.uniform(0, 1, (3, 1, 1))
        waves, turn = rng.uniform(5, 40), rng.uniform(0, np.pi)
        picture = picture + 0.15 * np.sin(2 * np.pi * waves * (x * np.cos(turn) + y * np.sin(turn)))
        picture = picture + 0.02 * rng.standard_normal(picture.shape)
        out[i] = np.rint(picture.clip(0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
    return out


def tensors(model, rgb):
    """f32 [n, 3, 224, 224] of the middle of each picture, as `model` wants its input."""
    edge = (rgb.shape[1] - SIDE) // 2
    middle = rgb[:, edge : edge + SIDE, edge : edge + SIDE].astype(np.float64) / 255
    mean, spread = SPREADS.get(model, CLIP)
    return np.ascontiguousarray(((middle - mean) / spread).transpose(0, 3, 1, 2), np.float32)


def write(folder):
    """The pictures that all runtimes are shown, as bytes and as the model's tensors."""
    rgb = pictures(SHOWN, SEED, SIDES[folder.name])
    (folder / "pictures-rgb").write_bytes(rgb.tobytes())
    (folder / "pictures-f32").write_bytes(tensors(folder.name, rgb).tobytes())
