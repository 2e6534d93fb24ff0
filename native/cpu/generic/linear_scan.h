// The scan of linear attention over one stretch of tokens, chunk by chunk: the products inside a
// chunk, with the state before it, and into the state after it, all on the register tiles. Called
// through table.h; cpu/linear_kernels.h says what is summed.
#pragma once

#include "core/linear_state.h"
#include "core/types.h"
#include "cpu/generic/linear_features.h"
#include "cpu/generic/linear_output.h"
#include "cpu/generic/micro.h"
#include "cpu/generic/pack.h"
#include "cpu/generic/scores.h"
#include "cpu/generic/scratch.h"
#include "cpu/linear_kernels.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

static_assert(kLinearChunk % kMicroRows == 0 && kLinearChunk % kPanel == 0 &&
                  kLinearChunk <= kTileKv,
              "a chunk is whole register tiles and fits a score tile");

/// Rows of a state in memory. Its columns lie in panels [panel][state_tile_rows][panel width].
FATTN_HD constexpr int64 state_tile_rows(int64 num_rows) {
    return round_up<int64>(num_rows, kMicroRows);
}

/// Floats of the panels of a state.
FATTN_HD constexpr int64 state_panel_floats(int64 num_rows, int64 num_columns) {
    return state_tile_rows(num_rows) * padded_columns(num_columns);
}

/// The panels of a state, and after them in the same order what rounding has left of its sums: the
/// state is the sum of the two, so that its error does not grow with the tokens.
inline int64 linear_state_floats(int64 num_rows, int64 num_columns) {
    return 2 * state_panel_floats(num_rows, num_columns);
}

/// Calls f(first column, width, panel) for the panels of a state.
template <class F>
FATTN_HD inline void for_state_panels(float* state, int64 num_rows, int64 num_columns, const F& f) {
    const int64 columns = padded_columns(num_columns);
    for (int64 c = 0; c < columns;) {
        const int64 width = panel_width(c, columns);
        f(c, width, state + c * state_tile_rows(num_rows));
        c += width;
    }
}

inline void load_linear_state(const float* from, bool transposed, int64 num_rows, int64 num_columns,
                              float* state) {
    const int64 floats = linear_state_floats(num_rows, num_columns);
    for (int64 i = 0; i < floats; ++i) state[i] = 0.0F;
    if (from == nullptr) return;
    for_state_panels(state, num_rows, num_columns, [&](int64 first, int64 width, float* panel) {
        const int64 count = min_of<int64>(width, num_columns - first);
        for (int64 r = 0; r < num_rows; ++r) {
            for (int64 c = 0; c < count; ++c) {
                panel[r * width + c] = transposed ? from[(first + c) * num_rows + r]
                                                  : from[r * num_columns + first + c];
            }
        }
    });
}

inline void store_linear_state(const float* state, bool transposed, int64 num_rows,
                               int64 num_columns, float* to) {
    const int64 rest = state_panel_floats(num_rows, num_columns);
    for_state_panels(const_cast<float*>(state), num_rows, num_columns,
                     [&](int64 first, int64 width, const float* panel) {
                         const int64 count = min_of<int64>(width, num_columns - first);
                         for (int64 r = 0; r < num_rows; ++r) {
                             for (int64 c = 0; c < count; ++c) {
                                 const int64 at = transposed ? (first + c) * num_rows + r
                                                             : r * num_columns + first + c;
                                 const float* from = panel + r * width + c;
                                 to[at] = from[0] + from[rest];
                             }
                         }
                     });
}

/// state, rest = factor (state + rest) + added, for kMicroRows rows of width columns: the sum is
/// rounded to state, and rest is what that left out (Knuth's two-sum), except where it is not
/// finite.
FATTN_HD inline void add_to_state(const float* added, int64 added_stride, Vec factor, int64 width,
                                  float* state, float* rest) {
    for (int64 r = 0; r < kMicroRows; ++r) {
        for (int64 i = 0; i < width; i += kWidth) {
            const int64 at = r * width + i;
            const Vec before = load(state + at);
            const Vec kept = before * factor;
            const Vec lost = fma(before, factor, Vec(0.0F) - kept);  // by that product, exactly
            const Vec more =
                fma(load(rest + at), factor, load(added + r * added_stride + i)) + lost;
            const Vec sum = kept + more;
            const Vec taken = sum - kept;
            const Vec left = (kept - (sum - taken)) + (more - taken);
            store(state + at, sum);
            store(rest + at, select_equal(left, left, left, Vec(0.0F)));
        }
    }
}

