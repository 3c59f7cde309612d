"""all-MiniLM-L6-v2 as an ONNX graph, alone or with the starter's text projection on top.

Interface: input_ids and attention_mask, int64 [batch, seq], to text_embeds, unit rows.
"""

import json

import numpy as np
import onnxruntime
from onnx import TensorProto
from tokenizers import Tokenizer

from graph import Graph

WIDTH, LAYERS, HEADS = 384, 6, 12
LAYER_NORM_EPSILON = 1e-12
MAX_TOKENS = 64


class Transformer:
    """Adds the sentence encoder to a graph; `int8` holds its weights as int8 with scales."""

    def __init__(self, graph, tensors, int8):
        self.graph = graph
        self.tensors = tensors
        self.int8 = int8

    def matrix(self, weight):
        return self.graph.int8_weight(weight) if self.int8 else self.graph.constant(weight)

    def norm(self, x, prefix):
        gain = self.graph.constant(self.tensors[prefix + ".weight"])
        bias = self.graph.constant(self.tensors[prefix + ".bias"])
        return layer_norm(self.graph, x, gain, bias, LAYER_NORM_EPSILON)

    def linear(self, x, prefix):
        product = self.graph.node("MatMul", [x, self.matrix(self.tensors[prefix + ".weight"].T)])
        return self.graph.node("Add", [product, self.graph.constant(self.tensors[prefix + ".bias"])])

    def embeddings(self, ids):
        graph, prefix = self.graph, "embeddings."
        words = self.tensors[prefix + "word_embeddings.weight"]
        if self.int8:
            words = graph.int8_rows(words, ids)
        else:
            words = graph.node("Gather", [graph.constant(words), ids], axis=0)
        # Every token is of type 0, so its vector joins the positions'.
        places = self.tensors[prefix + "position_embeddings.weight"][:MAX_TOKENS]
        places = places + self.tensors[prefix + "token_type_embeddings.weight"][0]
        x = graph.node("Add", [words, first_rows(graph, places, ids)])
        return self.norm(x, prefix + "LayerNorm")

    def layer(self, x, bias, prefix):
        parts = [self.linear(x, f"{prefix}attention.self.{part}") for part in ("query", "key", "value")]
        y = attention(self.graph, *parts, bias, HEADS, WIDTH)
        y = self.graph.node("Add", [self.linear(y, prefix + "attention.output.dense"), x])
        x = self.norm(y, prefix + "attention.output.LayerNorm")
        y = gelu(self.graph, self.linear(x, prefix + "intermediate.dense"))
        y = self.graph.node("Add", [self.linear(y, prefix + "output.dense"), x])
        return self.norm(y, prefix + "output.LayerNorm")

    def sentence(self, ids, mask):
        """Token ids and mask to unit rows [batch, 384]."""
        mask = self.graph.node("Cast", [mask], to=TensorProto.FLOAT)
        bias = attention_bias(self.graph, mask)
        x = self.embeddings(ids)
        for layer in range(LAYERS):
            x = self.layer(x, bias, f"encoder.layer.{layer}.")
        return self.graph.unit(masked_mean(self.graph, x, mask))


def layer_norm(graph, x, gain, bias, epsilon):
    centred = graph.node("Sub", [x, graph.node("ReduceMean", [x], axes=[-1], keepdims=1)])
    variance = graph.node("ReduceMean", [graph.node("Mul", [centred, centred])], axes=[-1], keepdims=1)
    spread = graph.node("Sqrt", [graph.node("Add", [variance, graph.scalar(epsilon)])])
    return graph.node("Add", [graph.node("Mul", [graph.node("Div", [centred, spread]), gain]), bias])


def gelu(graph, x):
    error = graph.node("Erf", [graph.node("Mul", [x, graph.scalar(0.5**0.5)])])
    half = graph.node("Mul", [x, graph.scalar(0.5)])
    return graph.node("Mul", [half, graph.node("Add", [error, graph.scalar(1)])])


def first_rows(graph, table, ids):
    """As many rows of `table` as the sequences of `ids` are long."""
    length = graph.node("Gather", [graph.node("Shape", [ids]), graph.constant(np.int64(1), "i")], axis=0)
    end = graph.node("Unsqueeze", [length, graph.indices(0)])
    return graph.node("Slice", [graph.constant(table), graph.indices(0), end])


def attention_bias(graph, mask):
    """0 where a token stands, -1e9 where there is padding: [batch, 1, 1, seq]."""
    gaps = graph.node("Sub", [graph.scalar(1), graph.node("Unsqueeze", [mask, graph.indices(1, 2)])])
    return graph.node("Mul", [gaps, graph.scalar(-1e9)])


