"""A small text encoder that imitates the sentence encoder on names of things.

A pruned WordPiece table and two narrow transformer layers, trained on the sentence encoder's own
answers to the phrases of corpus.py; then the same text projection. It stands where 23 MB for the
real one are too many: vocabulary names keep their exact vectors, every other name goes through it.
"""

import json
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
from onnx import TensorProto
from tokenizers import Tokenizer

from graph import Graph
from sentence_encoder import (
    MAX_TOKENS, attention, attention_bias, first_rows, gelu, layer_norm, masked_mean, project,
    save_text_graph,
)
from space import unit

WIDTH, LAYERS, HEADS, INNER = 128, 2, 4, 512
SENTENCE_WIDTH = 384
TOKENS = 13_000
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
EPSILON = 1e-6
EPOCHS, BATCH, LEARNING_RATE, WARM_UP = 10, 256, 3e-3, 500
LENGTHS = (6, 8, 10, 12, 16, 24, 64)  # batches are padded to one of these
SEED = 3


def settings():
    """What training depends on, beside what it learns from."""
    return [WIDTH, LAYERS, HEADS, INNER, TOKENS, EPSILON, EPOCHS, BATCH, LEARNING_RATE, WARM_UP, LENGTHS, SEED]


def flat(parameters):
    """Arrays by name, as a file holds them."""
    arrays = {name: values for name, values in parameters.items() if name != "layers"}
    for i, layer in enumerate(parameters["layers"]):
        arrays |= {f"{i}.{name}": values for name, values in layer.items()}
    return arrays


def nested(arrays):
    layers = [{} for _ in range(LAYERS)]
    parameters = {"layers": layers}
    for name, values in arrays.items():
        layer, _, part = name.rpartition(".")
        (layers[int(layer)] if layer else parameters)[part] = values
    return parameters


def prune_tokenizer(source, texts, target):
    """Keeps the special tokens, single characters and the tokens most used in `texts`.

    A word that lost its own token is spelled with the pieces that are left.
    """
    tokenizer = Tokenizer.from_file(str(source))
    used = Counter(i for e in tokenizer.encode_batch(texts) for i in e.ids)
    settings = json.loads(source.read_text(encoding="utf8"))
    vocabulary = settings["model"]["vocab"]

    def basic(token):
        return token in SPECIAL or (len(token.removeprefix("##")) == 1 and token.isascii())

    ranked = sorted(vocabulary, key=lambda t: (not basic(t), -used[vocabulary[t]], vocabulary[t]))
    kept = sorted(ranked[:TOKENS], key=vocabulary.get)
    settings["model"]["vocab"] = {token: i for i, token in enumerate(kept)}
    ids = settings["model"]["vocab"]
    settings["added_tokens"] = [t | {"id": ids[t["content"]]} for t in settings["added_tokens"] if t["content"] in ids]
    for token in settings["post_processor"]["special_tokens"].values():
        token["ids"] = [ids[name] for name in token["tokens"]]
    target.write_text(json.dumps(settings, ensure_ascii=False, separators=(",", ":")), encoding="utf8")
    return kept


def start(token_sentences, rng):
    """Parameters before training: each token at its principal part of its own sentence vector."""
    centred = token_sentences - token_sentences.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    basis = directions[:WIDTH]

    def normal(*shape):
        return rng.normal(0, shape[0] ** -0.5, shape)

    layers = [
        {
            "norm1": np.ones(WIDTH), "query": normal(WIDTH, WIDTH), "key": normal(WIDTH, WIDTH),
            "value": normal(WIDTH, WIDTH), "mix": 0.1 * normal(WIDTH, WIDTH),
            "norm2": np.ones(WIDTH), "widen": normal(WIDTH, INNER), "inner": np.zeros(INNER),
            "narrow": 0.1 * normal(INNER, WIDTH),
        }
        for _ in range(LAYERS)
    ]
    parameters = {
        "tokens": 4 * centred @ basis.T,
        "places": rng.normal(0, 0.02, (MAX_TOKENS, WIDTH)),
        "layers": layers,
        "out": basis / 4,
        "bias": token_sentences.mean(axis=0),
    }
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), parameters)


def normalised(x, gain):
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / jnp.sqrt((centred**2).mean(axis=-1, keepdims=True) + EPSILON) * gain


