"""Scores of an exported head, by numpy alone: what another program must do with the file.

python head_scores.py HEAD.safetensors FEATURES.npy [OUT.npy] prints the scores, or saves them.
"""

import json
import struct
import sys

import numpy as np

TYPES = {"F32": "<f4", "U32": "<u4"}


def read(path):
    """The kind of head, and its arrays."""
    with open(path, "rb") as file:
        data = file.read()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    kind = header.pop("__metadata__")["edgeclip.head"]
    arrays = {}
    for name, entry in header.items():
        if entry["dtype"] not in TYPES:
            continue
        start, end = (8 + size + at for at in entry["data_offsets"])
        arrays[name] = np.frombuffer(data[start:end], TYPES[entry["dtype"]]).reshape(entry["shape"])
    return kind, arrays


def scores(kind, a, f):
    """M×K scores of M unit features."""
    if kind == "adapter":
        hidden = np.maximum(f @ a["down"].T, 0)
        f = a["alpha"] * np.maximum(hidden @ a["up"].T, 0) + (1 - a["alpha"]) * f
        f = f / np.maximum(np.linalg.norm(f, axis=1, keepdims=True), 1e-30)
    out = f @ a["weights"].T + a["bias"]
    if kind == "cache":
        near = a["strengths"] * np.exp(a["sharpness"] * (f @ a["keys"].T - 1))
        out = out + near @ np.eye(len(a["bias"]))[a["key_classes"]]
    return out


def main(head, features, out=None):
    kind, arrays = read(head)
    arrays = {n: v.astype("f8") if v.dtype == "<f4" else v for n, v in arrays.items()}
    found = scores(kind, arrays, np.load(features).astype("f8"))
    if out:
        np.save(out, found.astype("<f4"))
    else:
        np.savetxt(sys.stdout, found, fmt="%.6f")


if __name__ == "__main__":
    main(*sys.argv[1:])
