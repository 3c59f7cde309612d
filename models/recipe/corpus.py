"""The phrases from which the small text encoder learns: names of things, alone and in prompts.

WordNet gives the names; modifiers and places make phrases of the sort that people type ("rusty
pipe wrench", "my blue mug"). One name in thirty is held out: neither it nor a phrase with it is
learned from, so that the figures tell how unseen names fare.
"""

import hashlib
import random
import re

import wordnet
from space import TEMPLATES

PHYSICAL = {
    wordnet.ANIMAL, wordnet.ARTIFACT, wordnet.BODY, wordnet.FOOD,
    wordnet.OBJECT, wordnet.PERSON, wordnet.PLANT, wordnet.SUBSTANCE,
}
OTHER_TEMPLATES = (
    "a {}", "the {}", "my {}", "a photo of the {}.", "a photo of {}.", "a photo of my {}.",
    "a close-up photo of a {}.", "a picture of a {}", "a bad photo of a {}.", "an image of {}",
)
COMMON_TEMPLATE_SHARE = 0.75
COMBINATIONS = 45_000
HELD_OUT_EVERY = 30

MODIFIERS = (
    "red blue green yellow black white grey brown orange purple pink silver golden dark bright "
    "small big large tiny huge long short thin thick wide narrow tall flat round square heavy "
    "old new broken damaged cracked rusty dirty clean wet dry empty full open closed half-empty "
    "folded torn worn used striped checked plain shiny matte transparent clear frosted painted "
    "wooden metal steel iron brass copper aluminium plastic rubber glass ceramic paper cardboard "
    "leather cotton woollen stone concrete "
    "electric electronic manual portable cordless digital wireless toy model "
    "fresh ripe rotten cooked raw frozen dried sliced "
    "young baby adult wild sleeping running sitting "
    "kitchen garden office bathroom street car bicycle computer phone camera workshop medical "
    "men's women's children's left right upside-down"
).split()
PHRASES = (
    "{} on a table", "{} in a box", "{} in a hand", "{} with a handle", "{} with a lid", "{} on the floor",
    "{} on a shelf", "piece of {}", "pair of {}", "stack of {}", "box of {}", "bottle of {}", "{} box",
    "person with a {}", "person holding a {}", "top of a {}", "two {}", "no {}", "{} or {}", "{} and {}",
    "{} with {}", "{} {}", "{} {}", "{} {}",
)
OWNERS = ("my ", "Anna's ", "our ", "the ")


def is_held_out(name):
    return int(hashlib.sha256(name.lower().encode()).hexdigest(), 16) % HELD_OUT_EVERY == 0


def noun_names(words):
    """(name, use count) of WordNet's nouns: things that can be seen, and other words in use."""
    names = {}
    for offset, synset in words.synsets.items():
        if "genus" in synset.gloss[:40] or re.search(r"\b(family|order|class|phylum)\b", synset.gloss[:30]):
            continue
        for name in synset.words:
            uses = words.use_count(name, offset)
            if re.search(r"[^A-Za-z '.-]", name) or len(name) < 2:
                continue
            if synset.kind in PHYSICAL or uses > 0:
                names[name] = max(uses, names.get(name, 0))
    return sorted(names.items())


def combinations(names, count, rng):
    """Phrases made of names, the common ones more often."""
    pool, weights = zip(*[(name, 0.3 + min(uses, 20)) for name, uses in names])
    picks = iter(rng.choices(pool, weights, k=3 * count))
    phrases = set()
    while len(phrases) < count:
        name = next(picks)
        shape = rng.random()
        if shape < 0.6:
            phrase = f"{rng.choice(MODIFIERS)} {name}"
            if shape < 0.1:
                phrase = f"{rng.choice(MODIFIERS)} {phrase}"
        else:
            form = rng.choice(PHRASES)
            phrase = form.format(name) if form.count("{}") == 1 else form.format(name, next(picks))
        if rng.random() < 0.05:
            phrase = rng.choice(OWNERS) + phrase
        phrases.add(phrase)
    return sorted(phrases)


def template(rng):
    if rng.random() < COMMON_TEMPLATE_SHARE:
        return rng.choice(TEMPLATES)
    return rng.choice(OTHER_TEMPLATES)


def build(words, extra_names, seed=5):
    """(texts to learn from, held-out names). Names in use come in both common templates."""
    rng = random.Random(seed)
    named = noun_names(words)
    known = {name for name, _ in named}
    named += [(name, 20) for name in extra_names if name not in known]
    learned = [(name, uses) for name, uses in named if not is_held_out(name)]
    held_out = [name for name, _ in named if is_held_out(name)]
    texts = []
    for name, uses in learned:
        texts += [t.format(name) for t in (TEMPLATES if uses > 0 else (template(rng),))]
    texts += [template(rng).format(phrase) for phrase in combinations(learned, COMBINATIONS, rng)]
    return sorted(set(texts)), held_out
