"""Runs this project's library through its C interface for compare.py, which speaks JSON lines to it.

Started with the text of memory.py before it and one argument, the library.
"""

U32, I32, I64, U64, F32, PTR = c.c_uint32, c.c_int32, c.c_int64, c.c_uint64, c.c_float, c.c_void_p
CAUSAL, WINDOW, BACKWARD = 1, 4, 4096
DTYPES = {"f32": 1, "bf16": 3}
PEAKS = {"f32": 0, "bf16": 1, "read": 2}


class Layout(c.Structure):
    _fields_ = [("shape", I64 * 4), ("strides", I64 * 4), ("dtype", U32), ("rank", U32)]


def growing(name, **fields):
    """A struct of the header that begins with its size and a second u32, the flags of most."""
    return type(name, (c.Structure,), {"_fields_": [("struct_size", U32), ("flags", U32), *fields.items()]})


Run = growing("fattn_run", max_threads=I32, reserved=U32, stream=PTR, workspace=PTR, workspace_bytes=U64, cancel=PTR)
Problem = growing(
    "fattn_dense_problem", **{n: Layout for n in "q k v o bias mask d_o d_q d_k d_v d_bias".split()},
    **{n: F32 for n in "scale softcap sigmoid_bias dropout_p".split()},
    **{n: I64 for n in "window_left window_right attention_chunk".split()},
    **{n: U32 for n in "causal_alignment weights pointer_alignment reserved".split()},
    **{n: I64 for n in "num_seqs max_q_len max_kv_len max_pages_per_seq".split()},
    k_scale=Layout, v_scale=Layout, score_program=PTR, mask_program=PTR)
TAIL = dict(dropout_seed=U64, dropout_offset=U64, q_position_offset=I64, k_position_offset=I64,
            program_parameters=PTR, program_parameter_bytes=U64)
Forward = growing(
    "fattn_dense_forward_args",
    **{n: PTR for n in ("q k v o lse bias mask alibi_slopes sink_logits cu_seqlens_q cu_seqlens_k kv_len block_table "
                        "k_scale v_scale").split()}, **TAIL)
Backward = growing(
    "fattn_dense_backward_args",
    **{n: PTR for n in ("q k v o lse d_o d_lse bias mask alibi_slopes sink_logits cu_seqlens_q cu_seqlens_k kv_len "
                        "d_q d_k d_v d_bias d_sink_logits").split()}, **TAIL)


class AbiEntry(c.Structure):
    _fields_ = [("structure", c.c_char_p), ("field", c.c_char_p), ("offset", U32), ("size", U32)]


Abi = growing("fattn_abi_description", library_version=c.c_char_p, entries=c.POINTER(AbiEntry), num_entries=U64)

library = c.CDLL(sys.argv[1])
library.fattn_last_error.restype = c.c_char_p
library.fattn_device_measure.argtypes = [PTR, U32, I32, c.c_double, PTR]
device = PTR()
opened = {}


def check(status):
    if status != 0:
        raise ValueError(library.fattn_last_error().decode())


def check_layouts():
    """Refuses a library whose structs differ from those above; returns its version."""
    abi = Abi(struct_size=c.sizeof(Abi))
    check(library.fattn_abi_describe(c.byref(abi)))
    theirs = {(e.structure.decode(), (e.field or b"").decode()): (e.offset, e.size)
              for e in abi.entries[:abi.num_entries]}
    for kind in (Run, Problem, Forward, Backward):
        for name in ["", *(f[0] for f in kind._fields_)]:
            place = getattr(kind, name) if name else None
            ours = (place.offset, place.size) if name else (0, c.sizeof(kind))
            found = theirs.get((kind.__name__, name))
            if found != ours:
                raise ValueError(f"{kind.__name__}.{name} is at {found} in the library, at {ours} in this script")
    return abi.library_version.decode()


class Case:
    """A problem with its tensors."""

    def __init__(self, shape, starts):
        hq, hk, lq, lk, d = (shape[n] for n in ("q_heads", "kv_heads", "q_len", "kv_len", "head_dim"))
        dtype, self.backward = shape["dtype"], shape["backward"]
        problem = Problem(struct_size=c.sizeof(Problem))
        problem.flags = (CAUSAL if shape["causal"] else 0) | (BACKWARD if self.backward else 0)
        if shape["window"]:
            problem.flags |= WINDOW
            problem.window_left, problem.window_right = shape["window"] - 1, 0
        for name, heads, length in (("q", hq, lq), ("k", hk, lk), ("v", hk, lk)):
            setattr(problem, name, Layout((1, heads, length, d), (heads * length * d, length * d, d, 1),
                                          DTYPES[dtype], 4))
        self.plan = PTR()
        check(library.fattn_dense_plan(device, c.byref(problem), c.byref(self.plan)))
        counts = {"q": hq * lq * d, "k": hk * lk * d, "v": hk * lk * d}
        self.memory = {name: filled(starts[name], count, dtype) for name, count in counts.items()}
        self.memory["o"] = Memory(bytes(self.memory["q"].size))
        self.memory["lse"] = Memory(bytes(4 * hq * lq))
        self.forward_args = self.arguments(Forward)
        self.run = Run(struct_size=c.sizeof(Run), max_threads=shape["threads"])
        check(library.fattn_dense_forward(self.plan, c.byref(self.forward_args), c.byref(self.run)))
        if self.backward:
            self.memory["d_o"] = filled(starts["d_o"], counts["q"], dtype)
            self.memory.update({f"d_{n}": Memory(bytes(self.memory[n].size)) for n in "qkv"})
            self.backward_args = self.arguments(Backward)
            self.step()

    def arguments(self, kind):
        return kind(struct_size=c.sizeof(kind), **{name: m.at for name, m in self.memory.items()})

    def step(self):
        if self.backward:
            check(library.fattn_dense_backward(self.plan, c.byref(self.backward_args), c.byref(self.run)))
        else:
            check(library.fattn_dense_forward(self.plan, c.byref(self.forward_args), c.byref(self.run)))

    def sample(self, dtype, num):
        result = self.memory["d_q" if self.backward else "o"]
        return result.sample(dtype, num)


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
        version = check_layouts()
        check(library.fattn_device_cpu(c.byref(device)))
        return {"version": version}
    if m["do"] == "open":
        case = Case(m["shape"], m["starts"])
        opened[m["variant"]] = case
        return {"sample": case.sample(m["shape"]["dtype"], m["samples"])}
    if m["do"] == "run":
        return timed(opened[m["variant"]].step, m["times"])
    if m["do"] == "peak":
        return measure_peak(m["kind"], m["threads"])
    for case in opened.values():
        library.fattn_plan_release(case.plan)
    opened.clear()
    return {}


serve(answer)
