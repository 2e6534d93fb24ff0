// Checks that every family's runs share; see run_check.h.
#include "api/run_check.h"

#include <cstdint>

#include "api/growing.h"
#include "backend/text.h"

namespace fattn::api {
namespace {

constexpr int64 kArrayElementBytes = 4;  // int32 indices and f32 vectors

}  // namespace

Status read_run(fattn_device_kind kind, const fattn_run* given, RunOptions* out) {
    *out = RunOptions{};
    if (given == nullptr) return {};
    fattn_run run;
    FATTN_RETURN_IF_ERROR(read_growing(given, "run", "fattn_run", &run));
    if (run.flags != 0) {
        return unsupported(text("run->flags is ", run.flags, "; this library knows none"));
    }
    if (run.reserved != 0) {
        return unsupported(text("run->reserved is ", run.reserved, "; allowed is 0"));
    }
    if (run.max_threads < 0) {
        return invalid(text("run->max_threads is ", run.max_threads,
                            "; allowed are positive numbers, and 0 for the device's own"));
    }
    const bool on_host = kind == FATTN_DEVICE_KIND_CPU;
    if (on_host && run.stream != nullptr) {
        return invalid("run->stream is given; on the CPU it must be NULL, the call is synchronous");
    }
    if (!on_host && run.cancel != nullptr) {
        return invalid(
            "run->cancel is given; on a CUDA device it must be NULL, the call only enqueues");
    }
    if (run.workspace == nullptr && run.workspace_bytes != 0) {
        return invalid(text("run->workspace is NULL with workspace_bytes ", run.workspace_bytes,
                            "; give both or neither"));
    }
    if (reinterpret_cast<std::uintptr_t>(run.cancel) % sizeof(int32) != 0) {
        return invalid("run->cancel is not aligned; its address must be a multiple of 4");
    }
    *out = {.max_threads = run.max_threads,
            .stream = run.stream,
            .workspace = run.workspace,
            .workspace_bytes = run.workspace_bytes,
            .cancel = run.cancel};
    return {};
}

const void* address_of(const void* data) {
    alignas(64) static const char nothing[64] = {};
    return data != nullptr ? data : nothing;
}

Status reject(const char* name, const void* data, const char* why) {
    if (data == nullptr) return {};
    return invalid(text(name, " is given; ", why));
}

void RunMemoryChecker::set_indices(bool lengths_on_host, bool read_back) {
    lengths_on_host_ = lengths_on_host;
    reads_back_ = read_back;
}

Status RunMemoryChecker::lengths(const char* name, const int32* data, int64 count,
                                 const int32** contents) {
    if (!lengths_on_host_) return indices(name, data, count, contents);
    if (data != nullptr && device_.backend->work()->is_device_memory(data)) {
        return invalid(text(name,
                            " is device memory; args->flags have to say so for cu_seqlens and "
                            "kv_len together (..._LENGTHS_ON_DEVICE)"));
    }
    *contents = data;
    return {};
}

Status RunMemoryChecker::indices(const char* name, const int32* data, int64 count,
                                 const int32** contents) {
    *contents = on_host() ? data : nullptr;
    if (on_host() || !reads_back_ || data == nullptr) return {};
    return read_back(name, data, count, contents);
}

Status RunMemoryChecker::read_back(const char* name, const int32* data, int64 count,
                                   const int32** contents) {
    DeviceWork* const work = device_.backend->work();
    const uint64 bytes = static_cast<uint64>(count) * sizeof(int32);
    std::unique_ptr<DeviceStream> stream;
    FATTN_RETURN_IF_ERROR(work->borrow_stream(stream_, &stream));
    FATTN_RETURN_IF_ERROR(work->check_range(data, bytes, name));
    std::vector<int32>& copy = copies_.emplace_front(static_cast<std::size_t>(count));
    FATTN_RETURN_IF_ERROR(work->copy(
        *stream, {.kind = CopyKind::kToHost, .to = copy.data(), .from = data, .bytes = bytes}));
    FATTN_RETURN_IF_ERROR(stream->synchronize());
    *contents = copy.data();
    return {};
}

Status RunMemoryChecker::add(const char* name, const Region& region, int64 alignment, Role role) {
    const auto address = reinterpret_cast<std::uintptr_t>(region.data);
    if (address % static_cast<std::uintptr_t>(alignment) != 0) {
        return invalid(text(
            name, " is at an address that is ", address % static_cast<std::uintptr_t>(alignment),
            " past a multiple of ", alignment, "; it must be a multiple of ", alignment, " bytes"));
    }
    entries_.at(static_cast<std::size_t>(num_entries_++)) = {name, region, role};
    return {};
}

Status RunMemoryChecker::may(const char* name, const void* data, const TensorLayout& layout,
                             Role role) {
    if (data == nullptr) return {};
    const int64 alignment = max_of<int64>(bits_of(layout.dtype) / 8, pointer_alignment_);
    return add(name, {data, byte_extent(layout), &layout}, alignment, role);
}

Status RunMemoryChecker::need(const char* name, const void* data, const TensorLayout& layout,
                              Role role) {
    if (data == nullptr && !is_empty(layout)) {
        return invalid(
            text(name, " is NULL; needed are ", list_text(layout.shape), " of ", layout.dtype));
    }
    return may(name, data, layout, role);
}

Status RunMemoryChecker::may_array(const char* name, const void* data, int64 count, Role role) {
    if (data == nullptr) return {};
    return add(name, {data, count * kArrayElementBytes, nullptr}, kArrayElementBytes, role);
}

Status RunMemoryChecker::need_array(const char* name, const void* data, int64 count, Role role) {
    if (data == nullptr && count > 0) {
        return invalid(text(name, " is NULL; needed are ", count, " elements"));
    }
    return may_array(name, data, count, role);
}

void RunMemoryChecker::add_workspace(const void* data, uint64 bytes) {
    const Region region{data, static_cast<int64>(bytes), nullptr};
    entries_.at(static_cast<std::size_t>(num_entries_++)) = {"run->workspace", region,
                                                             Role::kOutput};
}

Status RunMemoryChecker::check_overlaps() const {
    for (int i = 0; i < num_entries_; ++i) {
        const Entry& output = entries_[static_cast<std::size_t>(i)];
        if (output.role != Role::kOutput) continue;
        for (int j = 0; j < num_entries_; ++j) {
            const Entry& other = entries_[static_cast<std::size_t>(j)];
            const bool both_write = other.role == Role::kOutput;
            if (both_write && j <= i) continue;
            if (both_write ? are_disjoint(output.region, other.region)
                           : !ranges_meet(output.region, other.region)) {
                continue;
            }
            return invalid(text(output.name, " and ", other.name,
                                both_write
                                    ? " share memory; two outputs must not"
                                    : " overlap in memory; an output must not meet an input"));
        }
    }
    return {};
}

}  // namespace fattn::api
