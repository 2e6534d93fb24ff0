// Checks that every family's runs share: how a run is carried out, and the pointers it brings; used
// by the run checks of the families and by merge.
#pragma once

#include <array>
#include <forward_list>
#include <vector>

#include "api/device.h"
#include "api/status.h"
#include "api/tensor_check.h"
#include "backend/backend.h"

namespace fattn::api {

/// Reads the run block of a call on a device of this kind; NULL means all defaults.
Status read_run(fattn_device_kind kind, const fattn_run* given, RunOptions* out);

/// Collects the memory of one run, checking each pointer, then checks that what is written meets
/// nothing else.
class RunMemoryChecker {
  public:
    enum class Role { kInput, kOutput };

    /// stream: that of the run, in which index arrays are read back.
    RunMemoryChecker(const fattn_device& device, uint32 pointer_alignment, void* stream)
        : device_(device), pointer_alignment_(pointer_alignment), stream_(stream) {}

    /// Whether the pointers are of this process's memory, whose contents can be looked at.
    bool on_host() const { return device_.description.kind == FATTN_DEVICE_KIND_CPU; }

    /// What a family's flags say of index arrays: whether lengths lie in host memory beside tensors
    /// on a device, and whether what lies on the device is to be read back and checked.
    void set_indices(bool lengths_on_host, bool read_back);
    bool lengths_on_host() const { return lengths_on_host_; }
    /// The contents of an array of lengths, or of other indices (which lie where the tensors lie),
    /// where they can be checked: *contents is null where not. Reading them back waits.
    Status lengths(const char* name, const int32* data, int64 count, const int32** contents);
    Status indices(const char* name, const int32* data, int64 count, const int32** contents);

    /// A tensor that the run needs, unless it has no elements.
    Status need(const char* name, const void* data, const TensorLayout& layout, Role role);
    /// A tensor that may be NULL.
    Status may(const char* name, const void* data, const TensorLayout& layout, Role role);
    /// A contiguous array of count elements of element_bytes that the run needs.
    Status need_array(const char* name, const void* data, int64 count, Role role);
    Status may_array(const char* name, const void* data, int64 count, Role role);
    /// Scratch memory: written, in any order.
    void add_workspace(const void* data, uint64 bytes);

    /// No output may meet an input's address range, nor share an element with another output.
    Status check_overlaps() const;

  private:
    struct Entry {
        const char* name;
        Region region;
        Role role;
    };

    Status add(const char* name, const Region& region, int64 alignment, Role role);
    Status read_back(const char* name, const int32* data, int64 count, const int32** contents);

    static constexpr int kMaxEntries = 32;
    const fattn_device& device_;
    const uint32 pointer_alignment_;
    void* const stream_;
    bool lengths_on_host_ = false;
    bool reads_back_ = false;
    std::forward_list<std::vector<int32>> copies_;  // of what was read back
    std::array<Entry, kMaxEntries> entries_{};
    int num_entries_ = 0;
};
using Role = RunMemoryChecker::Role;

/// Memory without elements in place of NULL, so that kernels may form addresses of empty tensors.
const void* address_of(const void* data);
inline void* address_of(void* data) {
    return const_cast<void*>(address_of(const_cast<const void*>(data)));
}

/// A pointer that the plan does not expect.
Status reject(const char* name, const void* data, const char* why);

}  // namespace fattn::api
