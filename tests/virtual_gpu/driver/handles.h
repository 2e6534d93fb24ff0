// Numbers that stand for objects in the hands of a program. A number is never given twice and is no
// address of the process, so a destroyed or invented handle is always recognised. Used for every
// kind of object of the driver.
#pragma once

#include <cstdint>
#include <map>
#include <memory>

#include "driver/failure.h"

namespace fattn::vgpu::driver {

enum class HandleKind : uint64_t {
    kContext = 1,
    kStream,
    kEvent,
    kModule,
    kFunction,
    kLibrary,
    kKernel,
    kGraph,
    kGraphNode,
    kGraphExec,
    kMemoryPool,
};

// Not canonical: a program that follows it as a pointer stops at once.
inline constexpr uint64_t kHandleBase = 0x0a00'0000'0000'0000;

template <class Object, class Handle>
class HandleTable {
  public:
    HandleTable(HandleKind kind, const char* noun)
        : noun_(noun), next_(kHandleBase | (static_cast<uint64_t>(kind) << 48)) {}

    Handle add(std::shared_ptr<Object> object) {
        next_ += 16;
        objects_.emplace(next_, std::move(object));
        return reinterpret_cast<Handle>(next_);
    }

    std::shared_ptr<Object> find(Handle handle) const {
        const auto found = objects_.find(reinterpret_cast<uint64_t>(handle));
        return found == objects_.end() ? nullptr : found->second;
    }

    // The object, or a failure that says what the handle is not.
    std::shared_ptr<Object> require(Handle handle) const {
        std::shared_ptr<Object> object = find(handle);
        if (!object) {
            fail(cuda::CUDA_ERROR_INVALID_HANDLE, "%#llx is no %s, or one that was destroyed",
                 reinterpret_cast<unsigned long long>(handle), noun_);
        }
        return object;
    }

    void remove(Handle handle) { objects_.erase(reinterpret_cast<uint64_t>(handle)); }

    // `visit` must not change the table.
    template <class Visit>
    void for_each(Visit&& visit) const {
        for (const auto& [number, object] : objects_) visit(*object);
    }

    // Removes every object that `wanted` names; they end when the last holder lets go.
    template <class Wanted>
    void remove_if(Wanted&& wanted) {
        std::erase_if(objects_, [&](const auto& item) { return wanted(*item.second); });
    }

  private:
    const char* noun_;
    uint64_t next_;
    std::map<uint64_t, std::shared_ptr<Object>> objects_;
};

}  // namespace fattn::vgpu::driver
