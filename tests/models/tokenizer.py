"""tokenizer.json files: a small byte-pair vocabulary in CLIP's form, CLIP's own, and a small unigram one.

The small byte-pair vocabulary is learned here from a few lines, the same on every machine.
"""
import gzip
import json
from collections import Counter
from functools import lru_cache
from pathlib import Path

START, END = "<|startoftext|>", "<|endoftext|>"
CORPUS = """a photo of a mug a photo of the small cat a bad photo of a big dog itap of my screwdriver a close up photo
of the clean hammer an empty workbench a cropped photo of one coin on the lawn a rocket in the galaxy a cup of coffee
the astronaut and her camera red green blue yellow white black screw nut bolt washer spanner pliers bottle glass book
table chair keyboard mouse monitor phone cable apple banana orange bread cheese flower rose tulip daisy grass gravel
stone sand water sky cloud tree house car bus train bicycle street person hand face good low resolution bright dark
blurry jpeg corrupted rendering drawing painting sculpture origami toy plastic metal wooden texture pattern striped""".split()
PATTERN = (r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")


@lru_cache
def byte_letters():
    """Each byte as a printable letter, as byte-level BPE writes them."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in kept]
    return [chr(b) for b in kept] + [chr(256 + i) for i in range(len(rest))]


@lru_cache
def learn(count):
    """The `count` merges that byte-pair learning makes of CORPUS; ties go to the earlier letters, then to none."""
    words = Counter(tuple(w[:-1]) + (w[-1] + "</w>",) for w in CORPUS)
    merges = []
    while len(merges) < count:
        pairs = Counter()
        for word, n in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += n
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(best)
        joined = Counter()
        for word, n in words.items():
            out, i = [], 0
            while i < len(word):
                if word[i : i + 2] == best:
                    out.append(word[i] + word[i + 1])
                    i += 2
                else:
                    out.append(word[i])
                    i += 1
            joined[tuple(out)] += n
        words = joined
    return merges


def small_merges(vocab):
    """Merges that fill a vocabulary of `vocab` tokens; where the corpus is used up, pairs that no text has."""
    wanted = vocab - 512 - 2
    merges = list(learn(wanted))
    letters = byte_letters()
    merges += [(letters[200 - i // 60], letters[100 + i % 60]) for i in range(wanted - len(merges))]
    return merges


def clip_merges(wheel_file):
    """The merges of CLIP itself, from bpe_simple_vocab_16e6.txt.gz."""
    lines = gzip.open(wheel_file, "rt", encoding="utf-8").read().split("\n")
    return [tuple(line.split()) for line in lines[1 : 49152 - 256 - 2 + 1]]


def bpe(merges):
    """tokenizer.json of a CLIP whose vocabulary is bytes, bytes at a word's end, merges, start, end."""
    letters = byte_letters()
    tokens = letters + [c + "</w>" for c in letters] + ["".join(m) for m in merges] + [START, END]
    vocab = {t: i for i, t in enumerate(tokens)}
    assert len(vocab) == len(tokens), "a token twice"
    special = lambda t, n: {"id": vocab[t], "content": t, "single_word": False, "lstrip": False, "rstrip": False,
                            "normalized": n, "special": True}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [special(START, True), special(END, False)],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "NFC"}, {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "}, {"type": "Lowercase"}]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Removed", "invert": True},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}]},
        "post_processor": {"type": "RobertaProcessing", "sep": [END, vocab[END]], "cls": [START, vocab[START]],
                           "trim_offsets": False, "add_prefix_space": False},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": END, "continuing_subword_prefix": "",
                  "end_of_word_suffix": "</w>", "fuse_unk": False, "byte_fallback": False, "vocab": vocab,
                  "merges": [" ".join(m) for m in merges]},
    }


def unigram(vocab):
    """tokenizer.json in the manner of SigLIP's: words and letters with scores, lower case, no punctuation, </s> at the end."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    words = Counter(CORPUS)
    total = sum(words.values())
    import math  # noqa: PLC0415

    pieces += [("▁" + w, math.log(n / total)) for w, n in sorted(words.items(), key=lambda x: (-x[1], x[0]))]
    pieces += [(c, -9.0 - i / 100) for i, c in enumerate("▁abcdefghijklmnopqrstuvwxyz0123456789äöüéèñ")]
    pieces += [(f"<extra_{i}>", -20.0 - i / 100) for i in range(vocab - len(pieces))]
    special = lambda i: {"id": i, "content": pieces[i][0], "single_word": False, "lstrip": False, "rstrip": False,
                         "normalized": False, "special": True}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [special(i) for i in range(3)],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Lowercase"},
            {"type": "Replace", "pattern": {"Regex": r"[!-/:-@\[-`{-~]"}, "content": ""},
            {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
            {"type": "Strip", "strip_left": True, "strip_right": True}]},
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
        "post_processor": {"type": "TemplateProcessing",
                           "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
                           "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
                           "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}}},
        "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
        "model": {"type": "Unigram", "unk_id": 2, "vocab": [list(p) for p in pieces], "byte_fallback": False},
    }


@lru_cache
def text_of(kind, vocab, wheel_file=None):
    if kind == "siglip":
        made = unigram(vocab)
    else:
        made = bpe(clip_merges(wheel_file) if wheel_file else small_merges(vocab))
    return json.dumps(made, ensure_ascii=False)


WHEEL_FILE = None  # set by make.py where full-size models are made


def write(folder, model):
    """tokenizer.json, and tokenizer_config.json with the length that texts are cut and filled to."""
    wheel = WHEEL_FILE if model.text.vocab == 49408 else None
    kind = "siglip" if model.family == "siglip" else "clip"
    Path(folder, "tokenizer.json").write_text(text_of(kind, model.text.vocab, wheel), encoding="utf-8")
    if kind == "siglip":
        cfg = {"model_max_length": model.text.tokens, "pad_token": "</s>", "eos_token": "</s>", "unk_token": "<unk>",
               "tokenizer_class": "SiglipTokenizer", "do_lower_case": True}
    else:
        cfg = {"model_max_length": model.text.tokens, "pad_token": END, "bos_token": START, "eos_token": END,
               "unk_token": END, "tokenizer_class": "CLIPTokenizer", "do_lower_case": True, "errors": "replace"}
    Path(folder, "tokenizer_config.json").write_text(json.dumps(cfg, indent=2) + "\n")
