// Copies of tensor tiles into the panel orders that the register-tile products read, converting
// element types on the way and noting non-finite values; called by the tile loops.
#pragma once

#include "core/problem.h"
#include "core/tensor_view.h"
#include "core/types.h"
#include "cpu/gathered_tile.h"
#include "cpu/generic/micro.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

constexpr int64 bytes_of(DType dtype) { return bits_of(dtype) / 8; }

FATTN_HD inline const char* byte_offset(const void* p, int64 bytes) {
    return static_cast<const char*>(p) + bytes;
}

/// Where the rows of one head of K or V lie: tokens in order, contiguous or in pages, or the slots
/// of a gathered tile.
struct TokenRows {
    const char* base;    // token 0 of the sequence; page 0 when paged
    int64 stride;        // bytes from token to token (inside a page when paged)
    const int32* pages;  // page numbers of the sequence or null
    int64 page_size;
    int64 page_stride;    // bytes from page to page
    const int32* tokens;  // of slots; null: rows are tokens
    int64 num_tokens;     // slots with a token from here on are additional keys
    const char* additional;
    int64 additional_stride;

    FATTN_HD const char* row(int64 at) const {
        if (tokens != nullptr) {
            at = tokens[at];
            if (at >= num_tokens) return additional + (at - num_tokens) * additional_stride;
        }
        if (pages == nullptr) return base + at * stride;
        return base + pages[at / page_size] * page_stride + (at % page_size) * stride;
    }
};

/// Rows along the third axis of a tensor from an element offset on.
FATTN_HD inline TokenRows evenly_spaced(const TensorLayout& layout, const void* data,
                                        int64 offset) {
    const int64 bytes = bytes_of(layout.dtype);
    return {byte_offset(data, offset * bytes),
            layout.strides[2] * bytes,
            nullptr,
            0,
            0,
            nullptr,
            0,
            nullptr,
            0};
}

/// Rows of the given head of k or v in a sequence.
FATTN_HD inline TokenRows token_rows(const DenseProblem& problem, const TensorLayout& layout,
                                     const void* data, const int32* block_table,
                                     const Sequence& sequence, int64 head) {
    const int64 bytes = bytes_of(layout.dtype);
    if (problem.paged) {
        return {byte_offset(data, head * layout.strides[2] * bytes),
                layout.strides[1] * bytes,
                block_table + sequence.entry * problem.max_pages_per_seq,
                problem.page_size,
                layout.strides[0] * bytes,
                nullptr,
                0,
                nullptr,
                0};
    }
    return evenly_spaced(layout, data, layout.row(sequence.batch_idx, head, sequence.k_begin));
}

/// The slots of a gathered tile, whose tokens lie as rows say or, when additional, in a tensor of
/// their own.
FATTN_HD inline TokenRows gathered_rows(TokenRows rows, const DenseProblem& problem,
                                        const GatheredTile& tile, const TensorLayout& additional,
                                        const void* data, const Sequence& sequence, int64 head) {
    const int64 bytes = bytes_of(additional.dtype);
    rows.tokens = tile.tokens;
    rows.num_tokens = problem.kv_len;
    rows.additional = byte_offset(data, additional.row(sequence.batch_idx, head, 0) * bytes);
    rows.additional_stride = additional.strides[2] * bytes;
    return rows;
}

/// Words that depth elements take.
template <class Dot>
FATTN_HD constexpr int64 words_of(int64 depth) {
    return ceil_div<int64>(depth, Dot::kDepth);
}

/// Words [word, word + kWidth) of a row of extent elements, as f32 or as bf16 pairs; zeros past the
/// end.
template <DType kType, class Dot>
FATTN_HD inline Vec load_row_words(const char* row, int64 word, int64 extent) {
    const int64 first = word * Dot::kDepth;
    const int64 left = clamp_to<int64>(extent - first, 0, kWidth * Dot::kDepth);
    if constexpr (Dot::kDepth == 1) {
        return load_as<kType>(row + first * bytes_of(kType), left);
    } else {
        static_assert(kType == DType::kBF16, "pairs are made of bf16 data only");
        return load_words16(row + first * bytes_of(kType), left);
    }
}

/// The same where all of the words are inside the row.
template <DType kType, class Dot>
FATTN_HD inline Vec load_full_words(const char* row, int64 word) {
    const char* at = row + word * Dot::kDepth * bytes_of(kType);
    if constexpr (Dot::kDepth == 1) {
        return load_as<kType>(at, kWidth);
    } else {
        return load_words16(at, kWidth * 2);
    }
}

/// Transposes the first kColumns of num_rows > 0 rows (row(r) gives the address of row r) of extent
/// elements into a panel [words][kColumns], columns past num_rows zero. Asks the cache for the rows
/// after them.
template <DType kType, class Dot, int kColumns, class RowOf>
inline void pack_transposed(const RowOf& row, int64 num_rows, int64 extent, float* __restrict out) {
    const int64 words = words_of<Dot>(extent);
    for (int64 first = 0; first < kColumns; first += kWidth) {
        const int64 columns = min_of<int64>(kWidth, kColumns - first);
        const char* rows[kWidth];
        // Of the block that follows: a transpose waits for every row it reads.
        const char* next[kWidth];
        for (int r = 0; r < kWidth; ++r) {
            rows[r] = first + r < min_of<int64>(num_rows, kColumns) ? row(first + r) : nullptr;
            next[r] = row(min_of(first + columns + r, num_rows - 1));
        }
        for (int64 w = 0; w < words; w += kWidth) {
#pragma GCC unroll 16
            for (int r = 0; r < kWidth; ++r) {
                __builtin_prefetch(next[r] + w * Dot::kDepth * bytes_of(kType), 0, 3);
            }
            Vec block[kWidth];
#pragma GCC unroll 16
            for (int r = 0; r < kWidth; ++r) {
                block[r] =
                    rows[r] != nullptr ? load_row_words<kType, Dot>(rows[r], w, extent) : Vec(0.0F);
            }
            transpose(block);
            const int64 count = min_of<int64>(kWidth, words - w);
            float* to = out + w * kColumns + first;
            // Unrolled, so that the block stays in registers.
#pragma GCC unroll 16
            for (int i = 0; i < kWidth; ++i) {
                if (i == count) break;
                if (kColumns % kWidth == 0) {
                    store(to + i * kColumns, block[i]);
                } else {
                    store_first(to + i * kColumns, block[i], columns);
                }
            }
        }
    }
}