def attention(graph, query, key, value, bias, heads, width):
    split, merge = graph.indices(0, 0, heads, width // heads), graph.indices(0, 0, width)

    def by_head(x, order):
        return graph.node("Transpose", [graph.node("Reshape", [x, split])], perm=order)

    query, value = by_head(query, [0, 2, 1, 3]), by_head(value, [0, 2, 1, 3])
    key = by_head(key, [0, 2, 3, 1])
    scores = graph.node("Mul", [graph.node("MatMul", [query, key]), graph.scalar((width // heads) ** -0.5)])
    weights = graph.node("Softmax", [graph.node("Add", [scores, bias])], axis=-1)
    mixed = graph.node("Transpose", [graph.node("MatMul", [weights, value])], perm=[0, 2, 1, 3])
    return graph.node("Reshape", [mixed, merge])


def masked_mean(graph, x, mask):
    mask, axis = graph.node("Unsqueeze", [mask, graph.indices(2)]), graph.indices(1)
    total = graph.node("ReduceSum", [graph.node("Mul", [x, mask]), axis], keepdims=0)
    return graph.node("Div", [total, graph.node("ReduceSum", [mask, axis], keepdims=0)])


def project(graph, sentence, space, int8):
    """`space.text_feature`, written as a graph: unit rows [batch, 384] to text_embeds."""
    matrix = graph.int8_weight if int8 else graph.constant
    q = graph.unit(graph.node("Sub", [sentence, graph.constant(space.sentence_mean)]))
    named = graph.node("MatMul", [q, matrix(space.directions)])
    sharpness = np.float32(1 / space.text_temperature)
    likeness = graph.node("MatMul", [q, matrix(space.class_names.T * sharpness)])
    chances = graph.node("Softmax", [likeness], axis=1)
    looks = graph.node("MatMul", [chances, matrix(space.class_looks)])
    parts = [graph.unit(named, space.text_named_share), graph.unit(looks, space.text_looks_share)]
    graph.unit(graph.node("Concat", parts, axis=1), output="text_embeds")


def save_text_graph(graph, path, dim, about):
    inputs = [(name, TensorProto.INT64, ["batch", "seq"]) for name in ("input_ids", "attention_mask")]
    graph.save(path, inputs, [("text_embeds", TensorProto.FLOAT, ["batch", dim])], about)


def write_sentence_encoder(tensors, path):
    """The encoder alone, f32: the teacher and the ruler of everything else."""
    graph = Graph()
    sentence = Transformer(graph, tensors, int8=False).sentence("input_ids", "attention_mask")
    graph.nodes[-1].output[0] = "text_embeds"
    save_text_graph(graph, path, WIDTH, "all-MiniLM-L6-v2")


def write_text_encoder(tensors, space, path, int8):
    graph = Graph()
    sentence = Transformer(graph, tensors, int8).sentence("input_ids", "attention_mask")
    project(graph, sentence, space, int8)
    save_text_graph(graph, path, space.dim, "edgeclip starter text encoder (all-MiniLM-L6-v2); not CLIP")


def write_tokenizer(source, path):
    """The published tokenizer, cut at 64 tokens and without fixed padding."""
    settings = json.loads(source.read_text(encoding="utf8"))
    settings["truncation"]["max_length"] = MAX_TOKENS
    settings["padding"] = None
    path.write_text(json.dumps(settings, ensure_ascii=False, separators=(",", ":")), encoding="utf8")


class TextEncoder:
    """Runs any text graph of the recipe: strings to rows."""

    def __init__(self, graph_path, tokenizer_path, threads=1):
        self.tokenizer = Tokenizer.from_file(str(tokenizer_path))
        self.tokenizer.enable_padding()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(str(graph_path), options, ["CPUExecutionProvider"])

    def __call__(self, texts, batch=64):
        """Like lengths are batched together, since padding costs as much as text."""
        order = np.argsort([len(text) for text in texts], kind="stable")
        rows = None
        for start in range(0, len(texts), batch):
            chosen = order[start : start + batch]
            encoded = self.tokenizer.encode_batch([texts[i] for i in chosen])
            out = self.session.run(None, {
                "input_ids": np.array([e.ids for e in encoded], np.int64),
                "attention_mask": np.array([e.attention_mask for e in encoded], np.int64),
            })[0]
            if rows is None:
                rows = np.empty((len(texts), out.shape[1]), np.float32)
            rows[chosen] = out
        return rows
