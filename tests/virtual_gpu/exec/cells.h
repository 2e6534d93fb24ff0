// Vectors of shadow cells: several words of shared memory that are looked at, or marked, together.
// Used by the layers of shadows and by what asynchronous operations do to them.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

namespace fattn::vgpu {

using FourCells = uint32_t __attribute__((vector_size(16)));
using EightCells = uint32_t __attribute__((vector_size(32)));
// What `count` cells, 4 or a multiple of 8, are walked through in.
template <uint32_t count>
using CellsOf = std::conditional_t<count == 4, FourCells, EightCells>;
template <class V>
inline constexpr uint32_t kWidthOf = sizeof(V) / sizeof(uint32_t);

template <class V>
V cells_at(const uint32_t* from) {
    V loaded;
    std::memcpy(&loaded, from, sizeof loaded);
    return loaded;
}

template <class V>
void set_cells(uint32_t* to, V values) {
    std::memcpy(to, &values, sizeof values);
}

template <uint32_t count>
void fill_cells(uint32_t* to, uint32_t value) {
    using V = CellsOf<count>;
    for (uint32_t i = 0; i < count; i += kWidthOf<V>) set_cells(to + i, V{} + value);
}

inline bool any_of(FourCells found) {
    uint64_t halves[2];
    std::memcpy(halves, &found, sizeof halves);
    return (halves[0] | halves[1]) != 0;
}
inline bool any_of(EightCells found) {
    FourCells halves[2];
    std::memcpy(halves, &found, sizeof halves);
    return any_of(halves[0] | halves[1]);
}

// Cell by cell; what the compilers make of a conditional expression over vectors.
template <class V>
V choose(V condition, V yes, V no) {
    return (condition & yes) | (~condition & no);
}

// f.operator()<n>(i) for pieces of n cells, 32 of them, 8 or 4, which `count` is a multiple of;
// where it is false, again for what they are made of; four(i) where it is false of 4.
template <class F, class Four>
void each_cells(uint32_t word, uint32_t count, F f, Four four) {
    const uint32_t end = word + count;
    const auto eight = [&](uint32_t at) {
        if (f.template operator()<8>(at)) return;
        for (uint32_t i = at; i < at + 8; i += 4) {
            if (!f.template operator()<4>(i)) four(i);
        }
    };
    for (; word + 32 <= end; word += 32) {
        if (f.template operator()<32>(word)) continue;
        for (uint32_t i = word; i < word + 32; i += 8) eight(i);
    }
    for (; word + 8 <= end; word += 8) eight(word);
    for (; word < end; word += 4) {
        if (!f.template operator()<4>(word)) four(word);
    }
}

}  // namespace fattn::vgpu