/// Rows where a chunk's products read them: in the tensor, or as features in scratch memory.
struct ChunkRows {
    const char* data;
    int64 stride;
    DType dtype;

    FATTN_HD const char* row(int64 r) const { return data + r * stride; }
};

/// Scratch of a scan task. All matrices f32 or words.
struct LinearScratch {
    float* left_rows;    // [kLinearChunk][padded_row(rows)] features
    float* right_rows;   // the same
    float* value_rows;   // [kLinearChunk][padded_row(columns)]
    float* left;         // [row groups][words][kMicroRows]
    float* right;        // [kLinearChunk / kPanel][words][kPanel]
    float* into_state;   // [feature groups][token words][kMicroRows]: weighted right rows
    float* values;       // column panels of kLinearChunk words
    float* state_words;  // the state as bf16 pairs
    float* scores;       // [kLinearChunk][kScoreStride]
    float* result;       // [kLinearChunk][padded_columns(columns)]
    float* sum;          // the same, over heads
    float* decays;       // weight e^(-slope d) at kLinearChunk - 1 - d, then zeros
    float* entry;        // [kLinearChunk] weight of the state in a row
    float* exit;         // [kLinearChunk] weight of a row in the next state
    float* added;        // [kMicroRows][kPanel] what a chunk adds to a tile of the state
    float* whole;        // [kMicroRows] weight of the state in the next one
    ThroughRows through;

    static LinearScratch take(int64 num_rows, int64 num_columns, Scratch& scratch) {
        const int64 columns = padded_columns(num_columns);
        LinearScratch s;
        s.left_rows = scratch.take<float>(kLinearChunk * padded_row(num_rows));
        s.right_rows = scratch.take<float>(kLinearChunk * padded_row(num_rows));
        s.value_rows = scratch.take<float>(kLinearChunk * padded_row(num_columns));
        s.left = scratch.take<float>(kLinearChunk * num_rows);
        s.right = scratch.take<float>(kLinearChunk * num_rows);
        s.into_state = scratch.take<float>(kLinearChunk * state_tile_rows(num_rows));
        s.values = scratch.take<float>(kLinearChunk * columns);
        s.state_words =
            scratch.take<float>(kHasBf16Dot ? state_tile_rows(num_rows) / 2 * columns : 0);
        s.scores = scratch.take<float>(kLinearChunk * kScoreStride);
        s.result = scratch.take<float>(kLinearChunk * columns);
        s.sum = scratch.take<float>(kLinearChunk * columns);
        s.decays = scratch.take<float>(2 * kLinearChunk + kPanel + kWidth);
        s.entry = scratch.take<float>(kLinearChunk + kWidth);
        s.exit = scratch.take<float>(kLinearChunk + kWidth);
        s.added = scratch.take<float>(kMicroRows * kPanel);
        s.whole = scratch.take<float>(kMicroRows + kWidth);
        const int64 longest = padded_row(max_of<int64>(num_rows, num_columns));
        s.through.elements = scratch.take<float>(longest);
        s.through.features = scratch.take<float>(longest);
        s.through.gradient = scratch.take<float>(longest);
        return s;
    }
};

/// A register-tile product with a panel of the given width, of one or kMicroVecs vectors.
template <class Dot, class Order, Start kStart>
FATTN_HD inline void panel_product(int64 width, const float* a, const float* b, int64 depth,
                                   float* c, int64 c_stride, const float* scale) {
    if (width == kPanel) {
        micro_product<Dot, Order, kMicroVecs, kStart>(a, b, depth, c, c_stride, scale);
    } else {
        micro_product<Dot, Order, 1, kStart>(a, b, depth, c, c_stride, scale);
    }
}

template <class Dot>
class LinearScan {
  public:
    explicit LinearScan(const LinearScanTask& task)
        : task_(task),
          num_rows_(task.heads[0].left.size()),
          num_columns_(task.heads[0].values.size()),
          columns_(padded_columns(num_columns_)) {
        Scratch scratch(task.scratch);
        s_ = LinearScratch::take(num_rows_, num_columns_, scratch);
    }

