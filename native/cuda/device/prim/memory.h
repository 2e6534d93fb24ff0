// Loads and stores of global and shared memory, asynchronous copies included; called by loaders and
// epilogues. Shared memory is addressed in bytes of its own window.
#pragma once

#include "core/types.h"

namespace fattn::prim {

/// 16 bytes in four registers.
struct Words {
    uint32 x, y, z, w;
};

/// First byte of the block's dynamic shared memory: cvta.to.shared, which the compiler knows and
/// can fold into addresses.
__device__ inline uint32 shared_memory() {
    extern __shared__ __align__(128) uint8 dynamic_shared_memory[];
    return static_cast<uint32>(__cvta_generic_to_shared(dynamic_shared_memory));
}

/// cp.async.cg.shared.global: num_bytes, 0 to 16, of global memory go to 16 bytes of shared memory;
/// the others become 0. Both addresses are multiples of 16. With 0 bytes nothing is read.
__device__ inline void copy_async_16(uint32 s_to, const void* g_from, int32 num_bytes) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(s_to),
                 "l"(__cvta_generic_to_global(g_from)), "r"(num_bytes)
                 : "memory");
}

/// The same for 16 bytes.
__device__ inline void copy_async_16(uint32 s_to, const void* g_from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(s_to),
                 "l"(__cvta_generic_to_global(g_from))
                 : "memory");
}

/// cp.async.ca.shared.global: num_bytes, 0 to 8, of global memory go to 8 bytes of shared memory;
/// the others become 0. Both addresses are multiples of 8. With 0 bytes nothing is read.
__device__ inline void copy_async_8(uint32 s_to, const void* g_from, int32 num_bytes) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(s_to),
                 "l"(__cvta_generic_to_global(g_from)), "r"(num_bytes)
                 : "memory");
}

/// cp.async.ca.shared.global: 4 bytes of global memory go to shared memory. Both addresses are
/// multiples of 4.
__device__ inline void copy_async_4(uint32 s_to, const void* g_from) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(s_to),
                 "l"(__cvta_generic_to_global(g_from))
                 : "memory");
}

/// cp.async.commit_group: closes the group of the thread's copies since the last one.
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

/// cp.async.wait_group: the thread's groups but the kPending newest are done.
template <int kPending>
__device__ inline void wait_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

/// ld.shared.b32
__device__ inline uint32 load_shared(uint32 s_from) {
    uint32 x;
    asm volatile("ld.shared.b32 %0, [%1];" : "=r"(x) : "r"(s_from) : "memory");
    return x;
}

/// 8 bytes in two registers.
struct WordPair {
    uint32 x, y;
};

/// ld.shared.v2.b32
__device__ inline WordPair load_shared_8(uint32 s_from) {
    WordPair x;
    asm volatile("ld.shared.v2.b32 {%0, %1}, [%2];"
                 : "=r"(x.x), "=r"(x.y)
                 : "r"(s_from)
                 : "memory");
    return x;
}

/// ld.shared.v4.b32
__device__ inline Words load_shared_16(uint32 s_from) {
    Words x;
    asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
                 : "r"(s_from)
                 : "memory");
    return x;
}

/// st.shared.b32
__device__ inline void store_shared(uint32 s_to, uint32 x) {
    asm volatile("st.shared.b32 [%0], %1;" ::"r"(s_to), "r"(x) : "memory");
}

/// st.shared.v2.b32
__device__ inline void store_shared_8(uint32 s_to, uint32 x, uint32 y) {
    asm volatile("st.shared.v2.b32 [%0], {%1, %2};" ::"r"(s_to), "r"(x), "r"(y) : "memory");
}

/// st.shared.v4.b32
__device__ inline void store_shared_16(uint32 s_to, const Words& x) {
    asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(s_to), "r"(x.x), "r"(x.y),
                 "r"(x.z), "r"(x.w)
                 : "memory");
}

/// st.global.v4.b32
__device__ inline void store_global_16(void* g_to, const Words& x) {
    asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(g_to)),
                 "r"(x.x), "r"(x.y), "r"(x.z), "r"(x.w)
                 : "memory");
}

}  // namespace fattn::prim
