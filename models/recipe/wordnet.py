"""Reads WordNet's noun files: synsets, their hypernyms, how often a sense is used, irregular plurals."""

from dataclasses import dataclass, field
from pathlib import Path

# Lexicographer files, by number: what kind of thing a noun is.
ANIMAL, ARTIFACT, BODY, FOOD, OBJECT, PERSON, PLANT, SUBSTANCE = 5, 6, 8, 13, 17, 18, 20, 27


@dataclass
class Synset:
    offset: str
    kind: int
    words: list
    hypernyms: list = field(default_factory=list)
    gloss: str = ""


class WordNet:
    def __init__(self, folder):
        folder = Path(folder)
        self.synsets = dict(read_synsets(folder / "data.noun"))
        self.senses = dict(read_senses(folder / "index.noun"))
        self.uses = read_uses(folder / "cntlist.rev")
        self.plurals = read_plurals(folder / "noun.exc")

    def use_count(self, word, offset):
        """How often `word` was seen in this sense in the texts that WordNet's makers tagged."""
        senses = self.senses.get(word.lower(), [])
        if offset not in senses:
            return 0
        return self.uses.get(word.lower(), {}).get(senses.index(offset) + 1, 0)

    def is_first_sense(self, word, offset):
        """Whether this is what `word` usually means: WordNet lists senses by use."""
        return self.senses.get(word.lower(), [""])[0] == offset

    def above(self, offset, depth):
        """The first words of the hypernyms of a synset, nearest first; at most `depth`."""
        words = []
        while len(words) < depth and self.synsets[offset].hypernyms:
            offset = self.synsets[offset].hypernyms[0]
            words.append(self.synsets[offset].words[0])
        return words


def records(path):
    with open(path, encoding="latin1") as file:
        for line in file:
            if not line.startswith("  "):  # the licence stands indented at the head
                yield line


def read_synsets(path):
    for line in records(path):
        head, gloss = line.split("|", 1)
        parts = head.split()
        word_count = int(parts[3], 16)
        words = [parts[4 + 2 * i].replace("_", " ") for i in range(word_count)]
        synset = Synset(parts[0], int(parts[1]), words, gloss=gloss.strip())
        at = 4 + 2 * word_count
        for i in range(int(parts[at])):
            symbol, offset, part_of_speech, _ = parts[at + 1 + 4 * i : at + 5 + 4 * i]
            if symbol == "@" and part_of_speech == "n":
                synset.hypernyms.append(offset)
        yield synset.offset, synset


def read_senses(path):
    for line in records(path):
        parts = line.split()
        yield parts[0].replace("_", " "), parts[4 + int(parts[3]) + 2 :]


def read_uses(path):
    uses = {}
    for line in records(path):
        key, sense, count = line.split()
        word, rest = key.split("%")
        if rest.startswith("1"):  # nouns
            uses.setdefault(word.replace("_", " "), {})[int(sense)] = int(count)
    return uses


def read_plurals(path):
    plurals = {}
    for line in records(path):
        plural, *singulars = (part.replace("_", " ") for part in line.split())
        for singular in singulars:
            plurals.setdefault(singular, []).append(plural)
    return plurals