    void run() {
        const bool wants_results = task_.out.kind != LinearResult::kNone;
        for (int64 first = 0; first < task_.num_rows; first += kLinearChunk) {
            if (task_.cancel != nullptr && __atomic_load_n(task_.cancel, __ATOMIC_RELAXED) != 0)
                return;
            first_ = first;
            rows_ = min_of<int64>(kLinearChunk, task_.num_rows - first);
            for (int64 h = 0; h < task_.num_heads; ++h) {
                const LinearHead& head = task_.heads[h];
                weigh_distances(head.slope);
                pack_common(head);
                if (wants_results) {
                    find_results(head);
                    add_head(h);
                }
                update_state(head);
            }
            if (wants_results) write_chunk(task_.num_heads > 1 ? s_.sum : s_.result);
        }
    }

  private:
    /// Tables of the chunk's weights. They change with the head and with the length of the chunk.
    void weigh_distances(float slope) {
        if (slope == slope_ && rows_ == weighed_rows_) return;
        slope_ = slope;
        weighed_rows_ = rows_;
        fill(s_.decays, 0, 2 * kLinearChunk + kPanel, 0.0F);
        float power[kLinearChunk + 1];
        for (int64 d = 0; d <= kLinearChunk; ++d) power[d] = decay(slope, d);
        for (int64 i = 0; i < kLinearChunk; ++i) {
            s_.decays[kLinearChunk - 1 - i] = power[i] * task_.weight;
            s_.entry[i] = power[i + 1 - task_.shift];
        }
        for (int64 j = 0; j < rows_; ++j) {
            s_.exit[j] = power[rows_ - 1 - j + task_.shift] * task_.weight;
        }
        fill(s_.whole, 0, kMicroRows, power[rows_]);
    }

    /// The chunk's rows of an operand; features are made in room.
    ChunkRows chunk_rows(const LinearRows& rows, float* room) const {
        if (rows.plain()) return {rows.data + first_ * rows.stride, rows.stride, rows.dtype};
        const int64 stride = padded_row(rows.size());
        for (int64 r = 0; r < rows_; ++r) {
            load_features(rows, first_ + r, s_.through.elements, room + r * stride);
        }
        return {reinterpret_cast<const char*>(room), stride * int64{sizeof(float)}, DType::kF32};
    }

    void pack_common(const LinearHead& head) {
        right_ = chunk_rows(head.right, s_.right_rows);
        const ChunkRows values = chunk_rows(head.values, s_.value_rows);
        padded_rows_ = round_up<int64>(rows_, Dot::kDepth);
        values_not_finite_ = pack_panels<Dot>(
            values.dtype, [&](int64 r) { return values.row(r); }, rows_, padded_rows_, num_columns_,
            s_.values);
    }

    int64 num_groups() const { return ceil_div<int64>(rows_, kMicroRows); }

    void find_results(const LinearHead& head) {
        const ChunkRows left = chunk_rows(head.left, s_.left_rows);
        const int64 words = words_of<Dot>(num_rows_);
        for (int64 g = 0; g < num_groups(); ++g) {
            pack_transposed<Dot, kMicroRows>(
                left.dtype, [&](int64 r) { return left.row(g * kMicroRows + r); },
                rows_ - g * kMicroRows, num_rows_, s_.left + g * kMicroRows * words);
        }
        for (int64 j = 0; j < rows_; j += kPanel) {
            pack_transposed<Dot, kPanel>(
                right_.dtype, [&](int64 r) { return right_.row(j + r); }, rows_ - j, num_rows_,
                s_.right + j * words);
        }
        multiply_with_state(head);
        for (int64 g = 0; g < num_groups(); ++g) {
            multiply_right(g, words);
            weigh_group(g);
        }
        add_values();
    }

    /// result = left . state, unweighted.
    void multiply_with_state(const LinearHead& head) {
        const int64 words = words_of<Dot>(num_rows_);
        for_state_panels(
            head.state, num_rows_, num_columns_, [&](int64 c, int64 width, float* panel) {
                const float* right = panel;
                if constexpr (Dot::kDepth == 2) {
                    float* to = s_.state_words + c * words;
                    for (int64 w = 0; w < words; ++w) {
                        for (int64 i = 0; i < width; i += kWidth) {
                            const float* from = panel + 2 * w * width + i;
                            store(to + w * width + i, pair_bf16(load(from), load(from + width)));
                        }
                    }
                    right = to;
                }
                for (int64 g = 0; g < num_groups(); ++g) {
                    panel_product<Dot, PanelOrder, Start::kZero>(
                        width, s_.left + g * kMicroRows * words, right, words,
                        s_.result + g * kMicroRows * columns_ + c, columns_, nullptr);
                }
            });
    }

