"""Reads published weight files into numpy arrays, without torch.

Refuses anything that a plain table of tensors does not need: unpickling is limited to the four
names below, so a weight file cannot run code.
"""

import json
import pickle
import struct
from collections import OrderedDict

import numpy as np

STORAGE_TYPES = {
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "DoubleStorage": np.float64,
    "LongStorage": np.int64,
}
SAFETENSORS_TYPES = {"F32": np.float32, "F16": np.float16, "I64": np.int64}


def read_safetensors(path):
    """All tensors of a .safetensors file, by name."""
    with open(path, "rb") as file:
        data = file.read()
    header_len = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + header_len])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        start, end = (8 + header_len + offset for offset in entry["data_offsets"])
        values = np.frombuffer(data[start:end], SAFETENSORS_TYPES[entry["dtype"]])
        tensors[name] = values.reshape(entry["shape"])
    return tensors


def read_legacy_pth(path):
    """All tensors of a state dict in the format that torch wrote before 1.6.

    The file is a row of pickles (magic, protocol, system, state dict, storage keys) followed by
    the raw storages in the order of the keys.
    """
    lengths = {}

    class StorageType:
        def __init__(self, name):
            self.dtype = np.dtype(STORAGE_TYPES[name])

    def rebuild_tensor(storage, offset, size, stride, *_):
        return storage, offset, tuple(size), tuple(stride)

    class TensorUnpickler(pickle.Unpickler):
        def find_class(self, module, name):
            if (module, name) == ("collections", "OrderedDict"):
                return OrderedDict
            if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
                return rebuild_tensor
            if module == "torch" and name in STORAGE_TYPES:
                return StorageType(name)
            raise pickle.UnpicklingError(f"{path}: refuses to load {module}.{name}")

        def persistent_load(self, identity):
            _, storage_type, key, _, length = identity[:5]
            lengths[key] = (storage_type.dtype, length)
            return key

    with open(path, "rb") as file:
        for _ in range(3):
            pickle.load(file)
        state = TensorUnpickler(file).load()
        storages = {}
        for key in pickle.load(file):
            dtype, _ = lengths[key]
            length = struct.unpack("<q", file.read(8))[0]
            storages[key] = np.frombuffer(file.read(length * dtype.itemsize), dtype)

    tensors = OrderedDict()
    for name, (key, offset, size, stride) in state.items():
        storage = storages[key]
        strides = [step * storage.itemsize for step in stride]
        tensors[name] = np.lib.stride_tricks.as_strided(storage[offset:], size, strides).copy()
    return tensors
