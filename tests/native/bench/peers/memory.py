"""Memory that a worker's library reads, filled as all sides fill theirs, and the worker's talk with compare.py.

compare.py starts a worker with this text before the worker's own.
"""

import array
import base64
import ctypes as c
import json
import sys
import time

table = {}


def read_table(values):
    """Keeps the numbers in f32 and, low bits dropped, in bf16."""
    numbers = base64.b64decode(values)
    halves = bytearray(len(numbers) // 2)
    halves[0::2], halves[1::2] = numbers[2::4], numbers[3::4]
    table.update(f32=numbers, bf16=bytes(halves))


class Memory:
    """Bytes on a 64-byte boundary."""

    def __init__(self, content):
        self._block = c.create_string_buffer(len(content) + 64)
        self.at = -(-c.addressof(self._block) // 64) * 64
        self.size = len(content)
        c.memmove(self.at, content, self.size)

    def sample(self, dtype, num):
        data = c.string_at(self.at, self.size)
        if dtype == "bf16":
            wide = bytearray(2 * len(data))
            wide[2::4], wide[3::4] = data[0::2], data[1::2]
            data = bytes(wide)
        numbers = array.array("f", data)
        return [numbers[n * (len(numbers) - 1) // (num - 1)] for n in range(num)]


def filled(start, count, dtype):
    size = 4 if dtype == "f32" else 2
    source = table[dtype]
    repeated = source * (count * size // len(source) + 2)
    return Memory(repeated[start * size:(start + count) * size])


def timed(step, times):
    """Seconds of a step. One step before them is not timed: after another process or a measurement of the peak had the
    processor, a guest of a virtual machine may have to map its memory again, page by page."""
    step()
    begin, begin_cpu = time.perf_counter(), time.process_time()
    for _ in range(times):
        step()
    return {"wall": (time.perf_counter() - begin) / times, "cpu": (time.process_time() - begin_cpu) / times}


def serve(answer):
    for line in sys.stdin:
        try:
            reply = answer(json.loads(line))
        except ValueError as error:
            reply = {"error": str(error)}
        print(json.dumps(reply), flush=True)