    /// Rows of the chunk that a group's last row sees.
    int64 group_depth(int64 g) const { return min_of<int64>(rows_, (g + 1) * kMicroRows); }

    void multiply_right(int64 g, int64 words) {
        const int64 depth = group_depth(g);
        const float* left = s_.left + g * kMicroRows * words;
        float* scores = s_.scores + g * kMicroRows * kScoreStride;
        for (int64 j = 0; j < depth; j += kPanel) {
            const float* right = s_.right + j * words;
            if (depth - j > kPanel - kWidth) {
                micro_product<Dot, PanelOrder, kMicroVecs, Start::kZero>(
                    left, right, words, scores + j, kScoreStride, nullptr);
                continue;
            }
            for (int64 at = 0; at < depth - j; at += kWidth) {
                micro_product<Dot, PanelOrder, 1, Start::kZero, kMicroVecs>(
                    left, right + at, words, scores + j + at, kScoreStride, nullptr);
            }
        }
    }

    /// Columns that row i of the chunk sees.
    int64 seen(int64 i) const { return task_.strict ? i : i + 1; }

    /// Products times the decay of their distance; what a row does not see is 0 whatever it was.
    void weigh_group(int64 g) {
        const int64 depth = round_up<int64>(group_depth(g), 2 * kWidth);
        for (int64 r = 0; r < kMicroRows; ++r) {
            const int64 i = g * kMicroRows + r;
            float* x = s_.scores + i * kScoreStride;
            const float* decays = s_.decays + (kLinearChunk - 1 - i);
            for (int64 j = 0; j < depth; j += kWidth) {
                const int64 count = clamp_to<int64>(seen(i) - j, 0, kWidth);
                store(x + j, blend_first(load(x + j) * load(decays + j), Vec(0.0F), count));
            }
            if (!values_not_finite_) pack_weights<Dot>(x, 0, depth);
        }
    }

    /// result = entry * result + weights . values.
    void add_values() {
        if (values_not_finite_) {
            add_seen_values();
            return;
        }
        const int64 words = words_of<Dot>(padded_rows_);
        for (int64 c = 0; c < columns_;) {
            const int64 width = panel_width(c, columns_);
            for (int64 g = 0; g < num_groups(); ++g) {
                panel_product<Dot, ScoreRows, Start::kScaled>(
                    width, s_.scores + g * kMicroRows * kScoreStride, s_.values + c * words,
                    words_of<Dot>(group_depth(g)), s_.result + g * kMicroRows * columns_ + c,
                    columns_, s_.entry + g * kMicroRows);
            }
            c += width;
        }
    }

    /// Values of row j of the chunk at columns [c, c + kWidth), from their panel.
    Vec value_at(int64 j, int64 c, int64 panel, int64 width) const {
        const float* word =
            s_.values + panel * words_of<Dot>(padded_rows_) + j / Dot::kDepth * width + (c - panel);
        if constexpr (Dot::kDepth == 2) {
            return j % 2 == 0 ? low_bf16(load(word)) : high_bf16(load(word));
        } else {
            return load(word);
        }
    }

    /// The same row by row over the rows seen: a value that is not finite reaches no other.
    void add_seen_values() {
        for (int64 i = 0; i < rows_; ++i) {
            const float* weights = s_.scores + i * kScoreStride;
            float* result = s_.result + i * columns_;
            for (int64 panel = 0; panel < columns_;) {
                const int64 width = panel_width(panel, columns_);
                for (int64 c = panel; c < panel + width; c += kWidth) {
                    Vec acc = load(result + c) * broadcast(s_.entry + i);
                    for (int64 j = 0; j < seen(i); ++j) {
                        acc = fma(broadcast(weights + j), value_at(j, c, panel, width), acc);
                    }
                    store(result + c, acc);
                }
                panel += width;
            }
        }
    }