def sentence(parameters, ids, mask):
    """Token ids and mask [batch, seq] to unit rows [batch, 384]."""
    batch, length = ids.shape
    gaps = (1 - mask)[:, None, None, :] * -1e9
    x = parameters["tokens"][ids] + parameters["places"][:length]
    for layer in parameters["layers"]:
        y = normalised(x, layer["norm1"])
        query, key, value = (
            (y @ layer[part]).reshape(batch, length, HEADS, -1) for part in ("query", "key", "value")
        )
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) * (WIDTH // HEADS) ** -0.5
        y = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores + gaps, axis=-1), value)
        x = x + y.reshape(batch, length, WIDTH) @ layer["mix"]
        y = normalised(x, layer["norm2"]) @ layer["widen"] + layer["inner"]
        x = x + jax.nn.gelu(y, approximate=False) @ layer["narrow"]
    mean = (x * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
    y = mean @ parameters["out"] + parameters["bias"]
    return y / jnp.linalg.norm(y, axis=-1, keepdims=True)


def projected(space, rows):
    """`space.text_feature`, so that gradients pass."""

    def one(x):
        return x / jnp.sqrt((x * x).sum(axis=-1, keepdims=True) + 1e-12)

    q = one(rows - space.sentence_mean)
    chances = jax.nn.softmax(q @ space.class_names.T / space.text_temperature, axis=-1)
    named, looks = one(q @ space.directions), one(chances @ space.class_looks)
    return one(jnp.concatenate([space.text_named_share * named, space.text_looks_share * looks], axis=1))


def batches(encoded, rng):
    """Row numbers of like length, in random order, with the padded length."""
    lengths = np.array([len(ids) for ids in encoded])
    out, shortest = [], 0
    for padded in LENGTHS:
        rows = rng.permutation(np.flatnonzero((lengths > shortest) & (lengths <= padded)))
        out += [(rows[i : i + BATCH], padded) for i in range(0, len(rows) - BATCH + 1, BATCH)]
        shortest = padded
    return [out[i] for i in rng.permutation(len(out))]


def padded_ids(encoded, rows, length):
    ids, mask = np.zeros((len(rows), length), np.int32), np.zeros((len(rows), length), np.float32)
    for i, row in enumerate(rows):
        ids[i, : len(encoded[row])] = encoded[row]
        mask[i, : len(encoded[row])] = 1
    return ids, mask


def adam_step(space):
    """One step on 1 - cosine to the sentence encoder, before and after the projection."""

    def loss(parameters, ids, mask, wanted):
        rows = sentence(parameters, ids, mask)
        near = (rows * wanted).sum(axis=1)
        near_projected = (projected(space, rows) * projected(space, wanted)).sum(axis=1)
        return (1 - near).mean() + (1 - near_projected).mean(), near.mean()

    @jax.jit
    def step(parameters, first, second, count, rate, ids, mask, wanted):
        (_, near), slope = jax.value_and_grad(loss, has_aux=True)(parameters, ids, mask, wanted)
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, slope)
        second = jax.tree.map(lambda v, g: 0.99 * v + 0.01 * g * g, second, slope)
        rate = rate * jnp.sqrt(1 - 0.99**count) / (1 - 0.9**count)
        move = lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-8)
        return jax.tree.map(move, parameters, first, second), first, second, near

    return step


def train(tokenizer_path, texts, wanted, token_sentences, space, say=print):
    """`wanted`: the sentence encoder's unit rows for `texts`."""
    rng = np.random.default_rng(SEED)
    encoded = [e.ids for e in Tokenizer.from_file(str(tokenizer_path)).encode_batch(texts)]
    parameters = start(token_sentences, rng)
    first = second = jax.tree.map(jnp.zeros_like, parameters)
    step, count = adam_step(space), 0
    epochs = [batches(encoded, rng) for _ in range(EPOCHS)]
    total = sum(map(len, epochs))
    for number, epoch in enumerate(epochs, 1):
        nears = []
        for rows, length in epoch:
            count += 1
            rate = LEARNING_RATE * min(count / WARM_UP, 1) * 0.5 * (1 + np.cos(np.pi * count / total))
            ids, mask = padded_ids(encoded, rows, length)
            target = unit(wanted[rows].astype(np.float32))
            parameters, first, second, near = step(parameters, first, second, count, rate, ids, mask, target)
            nears.append(near)
        say(f"  epoch {number}/{EPOCHS}: cosine to the sentence encoder {np.mean(nears):.4f}")
    return jax.tree.map(np.asarray, parameters)


def write_student(parameters, space, path):
    graph = Graph()
    zero = graph.constant(np.zeros(WIDTH, np.float32), "b")
    mask = graph.node("Cast", ["attention_mask"], to=TensorProto.FLOAT)
    bias = attention_bias(graph, mask)

    def product(x, weight):
        return graph.node("MatMul", [x, graph.int8_weight(weight)])

    def norm(x, gain):
        return layer_norm(graph, x, graph.constant(gain), zero, EPSILON)

    x = graph.int8_rows(parameters["tokens"], "input_ids")
    x = graph.node("Add", [x, first_rows(graph, parameters["places"], "input_ids")])
    for layer in parameters["layers"]:
        y = norm(x, layer["norm1"])
        parts = [product(y, layer[part]) for part in ("query", "key", "value")]
        y = product(attention(graph, *parts, bias, HEADS, WIDTH), layer["mix"])
        x = graph.node("Add", [x, y])
        y = product(norm(x, layer["norm2"]), layer["widen"])
        y = gelu(graph, graph.node("Add", [y, graph.constant(layer["inner"])]))
        x = graph.node("Add", [x, product(y, layer["narrow"])])
    y = product(masked_mean(graph, x, mask), parameters["out"])
    y = graph.unit(graph.node("Add", [y, graph.constant(parameters["bias"])]))
    project(graph, y, space, int8=True)
    save_text_graph(graph, path, space.dim, "edgeclip starter small text encoder; not CLIP")
