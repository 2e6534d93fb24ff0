// Dense attention on the CPU, row by row: one query row after the other against all its keys, in
// plain loops.
#include "cpu/dense_kernel.h"

#include <bit>
#include <cmath>
#include <limits>

#include "backend/text.h"
#include "core/predicate.h"
#include "cpu/parallel.h"

namespace fattn::cpu {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
constexpr int64 kRowsPerTask = 16;

float half_to_float(uint16 bits) {
    const float magnitude =
        (bits & 0x7C00u) == 0
            ? static_cast<float>(bits & 0x3FFu) * 0x1p-24f
            : std::bit_cast<float>(((bits & 0x7FFFu) << 13) +
                                   ((bits & 0x7C00u) == 0x7C00u ? 0x70000000u : 0x38000000u));
    return (bits & 0x8000u) != 0 ? -magnitude : magnitude;
}

uint16 float_to_half(float value) {
    const uint32 bits = std::bit_cast<uint32>(value);
    const uint32 sign = (bits >> 16) & 0x8000u;
    const uint32 magnitude = bits & 0x7FFFFFFFu;
    uint32 half;
    if (magnitude > 0x7F800000u) {
        half = 0x7E00u;
    } else if (magnitude >= 0x47800000u) {
        half = 0x7C00u;
    } else if (magnitude < 0x38800000u) {
        half = std::bit_cast<uint32>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3F000000u;
    } else {
        half = (magnitude - 0x38000000u + 0x0FFFu + ((magnitude >> 13) & 1u)) >> 13;
    }
    return static_cast<uint16>(sign | half);
}

float load(const void* base, int64 idx, DType dtype) {
    if (dtype == DType::kF32) return static_cast<const float*>(base)[idx];
    const uint16 bits = static_cast<const uint16*>(base)[idx];
    if (dtype == DType::kF16) return half_to_float(bits);
    return std::bit_cast<float>(static_cast<uint32>(bits) << 16);
}

void store(void* base, int64 idx, DType dtype, float value) {
    if (dtype == DType::kF32) {
        static_cast<float*>(base)[idx] = value;
    } else if (dtype == DType::kF16) {
        static_cast<uint16*>(base)[idx] = float_to_half(value);
    } else {
        const uint32 bits = std::bit_cast<uint32>(value);
        static_cast<uint16*>(base)[idx] =
            std::isnan(value) ? uint16{0x7FC0}
                              : static_cast<uint16>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
    }
}

/// Everything that is fixed for one row of the output.
struct Row {
    const DenseProblem& problem;
    const DenseForwardArgs& args;
    const Sequence& sequence;
    int64 head;
    int64 query;  // within the sequence
    int64 shift;  // position of a query relative to key 0
    KeyInterval keys;
};

/// Element offset of the row of token j.
int64 token_row(const Row& row, const TensorLayout& layout, int64 head, int64 j) {
    const DenseProblem& p = row.problem;
    if (!p.paged) return layout.row(row.sequence.batch_idx, head, row.sequence.k_begin + j);
    const int64 page =
        row.args.block_table[row.sequence.entry * p.max_pages_per_seq + j / p.page_size];
    return layout.row(page, j % p.page_size, head);
}

bool masked(const Row& row, int64 j) {
    const DenseProblem& p = row.problem;
    if (!p.has_mask) return false;
    const int64 at = p.mask.row(row.sequence.entry, row.head, row.query) + j * p.mask.strides[3];
    const uint8* bytes = static_cast<const uint8*>(row.args.mask);
    return p.mask.dtype == DType::kBit ? (bytes[at / 8] >> (at % 8) & 1) == 0 : bytes[at] == 0;
}

float score(const Row& row, int64 j) {
    const DenseProblem& p = row.problem;
    if (masked(row, j)) return kMinusInfinity;
    const int64 q = p.q.row(row.sequence.batch_idx, row.head, row.sequence.q_begin + row.query);
    const int64 k = token_row(row, p.k, p.k_head(row.head), j);
    float s = 0;
    for (int64 d = 0; d < p.head_dim; ++d) {
        s += load(row.args.q, q + d, p.q.dtype) * load(row.args.k, k + d, p.k.dtype);
    }
    s *= p.scale;
    if (p.softcap > 0) s = p.softcap * std::tanh(s / p.softcap);
    if (p.has_bias) {
        s += load(row.args.bias,
                  p.bias.row(row.sequence.entry, row.head, row.query) + j * p.bias.strides[3],
                  p.bias.dtype);
    }
    if (p.has_alibi) {
        s -= row.args.alibi_slopes[row.head] *
             static_cast<float>(std::abs(row.query + row.shift - j));
    }
    return s;
}

/// Turns the scores of a row into weights; returns its LSE.
float softmax_row(const Row& row, float* scores) {
    const int64 num_keys = row.keys.size();
    const float sink = row.problem.has_sink ? row.args.sink_logits[row.head] : kMinusInfinity;
    float largest = sink;
    for (int64 j = 0; j < num_keys; ++j) largest = std::fmax(largest, scores[j]);
    const float base = largest == kMinusInfinity ? 0.0f : largest;
    float sum = std::exp(sink - base);
    for (int64 j = 0; j < num_keys; ++j) {
        scores[j] = std::exp(scores[j] - base);
        sum += scores[j];
    }
    if (sum == 0) return kMinusInfinity;
    for (int64 j = 0; j < num_keys; ++j) scores[j] /= sum;
    return base + std::log(sum);
}

void run_row(const Row& row, float* scores) {
    const DenseProblem& p = row.problem;
    const int64 num_keys = row.keys.size();
    for (int64 j = 0; j < num_keys; ++j) scores[j] = score(row, row.keys.begin + j);
    float lse = 0;
    if (p.weights == Weights::kSoftmax) {
        lse = softmax_row(row, scores);
    } else {
        for (int64 j = 0; j < num_keys; ++j) {
            scores[j] = 1.0f / (1.0f + std::exp(-(scores[j] + p.sigmoid_bias)));
        }
    }
    const int64 token = row.sequence.q_begin + row.query;
    const int64 o = p.o.row(row.sequence.batch_idx, row.head, token);
    for (int64 d = 0; d < p.head_dim_v; ++d) {
        float sum = 0;
        for (int64 j = 0; j < num_keys; ++j) {
            if (scores[j] == 0) continue;  // a hidden value may be anything
            const int64 v = token_row(row, p.v, p.v_head(row.head), row.keys.begin + j);
            sum += scores[j] * load(row.args.v, v + d, p.v.dtype);
        }
        store(row.args.o, o + d, p.o.dtype, sum);
    }
    if (row.args.lse != nullptr) {
        row.args.lse[(row.sequence.batch_idx * p.num_q_heads + row.head) * p.q.shape[2] + token] =
            lse;
    }
}

class RowKernel final : public DenseKernel {
  public:
    RowKernel(const DenseProblem& problem, WorkspacePool& pool, int default_threads)
        : problem_(problem), pool_(pool), default_threads_(default_threads) {}

