// The copy and fill functions. Called by programs through the driver API.
//
// What waits for what follows the API's own statements on synchronisation: copies to the host and
// from pinned memory have ended when the call returns; a copy from pageable memory has only left
// that memory; copies inside the device and fills are not waited for at all, so another,
// non-blocking stream may still be ahead of them.
#include "driver/copy.h"
#include "driver/entry.h"
#include "driver/exports.h"

namespace fattn::vgpu::cuda {
namespace {

using driver::call_in_context;
using driver::call_outside_capture;
using driver::Context;
using driver::Copy;
using driver::copy_side;
using driver::CopySide;
using driver::Driver;
using driver::enqueue;
using driver::fail;
using driver::Fill;
using driver::Side;

uint64_t address_of(const void* pointer) { return reinterpret_cast<uint64_t>(pointer); }

struct Line {
    uint64_t destination;
    Side destination_side;
    uint64_t source;
    Side source_side;
    uint64_t bytes;
};

Copy line_copy(Driver& state, const Context& context, const char* function, const Line& line) {
    Copy copy = {.function = function, .width = line.bytes};
    copy.source =
        copy_side(state, context, copy, line.source, line.bytes, line.source_side, "source");
    copy.destination = copy_side(state, context, copy, line.destination, line.bytes,
                                 line.destination_side, "destination");
    return copy;
}

void run_synchronously(Driver& state, Context& context, const Copy& copy) {
    driver::Work work = driver::copy_work(state, context, copy, true);
    const bool must_end =
        work.host_write.begin != work.host_write.end || work.host_read.begin != work.host_read.end;
    work.poison_host_write = nullptr;
    const driver::OperationRef operation = enqueue(state, *context.legacy, std::move(work));
    if (!must_end) return;
    state.queue.force(operation);
    driver::current_context(state);
}

CUresult copy_now(const char* function, const Line& line) {
    return call_outside_capture(function, [&](Driver& state, Context& context) {
        run_synchronously(state, context, line_copy(state, context, function, line));
    });
}

CUresult copy_later(const char* function, const Line& line, CUstream stream) {
    return call_in_context(function, [&](Driver& state, Context& context) {
        const Copy copy = line_copy(state, context, function, line);
        enqueue(state, driver::stream_in(state, context, stream),
                driver::copy_work(state, context, copy, false));
    });
}

struct PlaneSide {
    CUmemorytype type;
    const void* host;
    CUdeviceptr device;
    size_t x;
    size_t y;
    size_t pitch;
};

CopySide plane_side(Driver& state, const Context& context, const Copy& copy, const PlaneSide& plane,
                    const char* noun) {
    if (plane.type == CU_MEMORYTYPE_ARRAY) {
        fail(CUDA_ERROR_NOT_SUPPORTED, "%s: CUDA arrays are not offered by the virtual GPU",
             copy.function);
    }
    if (plane.type < CU_MEMORYTYPE_HOST || plane.type > CU_MEMORYTYPE_UNIFIED) {
        fail(CUDA_ERROR_INVALID_VALUE, "%s: the memory type of the %s is %d; it may be 1, 2 or 4",
             copy.function, noun, static_cast<int>(plane.type));
    }
    const bool host = plane.type == CU_MEMORYTYPE_HOST;
    const Side side =
        host ? Side::kHost : (plane.type == CU_MEMORYTYPE_DEVICE ? Side::kDevice : Side::kEither);
    const size_t pitch = plane.pitch == 0 ? plane.x + copy.width : plane.pitch;
    const uint64_t base = host ? address_of(plane.host) : plane.device;
    return copy_side(state, context, copy, base + plane.y * pitch + plane.x, pitch, side, noun);
}

Copy plane_copy(Driver& state, const Context& context, const char* function,
                const CUDA_MEMCPY2D* what) {
    driver::require_results(what);
    Copy copy = {.function = function, .width = what->WidthInBytes, .height = what->Height};
    copy.source = plane_side(state, context, copy,
                             {.type = what->srcMemoryType,
                              .host = what->srcHost,
                              .device = what->srcDevice,
                              .x = what->srcXInBytes,
                              .y = what->srcY,
                              .pitch = what->srcPitch},
                             "source");
    copy.destination = plane_side(state, context, copy,
                                  {.type = what->dstMemoryType,
                                   .host = what->dstHost,
                                   .device = what->dstDevice,
                                   .x = what->dstXInBytes,
                                   .y = what->dstY,
                                   .pitch = what->dstPitch},
                                  "destination");
    return copy;
}

CUresult plane_now(const char* function, const CUDA_MEMCPY2D* what) {
    return call_outside_capture(function, [&](Driver& state, Context& context) {
        run_synchronously(state, context, plane_copy(state, context, function, what));
    });
}

CUresult fill_now(const Fill& fill) {
    return call_outside_capture(fill.function, [&](Driver& state, Context& context) {
        driver::Work work = driver::fill_work(state, context, fill);
        const bool must_end = work.host_write.begin != work.host_write.end;
        const driver::OperationRef operation = enqueue(state, *context.legacy, std::move(work));
        if (!must_end) return;
        state.queue.force(operation);
        driver::current_context(state);
    });
}

CUresult fill_later(const Fill& fill, CUstream stream) {
    return call_in_context(fill.function, [&](Driver& state, Context& context) {
        enqueue(state, driver::stream_in(state, context, stream),
                driver::fill_work(state, context, fill));
    });
}

}  // namespace

extern "C" {

CUresult cuMemcpy(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
    return copy_now("cuMemcpy", {to, Side::kEither, from, Side::kEither, bytes});
}

CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void* from, size_t bytes) {
    return copy_now("cuMemcpyHtoD_v2", {to, Side::kDevice, address_of(from), Side::kHost, bytes});
}

CUresult cuMemcpyDtoH_v2(void* to, CUdeviceptr from, size_t bytes) {
    return copy_now("cuMemcpyDtoH_v2", {address_of(to), Side::kHost, from, Side::kDevice, bytes});
}

CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
    return copy_now("cuMemcpyDtoD_v2", {to, Side::kDevice, from, Side::kDevice, bytes});
}

CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
    return copy_later("cuMemcpyAsync", {to, Side::kEither, from, Side::kEither, bytes}, stream);
}

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, size_t bytes, CUstream stream) {
    return copy_later("cuMemcpyHtoDAsync_v2",
                      {to, Side::kDevice, address_of(from), Side::kHost, bytes}, stream);
}

CUresult cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t bytes, CUstream stream) {
    return copy_later("cuMemcpyDtoHAsync_v2",
                      {address_of(to), Side::kHost, from, Side::kDevice, bytes}, stream);
}

CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
    return copy_later("cuMemcpyDtoDAsync_v2", {to, Side::kDevice, from, Side::kDevice, bytes},
                      stream);
}

CUresult cuMemcpy2D_v2(const CUDA_MEMCPY2D* what) { return plane_now("cuMemcpy2D_v2", what); }

CUresult cuMemcpy2DUnaligned_v2(const CUDA_MEMCPY2D* what) {
    return plane_now("cuMemcpy2DUnaligned_v2", what);
}

CUresult cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D* what, CUstream stream) {
    return call_in_context("cuMemcpy2DAsync_v2", [&](Driver& state, Context& context) {
        const Copy copy = plane_copy(state, context, "cuMemcpy2DAsync_v2", what);
        enqueue(state, driver::stream_in(state, context, stream),
                driver::copy_work(state, context, copy, false));
    });
}

CUresult cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t count) {
    return fill_now({"cuMemsetD8_v2", to, 0, value, 1, count, 1});
}

CUresult cuMemsetD16_v2(CUdeviceptr to, unsigned short value, size_t count) {
    return fill_now({"cuMemsetD16_v2", to, 0, value, 2, count, 1});
}

CUresult cuMemsetD32_v2(CUdeviceptr to, unsigned value, size_t count) {
    return fill_now({"cuMemsetD32_v2", to, 0, value, 4, count, 1});
}

CUresult cuMemsetD2D8_v2(CUdeviceptr to, size_t pitch, unsigned char value, size_t width,
                         size_t height) {
    return fill_now({"cuMemsetD2D8_v2", to, pitch, value, 1, width, height});
}

CUresult cuMemsetD2D16_v2(CUdeviceptr to, size_t pitch, unsigned short value, size_t width,
                          size_t height) {
    return fill_now({"cuMemsetD2D16_v2", to, pitch, value, 2, width, height});
}

CUresult cuMemsetD2D32_v2(CUdeviceptr to, size_t pitch, unsigned value, size_t width,
                          size_t height) {
    return fill_now({"cuMemsetD2D32_v2", to, pitch, value, 4, width, height});
}

CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, CUstream stream) {
    return fill_later({"cuMemsetD8Async", to, 0, value, 1, count, 1}, stream);
}

CUresult cuMemsetD16Async(CUdeviceptr to, unsigned short value, size_t count, CUstream stream) {
    return fill_later({"cuMemsetD16Async", to, 0, value, 2, count, 1}, stream);
}

CUresult cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t count, CUstream stream) {
    return fill_later({"cuMemsetD32Async", to, 0, value, 4, count, 1}, stream);
}

CUresult cuMemsetD2D8Async(CUdeviceptr to, size_t pitch, unsigned char value, size_t width,
                           size_t height, CUstream stream) {
    return fill_later({"cuMemsetD2D8Async", to, pitch, value, 1, width, height}, stream);
}

CUresult cuMemsetD2D16Async(CUdeviceptr to, size_t pitch, unsigned short value, size_t width,
                            size_t height, CUstream stream) {
    return fill_later({"cuMemsetD2D16Async", to, pitch, value, 2, width, height}, stream);
}

CUresult cuMemsetD2D32Async(CUdeviceptr to, size_t pitch, unsigned value, size_t width,
                            size_t height, CUstream stream) {
    return fill_later({"cuMemsetD2D32Async", to, pitch, value, 4, width, height}, stream);
}

CUresult fattnVirtualGpuMarkUndefined(CUdeviceptr address, size_t bytes, CUstream stream) {
    return call_in_context("fattnVirtualGpuMarkUndefined", [&](Driver& state, Context& context) {
        enqueue(state, driver::stream_in(state, context, stream),
                driver::poison_work(state, context, address, bytes));
    });
}

}  // extern "C"
}  // namespace fattn::vgpu::cuda
