"""Calls the library through its C interface with PyTorch tensors, on their device; imported by tests/gpu/peers.py.

Struct layouts come from the library itself (fattn_abi_describe), constants from the public header beside it, so nothing is written twice.
Tensors are [B, H, L, D] with any strides; on a GPU a run is queued in PyTorch's current stream.
"""

import ctypes
import pathlib
import re
import struct

import torch

HEADER = pathlib.Path(__file__).resolve().parents[2] / "native" / "include" / "fused_attention"
DTYPES = {torch.float32: "FATTN_DTYPE_F32", torch.float16: "FATTN_DTYPE_F16", torch.bfloat16: "FATTN_DTYPE_BF16"}


class Entry(ctypes.Structure):
    _fields_ = [("structure", ctypes.c_char_p), ("field", ctypes.c_char_p), ("offset", ctypes.c_uint32), ("size", ctypes.c_uint32)]


class Description(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_uint32), ("abi_version", ctypes.c_uint32), ("library_version", ctypes.c_char_p),
                ("entries", ctypes.POINTER(Entry)), ("num_entries", ctypes.c_uint64)]


class Record:
    """One struct of the header as bytes; fields are set by name with a format of the module struct."""

    def __init__(self, library, name):
        self.fields = library.structs[name]
        size = self.fields[None][1]
        self.bytes = (ctypes.c_char * size)()
        if "struct_size" in self.fields:
            self.set("struct_size", "I", size)

    def set(self, field, form, *values):
        offset, size = self.fields[field]
        if struct.calcsize("=" + form) > size:
            raise ValueError(f"{field} has {size} bytes; {form} is longer")
        struct.pack_into("=" + form, self.bytes, offset, *values)
        return self

    def set_layout(self, field, library, tensor):
        layout = Record(library, "fattn_layout")
        layout.set("shape", "4q", *tensor.shape).set("strides", "4q", *tensor.stride())
        layout.set("dtype", "I", library.constant[DTYPES[tensor.dtype]]).set("rank", "I", 4)
        offset, size = self.fields[field]
        self.bytes[offset:offset + size] = layout.bytes.raw
        return self

    def set_tensors(self, **tensors):
        for field, tensor in tensors.items():
            self.set(field, "Q", tensor.data_ptr())
        return self