    /// Right rows of the chunk times their weight in the next state, as left operand of a product
    /// along the tokens.
    void pack_into_state() {
        const int64 words = words_of<Dot>(padded_rows_);
        with_dtype(right_.dtype, [&]<DType kType>() {
            const auto weighted = [&](int64 token, int64 feature, int64 count) {
                if (token >= rows_) return Vec(0.0F);
                const int64 left = clamp_to<int64>(num_rows_ - feature, 0, count);
                return load_as<kType>(right_.row(token) + feature * bytes_of(kType), left) *
                       Vec(s_.exit[token]);
            };
            for (int64 w = 0; w < words; ++w) {
                for (int64 f = 0; f < num_rows_; f += kMicroRows) {
                    float* to = s_.into_state + f * words + w * kMicroRows;
                    for (int64 i = 0; i < kMicroRows; i += kWidth) {
                        const int64 count = min_of<int64>(kWidth, kMicroRows - i);
                        Vec x = weighted(w * Dot::kDepth, f + i, count);
                        if constexpr (Dot::kDepth == 2) {
                            x = pair_bf16(x, weighted(w * 2 + 1, f + i, count));
                        }
                        store_first(to + i, x, count);
                    }
                }
            }
        });
    }

    void update_state(const LinearHead& head) {
        pack_into_state();
        const int64 words = words_of<Dot>(padded_rows_);
        float* rest = head.state + state_panel_floats(num_rows_, num_columns_);
        for_state_panels(head.state, num_rows_, num_columns_,
                         [&](int64 c, int64 width, float* panel) {
                             for (int64 f = 0; f < num_rows_; f += kMicroRows) {
                                 const float* left = s_.into_state + f * words;
                                 const float* right = s_.values + c * words;
                                 float* to = panel + f * width;
                                 if constexpr (Dot::kDepth == 2) {
                                     // Rounding operands to 16 bits costs a thousand times more
                                     // than the sum does.
                                     panel_product<Dot, PanelOrder, Start::kScaled>(
                                         width, left, right, words, to, width, s_.whole);
                                 } else {
                                     panel_product<Dot, PanelOrder, Start::kZero>(
                                         width, left, right, words, s_.added, kPanel, nullptr);
                                     add_to_state(s_.added, kPanel, broadcast(s_.whole), width, to,
                                                  rest + (to - head.state));
                                 }
                             }
                         });
    }

    /// sum += result over the heads of a task, ascending.
    void add_head(int64 h) {
        if (task_.num_heads == 1) return;
        const int64 floats = rows_ * columns_;
        for (int64 i = 0; i < floats; i += kWidth) {
            const Vec x = load(s_.result + i);
            store(s_.sum + i, h == 0 ? x : load(s_.sum + i) + x);
        }
    }

    void write_chunk(float* results) {
        const LinearOutput& out = task_.out;
        for (int64 r = 0; r < rows_; ++r) {
            float* result = results + r * columns_;
            if (out.partial != nullptr && out.kind != LinearResult::kPartial) {
                const float* partial = out.partial + (first_ + r) * out.partial_stride;
                for_vectors(num_columns_, [&](int64 c, int64 n) {
                    store_first(result + c, load_first(result + c, n) + load_first(partial + c, n),
                                n);
                });
            }
            write_result(out, first_ + r, result, num_columns_, s_.through);
        }
    }

    const LinearScanTask& task_;
    const int64 num_rows_;     // of the state: features of left and right rows
    const int64 num_columns_;  // of the state: values
    const int64 columns_;
    LinearScratch s_;
    int64 first_ = 0;  // row of the scan
    int64 rows_ = 0;   // of the chunk
    int64 padded_rows_ = 0;
    ChunkRows right_{};
    bool values_not_finite_ = false;
    float slope_ = -1.0F;
    int64 weighed_rows_ = 0;
};

inline uint64 linear_scratch(int64 num_rows, int64 num_columns) {
    Scratch scratch(nullptr);
    LinearScratch::take(num_rows, num_columns, scratch);
    return scratch.used();
}

/// Whether a scan's products run on bf16 pairs: the target has them and all operands are bf16 where
/// they lie.
FATTN_HD inline bool scan_uses_pairs(const LinearHead& head) {
    const auto fits = [](const LinearRows& rows) {
        return rows.plain() && rows.dtype == DType::kBF16;
    };
    return kHasBf16Dot && fits(head.left) && fits(head.right) && fits(head.values);
}

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
