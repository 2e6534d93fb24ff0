"""Reads and writes safetensors files with numpy alone; bfloat16 lives as float32 in memory. Used by check.py."""
import json
import struct

import numpy as np

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "|u1"}
NAMES = {np.dtype(code): name for name, code in DTYPES.items()}


def round_to_bf16(values):
    """The upper 16 bits of each float32, rounded to nearest even; infinities stay, every NaN becomes the quiet one."""
    values = np.ascontiguousarray(values, dtype="<f4")
    bits = values.view("<u4").astype(np.uint64)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    return np.where(np.isnan(values), 0x7FC0, rounded).astype("<u2")


def load(path):
    """All tensors of a file as a dictionary from name to array."""
    with open(path, "rb") as file:
        content = file.read()
    header_bytes = struct.unpack_from("<Q", content)[0]
    header = json.loads(content[8:8 + header_bytes])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = (8 + header_bytes + offset for offset in entry["data_offsets"])
        if entry["dtype"] == "BF16":
            flat = (np.frombuffer(content[begin:end], "<u2").astype("<u4") << 16).view("<f4")
        else:
            flat = np.frombuffer(content[begin:end], DTYPES[entry["dtype"]])
        tensors[name] = flat.reshape(entry["shape"])
    return tensors


def save(path, tensors, as_bf16=()):
    """Writes the tensors in the order of their names; those named in as_bf16 are stored rounded."""
    header, parts, offset = {}, [], 0
    for name, array in sorted(tensors.items()):
        array = np.asarray(array)
        if name in as_bf16:
            dtype, data = "BF16", round_to_bf16(array).tobytes()
        else:
            dtype, data = NAMES[array.dtype.newbyteorder("<")], array.tobytes()
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [offset, offset + len(data)]}
        parts.append(data)
        offset += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(parts))
