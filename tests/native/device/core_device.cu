// Device code that uses every part of core: one thread computes one query row over a schedule of
// each carrier. The cuda_core leg compiles it with nvcc and with NVRTC; it is not run there.
#include "core/convert.h"
#include "core/epilogue.h"
#include "core/modifier.h"
#include "core/numeric.h"
#include "core/order.h"
#include "core/philox.h"
#include "core/predicate.h"
#include "core/problem.h"
#include "core/schedule.h"
#include "core/softmax_state.h"

namespace {

constexpr int kHeadDim = 32;

struct RowArgs {
    const float* q;        // [num_slots, kHeadDim]
    const fattn::bf16* k;  // [kv_len, kHeadDim]
    const fattn::f16* v;   // [kv_len, kHeadDim]
    const float* bias;     // [kv_len]
    float* o;              // [num_slots, kHeadDim]
    float* lse;            // [num_slots]
    fattn::RangePredicate predicate;
    fattn::Order order;
    fattn::Scale scale;
    fattn::SoftCap softcap;
    fattn::Alibi alibi;
    fattn::DropoutRule dropout;
    int tile_kv;
};

__device__ float score(const RowArgs& args, fattn::int64 slot, fattn::int64 key) {
    float dot = 0.0F;
    for (int d = 0; d < kHeadDim; ++d) {
        dot = fattn::fma(args.q[slot * kHeadDim + d], fattn::to_float(args.k[key * kHeadDim + d]),
                         dot);
    }
    const float capped = args.scale(dot) + args.softcap(dot) + fattn::sigmoid(dot);
    return args.alibi(fattn::AddBias{}(capped, args.bias[key]), static_cast<float>(slot - key));
}

template <class Schedule>
__device__ void attend(const Schedule& schedule, const RowArgs& args, fattn::int64 slot,
                       int q_tile) {
    const fattn::int64 token = args.order.token(slot);
    const fattn::KeyInterval visible = args.predicate.visible(token);
    fattn::SoftmaxState<float> state = fattn::empty_state<float>();
    float out[kHeadDim] = {};
    fattn::for_each_tile(schedule.row(0, q_tile), [&](fattn::int32 tile, bool full) {
        for (fattn::int64 key = fattn::int64{tile} * args.tile_kv; key < visible.end; ++key) {
            if (!full && key < visible.begin) continue;
            const float s = score(args, slot, key);
            const float factor = fattn::raise_max(&state, s);
            const float weight = fattn::weight_of(s, fattn::guarded(state.max));
            state.sum += weight;
            const bool keep = fattn::dropout_keep(args.dropout, 0, token, key);
            const float kept = keep ? weight * args.dropout.inverse_keep : 0.0F;
            for (int d = 0; d < kHeadDim; ++d) {
                const float value = fattn::to_float(args.v[key * kHeadDim + d]);
                out[d] = fattn::fma(kept, value, out[d] * factor);
            }
        }
    });
    const fattn::RowEnd<float> end = fattn::finish(state);
    for (int d = 0; d < kHeadDim; ++d) {
        args.o[slot * kHeadDim + d] = fattn::to_float(fattn::to_f16(out[d] * end.o_factor));
    }
    args.lse[slot] = end.lse;
}

}  // namespace

extern "C" __global__ void attend_range(fattn::RangeSchedule schedule, RowArgs args) {
    attend(schedule, args, threadIdx.x, blockIdx.x);
    attend(fattn::transpose(schedule), args, threadIdx.x, blockIdx.x);
}

extern "C" __global__ void attend_box(fattn::BoxSchedule schedule, RowArgs args) {
    attend(schedule, args, threadIdx.x, blockIdx.x);
}

extern "C" __global__ void attend_list(fattn::ListSchedule schedule, RowArgs args) {
    attend(schedule, args, threadIdx.x, blockIdx.x);
}

extern "C" __global__ void merge_rows(float* max, float* sum) {
    fattn::SoftmaxState<float> state{max[0], sum[0]};
    const fattn::MergeFactors<float> factors = fattn::merge(&state, {max[1], sum[1]});
    max[0] = factors.of_state * fattn::tanh(state.max);
    sum[0] = factors.of_other * fattn::log2(state.sum);
}
