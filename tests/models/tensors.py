"""safetensors files, written and read by hand: every dtype, and the broken ones, without another package.

A file is the length of its header (u64, little-endian), the header (JSON: name to dtype, shape
and [from, to] offsets into what follows), and the bytes of the tensors.
"""
import json
import struct
from pathlib import Path

import ml_dtypes
import numpy as np

DTYPES = {
    "F64": np.dtype(np.float64), "F32": np.dtype(np.float32), "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16), "I64": np.dtype(np.int64), "I32": np.dtype(np.int32),
    "I8": np.dtype(np.int8), "U8": np.dtype(np.uint8),
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
BF16 = DTYPES["BF16"]


def header_of(tensors, metadata):
    header, at = ({"__metadata__": metadata} if metadata else {}), 0
    for name, a in tensors.items():
        header[name] = {"dtype": NAMES[a.dtype], "shape": list(a.shape), "data_offsets": [at, at + a.nbytes]}
        at += a.nbytes
    return header


def frame(header, data):
    """The file of a header and its data; the header is filled with blanks to a multiple of eight bytes."""
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def write(path, tensors, metadata=None):
    data = b"".join(np.ascontiguousarray(a).tobytes() for a in tensors.values())
    Path(path).write_bytes(frame(header_of(tensors, metadata or {"format": "pt"}), data))


def read(path):
    raw = Path(path).read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    header.pop("__metadata__", None)
    out = {}
    for name, t in header.items():
        a, b = t["data_offsets"]
        out[name] = np.frombuffer(raw[8 + length + a : 8 + length + b], DTYPES[t["dtype"]]).reshape(t["shape"])
    return out


def cast(tensors, dtype):
    return {n: a.astype(dtype) if a.dtype.kind == "f" else a for n, a in tensors.items()}


def write_sharded(folder, tensors, shards):
    """model-0000k-of-0000n.safetensors and model.safetensors.index.json, as the hub splits large models."""
    names = list(tensors)
    index = {"metadata": {"total_size": int(sum(a.nbytes for a in tensors.values()))}, "weight_map": {}}
    for k in range(shards):
        part = names[k * len(names) // shards : (k + 1) * len(names) // shards]
        file = f"model-{k + 1:05}-of-{shards:05}.safetensors"
        write(Path(folder) / file, {n: tensors[n] for n in part})
        index["weight_map"].update(dict.fromkeys(part, file))
    index["weight_map"] = dict(sorted(index["weight_map"].items()))
    (Path(folder) / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))


def read_folder(folder):
    """The tensors of the safetensors files in a folder, whatever they are called."""
    out = {}
    for path in sorted(Path(folder).glob("*.safetensors")):
        out.update(read(path))
    return out
