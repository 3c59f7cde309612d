"""The starter's shared space: 128 + 384 = 512 numbers, fitted from weights and words alone.

No photo is used. An image has two parts, and so has a text:

    image = [ named_share * unit(softmax(logits / image_temperature) @ class_names_low)
              looks_share * unit(feature @ looks) ]
    text  = unit[ text_named_share * unit(q @ directions)
                  text_looks_share * unit(softmax(q @ class_names.T / text_temperature) @ class_looks) ]
    q     = unit(sentence - sentence_mean)

The first part compares words with words: an image is the blend of the names of the ImageNet
classes that it resembles. The second compares looks with looks: a text is the blend of the
classifier rows of the ImageNet classes that it is named like, which is a guess at the classifier
row of a class of that name.
"""

import hashlib
import json
import math
import re
from dataclasses import dataclass

import numpy as np

FORM = 1  # count up whenever the formulas change
NAMED_WIDTH, LOOKS_WIDTH = 128, 384
IMAGE_TEMPERATURE = 1.5
TEXT_TEMPERATURE = 0.06
NAMED_SHARE = 0.3  # of the length of an image feature
TEXT_BALANCE = 0.5  # 0.5: both parts weigh alike in a score
SCORE_SCALE = 15.0
TEMPLATES = ("a photo of a {}.", "{}")


def unit(x):
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-9)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def imagenet_names(packages):
    """The 1,000 ImageNet classes: readable names (open_clip) and WordNet ids (timm)."""
    source = (packages / "py/open_clip/zero_shot_metadata.py").read_text()
    listing = re.search(r"IMAGENET_CLASSNAMES = \((.*?)\n\)", source, re.S).group(1)
    names = [json.loads(text) for text in re.findall(r'"(?:[^"\\]|\\.)*"', listing)]
    synsets = (packages / "py/timm/data/_info/imagenet_synsets.txt").read_text().split()
    assert len(names) == len(synsets) == 1000
    return names, synsets


def class_prompts(names, synsets, wordnet):
    """Four prompts for each class: the templates, and two that name what kind of thing it is."""
    prompts = []
    for name, synset in zip(names, synsets):
        kind, wider = wordnet.above(synset.lstrip("n"), 2)
        prompts.append(
            [template.format(name) for template in TEMPLATES]
            + [f"{name}, a type of {kind}", f"{name}, a kind of {wider}"]
        )
    return prompts


@dataclass
class Space:
    looks: np.ndarray  # [1280, 384]
    class_looks: np.ndarray  # [1000, 384]
    sentence_mean: np.ndarray  # [384]
    class_names: np.ndarray  # [1000, 384], unit rows
    directions: np.ndarray  # [384, 128]
    class_names_low: np.ndarray  # [1000, 128]
    source: str
    dim: int = NAMED_WIDTH + LOOKS_WIDTH
    image_temperature: float = IMAGE_TEMPERATURE
    text_temperature: float = TEXT_TEMPERATURE
    named_share: float = NAMED_SHARE
    looks_share: float = math.sqrt(1 - NAMED_SHARE**2)

    @property
    def text_named_share(self):
        return TEXT_BALANCE / self.named_share

    @property
    def text_looks_share(self):
        return (1 - TEXT_BALANCE) / self.looks_share

    def image_feature(self, feature, logits):
        """Backbone features [n, 1280] and class logits [n, 1000] to [n, 512]."""
        named = unit(softmax(logits / self.image_temperature) @ self.class_names_low)
        looks = unit(feature @ self.looks)
        return np.concatenate([self.named_share * named, self.looks_share * looks], axis=1)

    def text_feature(self, sentence):
        """Sentence embeddings [n, 384] to [n, 512]."""
        q = unit(sentence - self.sentence_mean)
        named = unit(q @ self.directions)
        looks = unit(softmax(q @ self.class_names.T / self.text_temperature) @ self.class_looks)
        parts = [self.text_named_share * named, self.text_looks_share * looks]
        return unit(np.concatenate(parts, axis=1))


def mean_feature(tensors):
    """The average pooled feature, without photos: E[relu6(N(beta, gamma²))] per channel."""
    centre = tensors["_bn1.bias"].astype(np.float64)
    spread = np.abs(tensors["_bn1.weight"].astype(np.float64))
    z = np.linspace(-5, 5, 801)
    weight = np.exp(-z * z / 2)
    weight /= weight.sum()
    return (np.clip(centre[:, None] + spread[:, None] * z, 0, 6) * weight).sum(axis=1)


def principal_directions(rows, count):
    """The first right singular vectors as columns, each signed so that its sum is positive."""
    _, _, vectors = np.linalg.svd(rows.astype(np.float64), full_matrices=False)
    vectors = vectors[:count].T
    return vectors * np.sign(vectors.sum(axis=0))


def fit(tensors, class_sentences, fingerprint):
    """`class_sentences`: [1000, 384], unit rows, the mean sentence embedding of each class."""
    rows = tensors["_fc.weight"].astype(np.float64)
    rows = rows - rows.mean(axis=0)
    looks = principal_directions(rows, LOOKS_WIDTH)
    class_looks = rows @ looks
    # What all photos share says nothing about the class: drop the mean feature's direction.
    common = unit(mean_feature(tensors) @ looks)
    class_looks -= np.outer(class_looks @ common, common)

    sentence_mean = class_sentences.mean(axis=0)
    class_names = unit(class_sentences - sentence_mean)
    directions = principal_directions(class_names, NAMED_WIDTH)
    f32 = lambda values: np.ascontiguousarray(values, np.float32)
    return Space(
        looks=f32(looks),
        class_looks=f32(class_looks),
        sentence_mean=f32(sentence_mean),
        class_names=f32(class_names),
        directions=f32(directions),
        class_names_low=f32(class_names @ directions),
        source=fingerprint,
    )


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def source_line(image_weights, sentence_weights, prompts):
    """Names the weights and the projection by what they are made from.

    Hashing what goes in keeps the name the same on machines whose last bits differ.
    """
    settings = [
        FORM, NAMED_WIDTH, LOOKS_WIDTH, IMAGE_TEMPERATURE, TEXT_TEMPERATURE, NAMED_SHARE,
        TEXT_BALANCE, sha256(sentence_weights), prompts,
    ]
    projection = sha256(json.dumps(settings).encode())
    return f"efficientnet-lite0 sha256:{sha256(image_weights)}; projection sha256:{projection}"
