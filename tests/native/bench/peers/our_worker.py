"""Runs this project's library through its C interface for compare.py, which speaks JSON lines to it.

Started with the text of memory.py and patterns.py before it and one argument, the library. Structs are laid out as the library itself
describes them.
"""

import struct

PTR = c.c_void_p
DTYPES = {"f32": 1, "bf16": 3}
PEAKS = {"f32": 0, "bf16": 1, "read": 2}
FLAGS = {  # of each family's problem
    "dense": {"causal": 1, "window": 4, "backward": 4096},
    "neighborhood": {"backward": 4},
    "lightning": {"scale": 1, "backward": 4},
    "permuted_block": {"backward": 8},
    "s2": {"per_query_head": 4, "backward": 16},
}


class AbiEntry(c.Structure):
    _fields_ = [("structure", c.c_char_p), ("field", c.c_char_p), ("offset", c.c_uint32), ("size", c.c_uint32)]


class Abi(c.Structure):
    _fields_ = [("struct_size", c.c_uint32), ("abi_version", c.c_uint32), ("library_version", c.c_char_p),
                ("entries", c.POINTER(AbiEntry)), ("num_entries", c.c_uint64)]


library = c.CDLL(sys.argv[1])
library.fattn_last_error.restype = c.c_char_p
library.fattn_device_measure.argtypes = [PTR, c.c_uint32, c.c_int32, c.c_double, PTR]
device = PTR()
places = {}
opened = {}


def check(status):
    if status != 0:
        raise ValueError(library.fattn_last_error().decode())


def read_places():
    """Keeps where the library has each field; returns the library's version."""
    abi = Abi(struct_size=c.sizeof(Abi))
    check(library.fattn_abi_describe(c.byref(abi)))
    for entry in abi.entries[:abi.num_entries]:
        places[entry.structure.decode(), (entry.field or b"").decode()] = (entry.offset, entry.size)
    return abi.library_version.decode()


def packed(value, size):
    """The bytes of a field: a number, an array of numbers, or bytes as they are."""
    if isinstance(value, bytes):
        content = value
    elif isinstance(value, float):
        content = struct.pack("<f" if size == 4 else "<d", value)
    elif isinstance(value, int):
        content = value.to_bytes(size, "little", signed=value < 0)
    else:
        content = b"".join(packed(item, size // len(value)) for item in value)
    if len(content) != size:
        raise ValueError(f"{len(content)} bytes for a field of {size}")
    return content


def structure(name, **fields):
    """A struct of the header, all else zero but its size."""
    total = places[name, ""][1]
    block = bytearray(total)
    if (name, "struct_size") in places:
        fields["struct_size"] = total
    for field, value in fields.items():
        offset, size = places[name, field]
        block[offset:offset + size] = packed(value, size)
    return c.create_string_buffer(bytes(block), total)


def layout(heads, length, depth, dtype):
    return structure("fattn_layout", shape=(1, heads, length, depth),
                     strides=(heads * length * depth, length * depth, depth, 1), dtype=DTYPES[dtype], rank=4).raw


class Case:
    """A problem with its tensors."""

    def __init__(self, shape, starts):
        hq, hk, lq, lk, d = (shape[n] for n in ("q_heads", "kv_heads", "q_len", "kv_len", "head_dim"))
        self.dtype, self.backward, self.family = shape["dtype"], shape["backward"], shape.get("family", "dense")
        flags, fields, self.extra = self.pattern(shape)
        flags |= FLAGS[self.family]["backward"] if self.backward else 0
        problem = structure(f"fattn_{self.family}_problem", flags=flags, q=layout(hq, lq, d, self.dtype),
                            k=layout(hk, lk, d, self.dtype), v=layout(hk, lk, d, self.dtype), **fields)
        self.plan = PTR()
        check(getattr(library, f"fattn_{self.family}_plan")(device, problem, c.byref(self.plan)))
        counts = {"q": hq * lq * d, "k": hk * lk * d, "v": hk * lk * d}
        self.memory = {name: filled(starts[name], count, self.dtype) for name, count in counts.items()}
        self.memory["o"] = Memory(bytes(self.memory["q"].size))
        self.memory["lse"] = Memory(bytes(4 * hq * lq))
        self.run = structure("fattn_run", max_threads=shape["threads"])
        self.forward_args = self.arguments("forward")
        self.call("forward", self.forward_args)
        if self.backward:
            self.memory["d_o"] = filled(starts["d_o"], counts["q"], self.dtype)
            self.memory.update({f"d_{n}": Memory(bytes(self.memory[n].size)) for n in "qkv"})
            self.backward_args = self.arguments("backward")
            self.step()

    def pattern(self, shape):
        """Flags, further fields of the problem and further memory of a run."""
        flags, family = FLAGS[self.family], self.family
        if family == "dense":
            window = shape.get("window", 0)
            bits = (flags["causal"] if shape["causal"] else 0) | (flags["window"] if window else 0)
            return bits, {"window_left": window - 1, "window_right": 0} if window else {}, {}
        if family == "neighborhood":
            grid, kernel = shape["grid"], shape["kernel"]
            rest = [0] * (3 - len(grid))
            return 0, {"grid": grid + rest, "kernel_size": kernel + rest, "num_axes": len(grid)}, {}
        if family == "lightning":
            slopes = array.array("f", lightning_slopes(shape["q_heads"])).tobytes()
            return flags["scale"], {"scale": lightning_scale(shape)}, {"slopes": Memory(slopes)}
        if family == "s2":
            return flags["per_query_head"], {"block_size": shape["block"], "local_blocks": shape["local"],
                                             "vertical_stride": shape["stride"], "head_offset": 1}, {}
        mask = bytes(kept for head in block_mask(shape) for row in head for kept in row)
        return 0, {"block_size": shape["block"], "segment_size": 2 * shape["block"]}, {"block_mask": Memory(mask)}

    def arguments(self, direction):
        name = f"fattn_{self.family}_{direction}_args"
        memory = {**self.memory, **self.extra}
        return structure(name, **{field: memory[field].at for field in memory if (name, field) in places})

    def call(self, direction, arguments):
        check(getattr(library, f"fattn_{self.family}_{direction}")(self.plan, arguments, self.run))

    def step(self):
        if self.backward:
            self.call("backward", self.backward_args)
        else:
            self.call("forward", self.forward_args)

    def sample(self, num):
        return self.memory["d_q" if self.backward else "o"].sample(self.dtype, num)


def measure_peak(kind, threads):
    """The peak as the wall clock has it, and by the processor time that the measurement was given."""
    peak = c.c_double()
    begin, begin_cpu = time.perf_counter(), time.process_time()
    check(library.fattn_device_measure(device, PEAKS[kind], threads, 0.02, c.byref(peak)))
    wall, cpu = time.perf_counter() - begin, time.process_time() - begin_cpu
    return {"wall": peak.value, "cpu": peak.value * wall * threads / cpu}


def answer(m):
    if m["do"] == "start":
        read_table(m["values"])
        version = read_places()
        check(library.fattn_device_cpu(c.byref(device)))
        return {"version": version}
    if m["do"] == "open":
        case = Case(m["shape"], m["starts"])
        opened[m["variant"]] = case
        return {"sample": case.sample(m["samples"])}
    if m["do"] == "run":
        return timed(opened[m["variant"]].step, m["times"])
    if m["do"] == "peak":
        return measure_peak(m["kind"], m["threads"])
    for case in opened.values():
        library.fattn_plan_release(case.plan)
    opened.clear()
    return {}


serve(answer)
