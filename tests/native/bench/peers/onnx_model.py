"""Writes the small ONNX models that compare.py hands to ONNX Runtime: protobuf messages, encoded by hand."""

import struct

_F32, _I32 = 1, 6


def _varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number, payload):
    """One field: an int as varint, a float as 32 bits, text and bytes with their length."""
    if isinstance(payload, int):
        return _varint(number << 3) + _varint(payload)
    if isinstance(payload, float):
        return _varint(number << 3 | 5) + struct.pack("<f", payload)
    data = payload.encode() if isinstance(payload, str) else payload
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _attribute(name, value):
    """AttributeProto: name 1, f 2, i 3, ints 8, type 20 (FLOAT 1, INT 2, INTS 7)."""
    if isinstance(value, float):
        return _field(1, name) + _field(2, value) + _field(20, 1)
    if isinstance(value, int):
        return _field(1, name) + _field(3, value) + _field(20, 2)
    return _field(1, name) + b"".join(_field(8, v) for v in value) + _field(20, 7)


def _node(op, inputs, outputs, domain="", **attributes):
    """NodeProto: input 1, output 2, op_type 4, attribute 5, domain 7."""
    data = b"".join(_field(1, i) for i in inputs) + b"".join(_field(2, o) for o in outputs)
    data += _field(4, op) + b"".join(_field(5, _attribute(n, v)) for n, v in attributes.items())
    return data + _field(7, domain)


def _tensor_info(name, shape, kind=_F32):
    """ValueInfoProto of a tensor of fixed shape; without a shape the rank is left open."""
    dims = b"" if shape is None else _field(2, b"".join(_field(1, _field(1, n)) for n in shape))
    return _field(1, name) + _field(2, _field(1, _field(1, kind) + dims))


def _model(nodes, inputs, outputs):
    """ModelProto: ir_version 1, graph 7 (node 1, name 2, input 11, output 12), opset_import 8."""
    graph = b"".join(_field(1, n) for n in nodes) + _field(2, "attention")
    graph += b"".join(_field(11, i) for i in inputs) + b"".join(_field(12, o) for o in outputs)
    opsets = _field(8, _field(1, "") + _field(2, 23)) + _field(8, _field(1, "com.microsoft") + _field(2, 1))
    return _field(1, 11) + _field(7, graph) + opsets


def _group_query(shape):
    """The operator is causal by itself; for decode its cache is extended in place."""
    hq, hk, lq, lk, d = shape.q_heads, shape.kv_heads, shape.q_len, shape.kv_len, shape.head_dim
    cached = shape.decode
    new = 1 if cached else lq
    inputs = [_tensor_info("q", (1, lq, hq * d)), _tensor_info("k", (1, new, hk * d)),
              _tensor_info("v", (1, new, hk * d)), _tensor_info("last", (1,), _I32), _tensor_info("total", (), _I32)]
    past = [_tensor_info(f"past_{name}", (1, hk, lk, d)) for name in ("k", "v")] if cached else []
    names = ["q", "k", "v", "past_k" if cached else "", "past_v" if cached else "", "last", "total"]
    window = {"local_window_size": shape.window} if shape.window else {}
    node = _node("GroupQueryAttention", names, ["o", "present_k", "present_v"], "com.microsoft", num_heads=hq,
                 kv_num_heads=hk, **window)
    present = [_tensor_info(f"present_{name}", (1, hk, lk, d)) for name in ("k", "v")]
    outputs = [_tensor_info("o", None), *present]
    return ("cache" if cached else "tokens", _model([node], inputs + past, outputs))


def models(shape):
    """The ways to say this problem, by name: (layout of the inputs, model).

    "heads" is [B, H, L, D]; "tokens" is [B, L, H D]; "folded" is [B, Hk, Hq / Hk, D] for the queries of a decode
    step; "cache" gives the last token as [B, 1, Hk D] and all tokens as a cache of which the last place is written.
    """
    if shape.dtype != "f32" or shape.backward:
        return {}
    hq, hk, lq, lk, d = shape.q_heads, shape.kv_heads, shape.q_len, shape.kv_len, shape.head_dim
    scale = d ** -0.5
    found = {}

    rows = hq // hk if shape.decode else lq
    heads = [_tensor_info("q", (1, hk if shape.decode else hq, rows, d)), _tensor_info("k", (1, hk, lk, d)),
             _tensor_info("v", (1, hk, lk, d))]
    out = [_tensor_info("o", None)]
    if shape.window:
        return {"group-query": _group_query(shape)}
    if not shape.causal:
        products = [_node("FusedMatMul", ["q", "k"], ["s"], "com.microsoft", transB=1, alpha=scale),
                    _node("Softmax", ["s"], ["p"], axis=-1 & 2 ** 64 - 1), _node("MatMul", ["p", "v"], ["o"])]
        found["matmul"] = ("folded" if shape.decode else "heads", _model(products, heads, out))

    attention = _node("Attention", ["q", "k", "v"], ["o"], is_causal=int(shape.causal))
    found["attention"] = ("heads", _model([attention], [_tensor_info("q", (1, hq, lq, d)), *heads[1:]], out))

    if hq == hk:
        tokens = [_tensor_info(name, (1, lq, hq * d)) for name in ("q", "k", "v")]
        node = _node("MultiHeadAttention", ["q", "k", "v"], ["o"], "com.microsoft", num_heads=hq,
                     unidirectional=int(shape.causal))
        found["multi-head"] = ("tokens", _model([node], tokens, out))

    if shape.causal or shape.decode:
        found["group-query"] = _group_query(shape)
    return found