class Library:
    """A library file and one of its devices: the GPU with an index, or the CPU for None."""

    def __init__(self, path, gpu=0):
        self.call = ctypes.CDLL(path)
        self.call.fattn_last_error.restype = ctypes.c_char_p
        text = "".join(file.read_text() for file in HEADER.glob("*.h"))
        self.constant = {name: int(value) for name, value in re.findall(r"\b(FATTN_\w+) = (\d+)", text)}
        description = Description(struct_size=ctypes.sizeof(Description))
        self.check(self.call.fattn_abi_describe(ctypes.byref(description)))
        self.structs = {}
        for entry in description.entries[:description.num_entries]:
            fields = self.structs.setdefault(entry.structure.decode(), {})
            fields[entry.field.decode() if entry.field else None] = (entry.offset, entry.size)
        kind = "FATTN_DEVICE_KIND_CPU" if gpu is None else "FATTN_DEVICE_KIND_CUDA"
        self.device = ctypes.c_void_p()
        self.check(self.call.fattn_device_open(self.constant[kind], gpu or 0, None, ctypes.byref(self.device)))

    def check(self, status):
        if status != 0:
            raise RuntimeError(self.call.fattn_last_error().decode())

    def dense(self, q, k, v, causal, backward=False):
        return self.softmax("dense", q, k, v, backward, self.constant["FATTN_DENSE_CAUSAL"] if causal else 0)

    def neighborhood(self, q, k, v, grid, window, backward=False):
        def fill(problem):
            problem.set("grid", f"{len(grid)}q", *grid).set("kernel_size", f"{len(window)}q", *window).set("num_axes", "I", len(grid))

        return self.softmax("neighborhood", q, k, v, backward, fill=fill)

    def s2(self, q, k, v, block, local, stride, offset, backward=False):
        def fill(problem):
            problem.set("block_size", "q", block).set("local_blocks", "q", local).set("vertical_stride", "q", stride)
            problem.set("head_offset", "q", offset)

        return self.softmax("s2", q, k, v, backward, fill=fill)

    def blocks(self, q, k, v, block, kept, backward=False):
        """kept: [B, Hq, nQ, nK] bytes, not 0 for the blocks that are kept."""

        def fill(problem):
            problem.set("block_size", "q", block).set("segment_size", "q", block)

        return self.softmax("permuted_block", q, k, v, backward, fill=fill, block_mask=kept)

    def softmax(self, family, q, k, v, backward, flags=0, fill=None, **inputs):
        """(forward, backward): functions without arguments over buffers of their own; forward returns the output, backward the
        gradients of q, k and v for the given gradient of the output. fill: sets further fields of the problem. inputs: further tensors."""
        problem = Record(self, f"fattn_{family}_problem")
        backward_flag = self.constant[f"FATTN_{family.upper()}_BACKWARD"]
        problem.set("flags", "I", flags | (backward_flag if backward else 0))
        for field, tensor in (("q", q), ("k", k), ("v", v)):
            problem.set_layout(field, self, tensor)
        if fill is not None:
            fill(problem)
        plan = ctypes.c_void_p()
        self.check(getattr(self.call, f"fattn_{family}_plan")(self.device, problem.bytes, ctypes.byref(plan)))

        o = torch.empty((*q.shape[:3], v.shape[3]), device=q.device, dtype=q.dtype)
        lse = torch.empty(q.shape[:3], device=q.device, dtype=torch.float32)
        args = Record(self, f"fattn_{family}_forward_args").set_tensors(q=q, k=k, v=v, o=o, lse=lse, **inputs)
        run_forward, forward_workspace = self.run_of(plan, "FATTN_PASS_FORWARD", q.device)
        call_forward = getattr(self.call, f"fattn_{family}_forward")

        def forward():
            self.check(call_forward(plan, args.bytes, run_forward.bytes))
            return o

        # The blocks above hold addresses alone.
        forward.keeps = (q, k, v, lse, inputs, forward_workspace)
        if not backward:
            return forward, None
        forward()
        d_o = torch.randn_like(o)
        gradients = [torch.empty_strided(tensor.shape, tensor.stride(), device=q.device, dtype=q.dtype) for tensor in (q, k, v)]
        back_args = Record(self, f"fattn_{family}_backward_args").set_tensors(q=q, k=k, v=v, o=o, lse=lse, d_o=d_o, **inputs)
        back_args.set_tensors(d_q=gradients[0], d_k=gradients[1], d_v=gradients[2])
        run_backward, workspace = self.run_of(plan, "FATTN_PASS_BACKWARD", q.device)
        call_backward = getattr(self.call, f"fattn_{family}_backward")

        def run():
            self.check(call_backward(plan, back_args.bytes, run_backward.bytes))
            return gradients

        run.d_o = d_o
        run.keeps = (q, k, v, o, lse, inputs, workspace)
        return forward, run

    def lightning(self, q, k, v, slopes):
        """A function without arguments that runs the forward over buffers of its own and returns the output."""
        problem = Record(self, "fattn_lightning_problem")
        for field, tensor in (("q", q), ("k", k), ("v", v)):
            problem.set_layout(field, self, tensor)
        plan = ctypes.c_void_p()
        self.check(self.call.fattn_lightning_plan(self.device, problem.bytes, ctypes.byref(plan)))
        o = torch.empty((*q.shape[:3], v.shape[3]), device=q.device, dtype=q.dtype)
        args = Record(self, "fattn_lightning_forward_args").set_tensors(q=q, k=k, v=v, o=o, slopes=slopes)
        run, workspace = self.run_of(plan, "FATTN_PASS_FORWARD", q.device)

        def forward():
            self.check(self.call.fattn_lightning_forward(plan, args.bytes, run.bytes))
            return o

        forward.keeps = (q, k, v, slopes, workspace)
        return forward

    def run_of(self, plan, which, device):
        """A run block in PyTorch's stream with the workspace that the plan asks for, and that workspace."""
        device_bytes = ctypes.c_uint64()
        self.check(self.call.fattn_plan_workspace(plan, self.constant[which], 0, None, ctypes.byref(device_bytes)))
        run = Record(self, "fattn_run")
        if device.type == "cpu":
            return run, None
        run.set("stream", "Q", torch.cuda.current_stream(device).cuda_stream)
        if device_bytes.value == 0:
            return run, None
        workspace = torch.empty(device_bytes.value, device=device, dtype=torch.uint8)
        run.set("workspace", "Q", workspace.data_ptr()).set("workspace_bytes", "Q", device_bytes.value)
        return run, workspace
