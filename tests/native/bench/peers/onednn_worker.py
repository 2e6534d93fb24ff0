"""Runs attention as a oneDNN graph for compare.py, which speaks JSON lines to it.

Started with the text of memory.py before it and one argument, the library. Struct and enumerators are those of oneDNN 3.
"""

PTR, SIZE = c.c_void_p, c.c_size_t
Dims = c.c_int64 * 12
DTYPES = {"bf16": 2, "f32": 3}
ADD, MATMUL, MULTIPLY, SOFTMAX = 2, 39, 46, 64
AXIS, TRANSPOSE_B = 0x30, 0x66
CPU, FUSION, VARIABLE, DEFAULT_FLAGS = 1, 1, 1, 1
opened = {}


class Layout(c.Union):
    _fields_ = [("strides", Dims), ("id", SIZE)]


class Logical(c.Structure):
    _fields_ = [("id", SIZE), ("ndims", c.c_int), ("dims", Dims), ("data_type", c.c_int), ("property", c.c_int),
                ("layout_type", c.c_int), ("layout", Layout)]


class Version(c.Structure):
    _fields_ = [("major", c.c_int), ("minor", c.c_int), ("patch", c.c_int)]


library = c.CDLL(sys.argv[1])
library.dnnl_version.restype = c.POINTER(Version)


def call(name, *arguments):
    status = getattr(library, "dnnl_" + name)(*arguments)
    if status != 0:
        raise ValueError(f"dnnl_{name} answers {status}")


def made(name, *arguments):
    """The handle that a function writes to its first argument."""
    handle = PTR()
    call(name, c.byref(handle), *arguments)
    return handle


class Graph:
    """softmax(scale q k^T + hidden) v; scores are f32 between the operations."""

    def __init__(self, q, k, v, hidden, dtype):
        self._ids = 0
        self._graph = made("graph_graph_create", CPU)
        rows = q[:-1]
        scores = (*rows, k[-2])
        self.q, self.k, self.v = (self.tensor(shape, dtype) for shape in (q, k, v))
        self.scale, self.o = self.tensor((1,), "f32"), self.tensor((*rows, v[-1]), dtype)
        self.hidden = self.tensor(hidden, "f32") if hidden else None
        products, scaled = self.tensor(scores, "f32"), self.tensor(scores, "f32")
        self.add(MATMUL, [self.q, self.k], products, transpose=True)
        self.add(MULTIPLY, [products, self.scale], scaled)
        if hidden:
            seen = self.tensor(scores, "f32")
            self.add(ADD, [scaled, self.hidden], seen)
            scaled = seen
        weights = self.tensor(scores, dtype)
        self.add(SOFTMAX, [scaled], weights, axis=3)
        self.add(MATMUL, [weights, self.v], self.o)

    def tensor(self, shape, dtype):
        self._ids += 1
        strides = [1]
        for extent in reversed(shape[1:]):
            strides.insert(0, strides[0] * extent)
        logical = Logical()
        call("graph_logical_tensor_init_with_strides", c.byref(logical), SIZE(self._ids), DTYPES[dtype], len(shape),
             Dims(*shape), Dims(*strides), VARIABLE)
        return logical

    def add(self, kind, inputs, output, axis=None, transpose=False):
        self._ids += 1
        op = made("graph_op_create", SIZE(self._ids), kind, str(self._ids).encode())
        for tensor in inputs:
            call("graph_op_add_input", op, c.byref(tensor))
        call("graph_op_add_output", op, c.byref(output))
        if axis is not None:
            call("graph_op_set_attr_s64", op, AXIS, (c.c_int64 * 1)(axis), SIZE(1))
        if transpose:
            call("graph_op_set_attr_bool", op, TRANSPOSE_B, (c.c_uint8 * 1)(1), SIZE(1))
        call("graph_add_op", self._graph, op)

    def compiled(self, engine):
        """The graph as one compiled partition, and its inputs in the partition's order."""
        call("graph_graph_finalize", self._graph)
        call("graph_graph_filter", self._graph, FUSION)
        num = SIZE()
        call("graph_graph_get_partition_num", self._graph, c.byref(num))
        if num.value != 1:
            raise ValueError(f"the graph is cut into {num.value} partitions")
        partition = PTR()
        call("graph_graph_get_partitions", self._graph, num, c.byref(partition))
        call("graph_partition_get_input_ports_num", partition, c.byref(num))
        ports = (Logical * num.value)()
        call("graph_partition_get_input_ports", partition, num, ports)
        tensors = {t.id: t for t in (self.q, self.k, self.v, self.scale, self.hidden) if t is not None}
        inputs = [tensors[port.id] for port in ports]
        pointers = (c.POINTER(Logical) * len(inputs))(*(c.pointer(t) for t in inputs))
        outputs = (c.POINTER(Logical) * 1)(c.pointer(self.o))
        result = made("graph_compiled_partition_create", partition)
        call("graph_partition_compile", partition, result, num, pointers, SIZE(1), outputs, engine)
        return result, inputs


class Case:
    """A problem with its tensors; the query heads of a key head are rows of one head."""

    def __init__(self, shape, starts):
        hq, hk, lq, lk, d = (shape[n] for n in ("q_heads", "kv_heads", "q_len", "kv_len", "head_dim"))
        dtype = shape["dtype"]
        hidden = (1, 1, lq, lk) if shape["causal"] else None
        graph = Graph((1, hk, hq // hk * lq, d), (1, hk, lk, d), (1, hk, lk, d), hidden, dtype)
        engine = made("engine_create", CPU, SIZE(0))
        self._stream = made("stream_create", engine, DEFAULT_FLAGS)
        self._compiled, inputs = graph.compiled(engine)
        self.o = Memory(bytes(hq * lq * d * (4 if dtype == "f32" else 2)))
        self._memory = {graph.q.id: filled(starts["q"], hq * lq * d, dtype),
                        graph.k.id: filled(starts["k"], hk * lk * d, dtype),
                        graph.v.id: filled(starts["v"], hk * lk * d, dtype),
                        graph.scale.id: Memory(array.array("f", [d ** -0.5]).tobytes())}
        if hidden:
            rows = (array.array("f", [0.0] * (i + 1) + [float("-inf")] * (lk - i - 1)).tobytes() for i in range(lq))
            self._memory[graph.hidden.id] = Memory(b"".join(rows))
        tensors = [made("graph_tensor_create", c.byref(t), engine, PTR(self._memory[t.id].at)) for t in inputs]
        self._inputs = (PTR * len(tensors))(*(t.value for t in tensors))
        self._output = (PTR * 1)(made("graph_tensor_create", c.byref(graph.o), engine, PTR(self.o.at)).value)

    def step(self):
        call("graph_compiled_partition_execute", self._compiled, self._stream, SIZE(len(self._inputs)), self._inputs,
             SIZE(1), self._output)
        call("stream_wait", self._stream)


def answer(m):
    if m["do"] == "start":
        read_table(m["values"])
        version = library.dnnl_version().contents
        return {"version": f"{version.major}.{version.minor}.{version.patch}"}
    if m["do"] == "open":
        shape = m["shape"]
        if shape["backward"] or shape["window"]:
            return {"error": "does not apply"}
        case = Case(shape, m["starts"])
        case.step()
        opened[m["variant"]] = case
        return {"sample": case.o.sample(shape["dtype"], m["samples"])}
    if m["do"] == "run":
        return timed(opened[m["variant"]].step, m["times"])
    opened.clear()
    return {}


serve(answer)
