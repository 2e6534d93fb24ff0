// Copies and fills of memory: what they are, checked when issued, and what they do when they run.
// Called by the copy functions.
#pragma once

#include "driver/driver.h"

namespace fattn::vgpu::driver {

// One end of a copy. Rows begin `pitch` bytes after each other.
struct CopySide {
    uint64_t address = 0;
    uint64_t pitch = 0;
    bool pageable = false;  // host memory that the driver does not know
};

struct Copy {
    const char* function = "";
    CopySide source{};
    CopySide destination{};
    uint64_t width = 0;  // bytes of a row
    uint64_t height = 1;
};

// What the API says about an address: host memory may be pinned or pageable, device memory may be
// pinned too.
enum class Side { kHost, kDevice, kEither };

// Finds out which memory an address is, and fails with CUDA_ERROR_INVALID_VALUE unless all rows lie
// in it.
CopySide copy_side(Driver& state, const Context& context, const Copy& copy, uint64_t address,
                   uint64_t pitch, Side side, const char* noun);

// The copy as work for a stream. A pageable source may be read now instead, into a buffer of the
// driver.
Work copy_work(Driver& state, Context& context, const Copy& copy, bool read_source_now);

struct Fill {
    const char* function = "";
    uint64_t address = 0;
    uint64_t pitch = 0;  // bytes; of one row: 0
    uint32_t value = 0;
    uint32_t element_bytes = 1;  // 1, 2 or 4
    uint64_t width = 0;          // elements of a row
    uint64_t height = 1;
};

// The fill as work for a stream, after checking it.
Work fill_work(Driver& state, Context& context, const Fill& fill);

// Marks bytes as never written, in stream order.
Work poison_work(Driver& state, Context& context, uint64_t address, uint64_t bytes);

}  // namespace fattn::vgpu::driver