/// Width of the panel of the right operand that starts at column: a full panel, or one vector where
/// less is left.
FATTN_HD constexpr int64 panel_width(int64 column, int64 columns) {
    return columns - column >= kPanel ? kPanel : kWidth;
}
/// Rows that pack_panels asks the cache for before it comes to them.
constexpr int64 kRowsAhead = 16;
/// Columns that panels cover: the extent rounded up to vectors.
FATTN_HD constexpr int64 padded_columns(int64 extent) { return round_up<int64>(extent, kWidth); }

/// Copies num_rows rows of extent elements into column panels [padded_columns / panel][padded_rows
/// words][panel width]; rows past num_rows are zero. Returns whether a value was not finite.
template <DType kType, class Dot, class RowOf>
inline bool pack_panels(const RowOf& row, int64 num_rows, int64 padded_rows, int64 extent,
                        float* __restrict out) {
    const int64 columns = padded_columns(extent);
    const int64 words = words_of<Dot>(padded_rows);
    // Stay 0 unless a value is infinite or NaN; several, so that none waits for the last.
    Vec finite[kMicroVecs][2];
    for (auto& pair : finite) pair[0] = pair[1] = Vec(0.0F);
    for (int64 w = 0; w < words; ++w) {
        const int64 r = w * Dot::kDepth;
        const char* low = r < num_rows ? row(r) : nullptr;
        const char* high = Dot::kDepth == 2 && r + 1 < num_rows ? row(r + 1) : nullptr;
        for (int64 i = r + kRowsAhead; i < min_of(r + kRowsAhead + Dot::kDepth, num_rows); ++i) {
            const char* ahead = row(i);
            for (int64 b = 0; b < extent * bytes_of(kType); b += 64) {
                __builtin_prefetch(ahead + b, 0, 3);
            }
        }
        for (int64 c = 0; c < columns;) {
            const int64 width = panel_width(c, columns);
            float* to = out + c * words + w * width;
#pragma GCC unroll 4
            for (int i = 0; i < kMicroVecs; ++i, c += kWidth, to += kWidth) {
                if (i * kWidth == width) break;
                const int64 left = clamp_to<int64>(extent - c, 0, kWidth);
                if constexpr (Dot::kDepth == 1) {
                    Vec x(0.0F);
                    if (low != nullptr) x = load_as<kType>(low + c * bytes_of(kType), left);
                    finite[i][0] = fma(x, Vec(0.0F), finite[i][0]);
                    store(to, x);
                } else {
                    Vec x(0.0F);
                    if (high != nullptr) {
                        x = interleave16(low + c * 2, high + c * 2, left);
                    } else if (low != nullptr) {
                        x = low_bf16_words(low + c * 2, left);
                    }
                    finite[i][0] = fma(low_bf16(x), Vec(0.0F), finite[i][0]);
                    finite[i][1] = fma(high_bf16(x), Vec(0.0F), finite[i][1]);
                    store(to, x);
                }
            }
        }
    }
    Vec all(0.0F);
    for (const auto& pair : finite) all = all + pair[0] + pair[1];
    return any_nan(all);
}

/// Calls f with the element type as a template argument.
template <class F>
FATTN_HD inline auto with_dtype(DType dtype, const F& f) {
    switch (dtype) {
        case DType::kF16:
            return f.template operator()<DType::kF16>();
        case DType::kBF16:
            return f.template operator()<DType::kBF16>();
        default:
            return f.template operator()<DType::kF32>();
    }
}

/// As pack_transposed and pack_panels with the element type known at run time; pairs are always
/// bf16.
template <class Dot, int kColumns, class RowOf>
inline void pack_transposed(DType dtype, const RowOf& row, int64 num_rows, int64 extent,
                            float* out) {
    if constexpr (Dot::kDepth == 2) {
        pack_transposed<DType::kBF16, Dot, kColumns>(row, num_rows, extent, out);
    } else {
        with_dtype(dtype, [&]<DType kType>() {
            pack_transposed<kType, Dot, kColumns>(row, num_rows, extent, out);
        });
    }
}
template <class Dot, class RowOf>
inline bool pack_panels(DType dtype, const RowOf& row, int64 num_rows, int64 padded_rows,
                        int64 extent, float* out) {
    if constexpr (Dot::kDepth == 2) {
        return pack_panels<DType::kBF16, Dot>(row, num_rows, padded_rows, extent, out);
    } else {
        return with_dtype(dtype, [&]<DType kType>() {
            return pack_panels<kType, Dot>(row, num_rows, padded_rows, extent, out);
        });
    }
}

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
