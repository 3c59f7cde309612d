"""Pictures from which the ranges of the int8 encoder are read: none of them is measured on.

Photographed cut-outs (tuxpaint's stamps) are laid on backgrounds of noise, gradients, textures and
blur, with random place, size, turn, light, grain and JPEG loss. Every fifth stamp is kept for
`held_out_scenes`, on which quantization is compared; no stamp is in both.
"""

import io

import numpy as np
from PIL import Image, ImageFilter

import preprocess

SCENE_SIDE = 320
CALIBRATION_SEED, CALIBRATION_COUNT = 11, 256
HELD_OUT_SEED, HELD_OUT_COUNT = 12, 128
DRAWN = ("cartoon", "symbols", "seasonal", "roadsigns", "flags", "faces", "people", "text")
TEXTURES = ("brick", "grass", "gravel", "coins", "page", "moon")


def stamp_files(packages):
    """Photographed stamps only; drawings stand in folders that say so."""
    folder = packages / "debian/usr/share/tuxpaint/stamps"
    files = sorted(folder.rglob("*.png"))
    return [f for f in files if not any(word in str(f.relative_to(folder)) for word in DRAWN)]


class Scenes:
    def __init__(self, stamps, textures, seed):
        self.stamps = stamps
        self.textures = textures
        self.rng = np.random.default_rng(seed)

    def colour(self):
        return self.rng.uniform(0, 255, 3)

    def noise(self):
        """Smooth random colour at a random coarseness."""
        cells = int(self.rng.integers(2, 40))
        small = self.rng.uniform(0, 255, (cells, cells, 3)) * self.rng.uniform(0.2, 1)
        image = Image.fromarray(small.astype(np.uint8))
        return image.resize((SCENE_SIDE, SCENE_SIDE), Image.Resampling.BICUBIC)

    def gradient(self):
        across = np.linspace(0, 1, SCENE_SIDE)[None, :, None]
        values = self.colour() * across + self.colour() * (1 - across)
        image = Image.fromarray(np.broadcast_to(values, (SCENE_SIDE, SCENE_SIDE, 3)).astype(np.uint8))
        return image.rotate(90 * int(self.rng.integers(4)))

    def texture(self):
        """A random window of a grey texture, tinted."""
        source = self.textures[self.rng.integers(len(self.textures))]
        side = int(self.rng.integers(64, min(source.size) + 1))
        left, top = (int(self.rng.integers(0, extent - side + 1)) for extent in source.size)
        image = source.crop((left, top, left + side, top + side)).resize((SCENE_SIDE, SCENE_SIDE))
        values = np.asarray(image, np.float64)[:, :, None] / 255
        tint, shade = self.colour(), self.colour() * 0.3
        return Image.fromarray((shade + values * np.maximum(tint - shade, 0)).astype(np.uint8))

    def blur(self):
        """Stamps out of focus, as a cluttered room behind the thing."""
        scene = self.noise()
        for _ in range(5):
            self.paste(scene)
        return scene.filter(ImageFilter.GaussianBlur(self.rng.uniform(3, 12)))

    def paste(self, scene, least=0.2, most=1.2):
        stamp = self.stamps[self.rng.integers(len(self.stamps))]
        scale = SCENE_SIDE * self.rng.uniform(least, most) / max(stamp.size)
        stamp = stamp.resize([max(8, int(extent * scale)) for extent in stamp.size])
        stamp = stamp.rotate(self.rng.normal(0, 15), Image.Resampling.BICUBIC, expand=True)
        if self.rng.random() < 0.5:
            stamp = stamp.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        place = [int(self.rng.uniform(0.2, 0.8) * SCENE_SIDE - extent / 2) for extent in stamp.size]
        scene.paste(stamp, place, stamp.getchannel("A"))

    def camera(self, scene):
        """Light, white balance, grain and JPEG loss."""
        values = np.asarray(scene, np.float64) / 255
        values = values ** self.rng.uniform(0.6, 1.6) * self.rng.uniform(0.6, 1.15)
        values = values * self.rng.normal(1, 0.06, 3) + self.rng.normal(0, self.rng.uniform(0, 0.05), values.shape)
        image = Image.fromarray((values.clip(0, 1) * 255).astype(np.uint8))
        if self.rng.random() < 0.3:
            image = image.filter(ImageFilter.GaussianBlur(self.rng.uniform(0, 2)))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(self.rng.integers(40, 96)))
        return Image.open(file)

    def one(self):
        kinds = (self.noise, self.gradient, self.texture, self.blur)
        scene = kinds[self.rng.integers(len(kinds))]()
        for _ in range(self.rng.integers(1, 4)):
            self.paste(scene, 0.4)
        return self.camera(scene)

    def inputs(self, count):
        return np.stack([preprocess.pixels(self.one()) for _ in range(count)])


def scenes(packages, held_out, seed):
    files = [f for i, f in enumerate(stamp_files(packages)) if (i % 5 == 0) == held_out]
    stamps = [Image.open(f).convert("RGBA") for f in files]
    textures = [Image.open(packages / f"py/skimage/data/{name}.png").convert("L") for name in TEXTURES]
    return Scenes(stamps, textures, seed)


def calibration_scenes(packages):
    return scenes(packages, False, CALIBRATION_SEED).inputs(CALIBRATION_COUNT)


def held_out_scenes(packages):
    return scenes(packages, True, HELD_OUT_SEED).inputs(HELD_OUT_COUNT)


def settings():
    """What the scenes depend on, for telling whether they must be made again."""
    return [SCENE_SIDE, DRAWN, TEXTURES, CALIBRATION_SEED, CALIBRATION_COUNT, HELD_OUT_SEED, HELD_OUT_COUNT]