    WorkspaceSize workspace(Pass, int max_threads) const override {
        return {.host = static_cast<uint64>(threads(max_threads)) * row_bytes(), .device = 0};
    }
    const char* name(Pass pass) const override {
        return pass == Pass::kForward ? "cpu_rows" : "none";
    }

    Status forward(const DenseForwardArgs& args, const RunOptions& run) const override {
        const int num_threads = threads(run.max_threads);
        const ScopedWorkspace workspace(pool_, run, static_cast<uint64>(num_threads) * row_bytes());
        if (!workspace.status().ok()) return workspace.status();
        const DenseProblem& p = problem_;
        const int64 blocks = ceil_div(p.q_len, kRowsPerTask);
        return parallel_for(
            p.batch * p.num_q_heads * blocks, num_threads, run.cancel, [&](int64 task, int slot) {
                const Sequence sequence = sequence_of(p, args, task / blocks / p.num_q_heads);
                const RangePredicate predicate =
                    range_predicate(p, sequence, args.q_position_offset, args.k_position_offset);
                std::byte* scratch = workspace.data() + static_cast<uint64>(slot) * row_bytes();
                const int64 begin = task % blocks * kRowsPerTask;
                const int64 end = min_of(begin + kRowsPerTask, sequence.q_len);
                for (int64 i = begin; i < end; ++i) {
                    run_row({p, args, sequence, task / blocks % p.num_q_heads, i, predicate.shift,
                             predicate.visible(i)},
                            reinterpret_cast<float*>(scratch));
                }
            });
    }

    Status backward(const DenseBackwardArgs&, const RunOptions&) const override {
        return {StatusCode::kUnsupported, "this build has no backward kernel for the CPU"};
    }

  private:
    int threads(int max_threads) const { return max_threads > 0 ? max_threads : default_threads_; }
    uint64 row_bytes() const {
        return round_up(static_cast<uint64>(problem_.kv_len) * sizeof(float) + 1, uint64{64});
    }

    const DenseProblem problem_;
    WorkspacePool& pool_;
    const int default_threads_;
};

}  // namespace

std::unique_ptr<DenseKernel> make_dense_kernel(const DenseProblem& problem, const KernelTable&,
                                               WorkspacePool& pool, int default_threads) {
    return std::make_unique<RowKernel>(problem, pool, default_threads);
}

}  // namespace fattn::cpu
