"""Shapes of the models that are made: the true ones of published CLIPs, and small ones of the same build."""
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Vision:
    """A vision transformer, or a trunk of another kind with `width` channels at its end."""

    size: int
    patch: int
    width: int
    layers: int
    heads: int
    act: str = "quick_gelu"
    eps: float = 1e-5
    mlp_ratio: int = 4

    @property
    def grid(self):
        return self.size // self.patch


@dataclass(frozen=True)
class Text:
    """A text transformer; `eos` as config.json has it, where 2 stands for the largest id (CLIP's old way)."""

    vocab: int
    tokens: int
    width: int
    layers: int
    heads: int
    act: str = "quick_gelu"
    eps: float = 1e-5
    eos: int = 2
    mlp_ratio: int = 4


@dataclass(frozen=True)
class Model:
    name: str
    family: str  # clip, siglip, resnet, mobileclip
    vision: Vision
    text: Text
    dim: int  # width of the features of both towers
    seed: int = 1
    outliers: int = 0  # residual channels that are made 100 times as strong as the rest


SMALL_VOCAB = 1000  # tokens of the small byte-pair vocabulary, start and end included
CLIP_VOCAB = 49408

_SMALL_TEXT = Text(SMALL_VOCAB, 77, 48, 2, 4)
_B32_TEXT = Text(CLIP_VOCAB, 77, 512, 12, 8)

SMALL = {
    # 64 px and 16 px patches keep one photo at 17 tokens; widths differ so that no transposition goes unseen
    "clip-small": Model("clip-small", "clip", Vision(64, 16, 64, 2, 2), _SMALL_TEXT, 40),
    "clip-gelu-small": Model(
        "clip-gelu-small", "clip", Vision(224, 32, 64, 2, 2, act="gelu"),
        replace(_SMALL_TEXT, act="gelu", eos=SMALL_VOCAB - 1), 40, seed=2),
    "outliers-small": Model("outliers-small", "clip", Vision(64, 16, 256, 4, 4), _SMALL_TEXT, 128, seed=3, outliers=4),
    "siglip-small": Model(
        "siglip-small", "siglip", Vision(64, 16, 64, 2, 2, act="gelu_pytorch_tanh", eps=1e-6),
        Text(SMALL_VOCAB, 16, 64, 2, 4, act="gelu_pytorch_tanh", eps=1e-6, eos=1), 64, seed=4),
    "rn-small": Model("rn-small", "resnet", Vision(64, 32, 8, 4, 4), _SMALL_TEXT, 40, seed=5),
    "mobileclip-small": Model("mobileclip-small", "mobileclip", Vision(64, 32, 16, 4, 4, act="gelu"),
                              replace(_SMALL_TEXT, act="gelu"), 40, seed=6),
}

FULL = {
    "vit-b32": Model("vit-b32", "clip", Vision(224, 32, 768, 12, 12), _B32_TEXT, 512, seed=11),
    "tinyclip-8m": Model("tinyclip-8m", "clip", Vision(224, 16, 256, 10, 4),
                         Text(CLIP_VOCAB, 77, 256, 3, 4), 512, seed=12),
    "rn50": Model("rn50", "resnet", Vision(224, 32, 64, 4, 32), _B32_TEXT, 1024, seed=13),
    "mobileclip-s0": Model("mobileclip-s0", "mobileclip", Vision(256, 32, 64, 4, 16, act="gelu"),
                           replace(_B32_TEXT, layers=4, act="gelu"), 512, seed=14),
    "siglip-b16": Model("siglip-b16", "siglip", Vision(224, 16, 768, 12, 12, act="gelu_pytorch_tanh", eps=1e-6),
                        Text(32000, 64, 768, 12, 12, act="gelu_pytorch_tanh", eps=1e-6, eos=1), 768, seed=15),
}

ALL = {**SMALL, **FULL}
