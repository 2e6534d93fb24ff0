// A plain kernel of the softmax family, one thread a query, that uses every part of core: schedules
// of all three carriers, orders, predicate, modifiers, softmax state, epilogue, dropout,
// conversions. Compiled, never launched, by the cuda_core leg.
#include "core/convert.h"
#include "core/epilogue.h"
#include "core/modifier.h"
#include "core/order.h"
#include "core/philox.h"
#include "core/predicate.h"
#include "core/problem.h"
#include "core/schedule.h"
#include "core/softmax_state.h"

namespace fattn {
namespace {

/// What all kernels below take, by value.
struct Params {
    DenseProblem problem;
    DenseForwardArgs args;
    Order key_order;
    int32 tile_q;
    int32 tile_kv;
};

/// One query of one head of a sequence against the tiles its Q tile visits.
template <class Schedule>
__device__ void walk(const Schedule& schedule, const Params& params, const Sequence& sequence,
                     int64 head, int64 query) {
    const DenseProblem& problem = params.problem;
    const DenseForwardArgs& args = params.args;
    const RangePredicate predicate =
        range_predicate(problem, sequence, args.q_position_offset, args.k_position_offset);
    const KeyInterval keys = predicate.visible(query);
    const auto* q = static_cast<const bf16*>(args.q) +
                    problem.q.row(sequence.batch_idx, head, sequence.q_begin + query);
    const auto* bias = static_cast<const f16*>(args.bias) +
                       problem.bias.row(sequence.batch_idx, head, sequence.q_begin + query);
    const int64 mask = problem.mask.row(sequence.batch_idx, head, sequence.q_begin + query);
    const SoftCap softcap = softcap_of(problem.scale, problem.softcap);
    const Scale scale = scale_of(problem.scale);
    const Alibi alibi = alibi_of(problem.has_alibi ? args.alibi_slopes[head] : 0.0F);
    const DropoutRule dropout =
        dropout_rule(problem.dropout_p, args.dropout_seed, args.dropout_offset);

    SoftmaxState<float> state =
        problem.has_sink ? state_of_lse(args.sink_logits[head]) : empty_state<float>();
    float accumulated = 0.0F;
    const auto row = schedule.row(head, narrow<int32>(query / params.tile_q));
    for_each_tile(row, [&](int32 tile, bool full) {
        const int64 first = int64{tile} * params.tile_kv;
        for (int64 slot = first; slot < first + tile_extent(tile, params.tile_kv, sequence.kv_len);
             ++slot) {
            const int64 key = params.key_order.token(slot);
            if (!full && (key < keys.begin || key >= keys.end)) continue;
            if (problem.has_mask && !mask_shows(args.mask, problem.mask.dtype, mask + key))
                continue;
            const auto* k =
                static_cast<const bf16*>(args.k) +
                problem.k.row(sequence.batch_idx, problem.k_head(head), sequence.k_begin + key);
            float dot = 0.0F;
            for (int64 d = 0; d < problem.head_dim; ++d)
                dot = fma(to_float(q[d]), to_float(k[d]), dot);
            float score = problem.softcap == 0.0F ? scale(dot) : softcap.with_slope(dot).score;
            if (problem.has_bias) score = AddBias{}(score, to_float(bias[key]));
            score = alibi(score, static_cast<float>(query + predicate.shift - key));
            accumulated *= raise_max(&state, score);
            const float weight = weight_of(score, guarded(state.max));
            state.sum += weight;
            const bool kept =
                dropout_keep(dropout, sequence.entry * problem.num_q_heads + head,
                             query + args.q_position_offset, key + args.k_position_offset);
            const float* v =
                static_cast<const float*>(args.v) +
                problem.v.row(sequence.batch_idx, problem.v_head(head), sequence.k_begin + key);
            accumulated += kept ? weight * dropout.inverse_keep * v[threadIdx.x] : 0.0F;
        }
    });

    const RowEnd<float> end = finish(state);
    const int64 out = problem.o.row(sequence.batch_idx, head, sequence.q_begin + query);
    static_cast<f16*>(args.o)[out + threadIdx.x] = to_f16(accumulated * end.o_factor);
    const int64 stat = (sequence.batch_idx * problem.num_q_heads + head) * problem.q.shape[2];
    if (threadIdx.x == 0) args.lse[stat + sequence.q_begin + query] = end.lse;
}

}  // namespace

extern "C" __global__ void walk_range(const Params params) {
    const Sequence sequence = sequence_of(params.problem, params.args, blockIdx.z);
    const RangePredicate predicate = range_predicate(params.problem, sequence, 0, 0);
    const RangeSchedule schedule =
        range_schedule(params.problem, predicate, sequence.q_len, params.tile_q, params.tile_kv);
    walk(retile(schedule, params.tile_q, params.tile_kv), params, sequence, blockIdx.y, blockIdx.x);
    walk(transpose(transpose(schedule)), params, sequence, blockIdx.y, blockIdx.x);
}

extern "C" __global__ void walk_box(const Params params, const BoxSchedule schedule) {
    walk(schedule, params, sequence_of(params.problem, params.args, blockIdx.z), blockIdx.y,
         blockIdx.x);
}

extern "C" __global__ void walk_list(const Params params, const ListSchedule schedule) {
    walk(schedule, params, sequence_of(params.problem, params.args, blockIdx.z), blockIdx.y,
         blockIdx.x);
}

/// Sigmoid weights and their slopes under a soft-cap.
extern "C" __global__ void sigmoid_weights(const float* dots, float* weights, float* slopes,
                                           float scale, float cap, float offset) {
    const int64 at = int64{blockIdx.x} * blockDim.x + threadIdx.x;
    const auto capped = softcap_of(scale, cap).with_slope(dots[at]);
    const float weight = sigmoid(fma(capped.score, kLn2, offset));
    weights[at] = weight;
    slopes[at] = weight * (1.0F - weight) * capped.slope;
}

/// Merges two finished rows a thread, and stores them rounded.
extern "C" __global__ void merge_rows(const float* lse, const float* o, bf16* out, float* out_lse) {
    const int64 row = blockIdx.x;
    SoftmaxState<float> state = state_of_lse(lse[2 * row]);
    const MergeFactors<float> factors = merge(&state, state_of_lse(lse[2 * row + 1]));
    const RowEnd<float> end = finish(state);
    out[row] =
        to_bf16((o[2 * row] * factors.of_state + o[2 * row + 1] * factors.of_other) * end.o_factor);
    out_lse[row] = shift_of_lse(end.lse);
}

}  // namespace fattn
