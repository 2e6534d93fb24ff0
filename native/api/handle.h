// Reference counting of the C interface's handles; used by devices and plans.
#pragma once

#include <atomic>

#include "core/types.h"

namespace fattn::api {

/// Base of every handle; made with one reference, which its creator owns.
struct Counted {
    std::atomic<int64> num_references{1};
};

template <class Handle>
void retain(Handle* handle) noexcept {
    handle->num_references.fetch_add(1, std::memory_order_relaxed);
}

template <class Handle>
void release(Handle* handle) noexcept {
    if (handle->num_references.fetch_sub(1, std::memory_order_acq_rel) == 1) delete handle;
}

/// A counted reference for the length of a scope.
template <class Handle>
class Reference {
  public:
    explicit Reference(Handle* handle) : handle_(handle) { retain(handle); }
    ~Reference() { release(handle_); }
    Reference(const Reference&) = delete;
    Reference& operator=(const Reference&) = delete;

    Handle* operator->() const { return handle_; }
    Handle& operator*() const { return *handle_; }

  private:
    Handle* handle_;
};

}  // namespace fattn::api
