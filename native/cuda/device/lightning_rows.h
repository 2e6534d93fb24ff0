// The small kernels around the sums of linear attention: features of rows, their gradients,
// quotients, and states that segments pass on; instantiated by lightning_rows.cu.
//
// A warp has a row, whatever its type: nothing here is computed often enough to need keys.
// (native/notes/0064-cuda-lightning-features.md)
#pragma once

#include "core/feature_map.h"
#include "core/linear_state.h"
#include "core/types.h"
#include "cuda/device/lightning_params.h"
#include "cuda/device/load_number.h"
#include "cuda/device/prim/lanes.h"
#include "cuda/device/store_rows.h"

namespace fattn::cuda {

/// The lanes of a warp, which have a row together.
class RowLanes {
  public:
    __device__ RowLanes() : lane_(narrow<int32>(prim::thread_idx() % prim::kWarpSize)) {}

    /// Calls visit(column) for the calling lane's columns from first on.
    template <class Visit>
    __device__ void for_each_column(int64 first, int64 end, const Visit& visit) const {
#pragma unroll 1
        for (int64 column = first + lane_; column < end; column += prim::kWarpSize) visit(column);
    }
    __device__ bool is_first() const { return lane_ == 0; }

    __device__ static float sum(float x) {
#pragma unroll
        for (uint32 mask = prim::kWarpSize / 2; mask > 0; mask /= 2) {
            x += prim::shuffle_xor(x, mask);
        }
        return x;
    }
    /// NaN where one is.
    __device__ static float most(float x) {
#pragma unroll
        for (uint32 mask = prim::kWarpSize / 2; mask > 0; mask /= 2) {
            const float other = prim::shuffle_xor(x, mask);
            x = other > x || other != other ? other : x;
        }
        return x;
    }

  private:
    int32 lane_;
};

/// Calls visit(row, place): rows of a tensor [B, heads, L, ...] that the calling warp has, and
/// which element of the tensor the row starts with.
template <class Visit>
__device__ inline void for_each_row(const TensorLayout& layout, int32 num_blocks,
                                    const Visit& visit) {
    constexpr int32 kWarps = kLightningRowThreads / int32{prim::kWarpSize};
    const int64 heads = layout.shape[1];
    const int64 len = layout.shape[2];
    const int64 num_rows = layout.shape[0] * heads * len;
    const auto warp = narrow<int32>(prim::thread_idx() / prim::kWarpSize);
#pragma unroll 1
    for (int64 row = int64{prim::block_idx()} * kWarps + warp; row < num_rows;
         row += int64{num_blocks} * kWarps) {
        visit(row, layout.row(row / len / heads, row / len % heads, row % len));
    }
}

/// Elements of a row as floats.
struct RowNumbers32 {
    const void* data;
    DType dtype;
    int64 start;
    int64 step;

    __device__ float operator[](int64 column) const {
        return load_number(dtype, data, start + column * step);
    }
};

/// What softmax over a row subtracts and multiplies by.
struct SoftmaxOfRow {
    float most;
    float inverse;

    __device__ SoftmaxOfRow(const RowLanes& lanes, const RowNumbers32& x, int64 size) {
        most = x[0];
        lanes.for_each_column(0, size, [&](int64 c) {
            const float other = x[c];
            most = other > most || other != other ? other : most;
        });
        most = RowLanes::most(most);
        float sum = 0.0F;
        lanes.for_each_column(0, size, [&](int64 c) { sum += exp_of_negative(x[c] - most); });
        inverse = 1.0F / RowLanes::sum(sum);
    }
    __device__ float operator()(float x) const { return exp_of_negative(x - most) * inverse; }
};

/// Number of the feature x_a x_b, b >= a, among those of FeatureMap::kTaylor2.
__device__ inline int64 taylor_feature(int64 size, int64 a, int64 b) {
    return 1 + size + a * size - a * (a - 1) / 2 + (b - a);
}

__device__ inline void find_features(const FeatureRowsParams& params) {
    const RowLanes lanes;
    const int64 size = params.layout.shape[3];
    const int64 num = num_features(params.map, size);
    const int64 row_elements = num + (params.extra ? 1 : 0);
    for_each_row(params.layout, params.num_blocks, [&](int64 row, int64 start) {
        const RowNumbers32 x{params.x, params.layout.dtype, start, params.layout.strides[3]};
        const int64 to = row * row_elements;
        const auto store = [&](int64 feature, float y) {
            store_number(params.dtype, params.features, to + feature, y);
        };
        if (params.extra && lanes.is_first()) store(num, 1.0F);
        switch (params.map) {
            case FeatureMap::kIdentity:
                lanes.for_each_column(0, size, [&](int64 c) { store(c, x[c]); });
                break;
            case FeatureMap::kEluPlusOne:
                lanes.for_each_column(0, size, [&](int64 c) { store(c, elu_plus_one(x[c])); });
                break;
            case FeatureMap::kRelu:
                lanes.for_each_column(0, size, [&](int64 c) { store(c, relu(x[c])); });
                break;
            case FeatureMap::kSoftmax: {
                const SoftmaxOfRow softmax(lanes, x, size);
                lanes.for_each_column(0, size, [&](int64 c) { store(c, softmax(x[c])); });
                break;
            }
            case FeatureMap::kTaylor2: {
                if (lanes.is_first()) store(0, 1.0F);
                lanes.for_each_column(0, size,
                                      [&](int64 c) { store(1 + c, x[c] * params.taylor.first); });
#pragma unroll 1
                for (int64 a = 0; a < size; ++a) {
                    const float left = x[a];
                    lanes.for_each_column(a, size, [&](int64 b) {
                        store(taylor_feature(size, a, b),
                              b == a ? left * left * params.taylor.square
                                     : x[b] * (left * params.taylor.mixed));
                    });
                }
                break;
            }
        }
    });
}

__device__ inline void find_feature_gradients(const FeatureGradientsParams& params) {
    const RowLanes lanes;
    const int64 size = params.layout.shape[3];
    const int64 num = num_features(params.map, size);
    for_each_row(params.layout, params.num_blocks, [&](int64 row, int64 start) {
        const RowNumbers32 x{params.x, params.layout.dtype, start, params.layout.strides[3]};
        const float* d = params.d_features + row * num;
        const TensorLayout& to = params.d_x_layout;
        const int64 heads = to.shape[1];
        const int64 len = to.shape[2];
        const int64 first = to.row(row / len / heads, row / len % heads, row % len);
        const auto store = [&](int64 c, float y) {
            store_number(to.dtype, params.d_x, first + c * to.strides[3], y);
        };
        switch (params.map) {
            case FeatureMap::kIdentity:
                lanes.for_each_column(0, size, [&](int64 c) { store(c, d[c]); });
                break;
            case FeatureMap::kEluPlusOne:
                lanes.for_each_column(0, size, [&](int64 c) { store(c, elu_slope(x[c]) * d[c]); });
                break;
            case FeatureMap::kRelu:
                // Chosen, not multiplied: where the map is flat nothing passes, whatever comes.
                lanes.for_each_column(0, size,
                                      [&](int64 c) { store(c, x[c] > 0.0F ? d[c] : 0.0F); });
                break;
            case FeatureMap::kSoftmax: {
                const SoftmaxOfRow softmax(lanes, x, size);
                float sum = 0.0F;
                lanes.for_each_column(0, size, [&](int64 c) { sum += softmax(x[c]) * d[c]; });
                const float mean = RowLanes::sum(sum);
                lanes.for_each_column(0, size,
                                      [&](int64 c) { store(c, softmax(x[c]) * (d[c] - mean)); });
                break;
            }
            case FeatureMap::kTaylor2:
                lanes.for_each_column(0, size, [&](int64 a) {
                    float sum = 0.0F;
#pragma unroll 1
                    for (int64 b = 0; b < size; ++b) {
                        const int64 feature = taylor_feature(size, min_of(a, b), max_of(a, b));
                        const float factor =
                            a == b ? 2.0F * params.taylor.square : params.taylor.mixed;
                        sum += d[feature] * (x[b] * factor);
                    }
                    store(a, sum + d[1 + a] * params.taylor.first);
                });
                break;
        }
    });
}

/// A row whose weights have the sum 0 is 0 and has no gradients.
__device__ inline void find_quotients(const QuotientsParams& params) {
    const RowLanes lanes;
    const TensorLayout& out = params.out_layout;
    const int64 size = out.shape[3] - (params.d_o != nullptr ? 1 : 0);
    for_each_row(out, params.num_blocks, [&](int64 row, int64 to) {
        const float* sums = params.sums + row * (size + 1);
        const float weight = sums[size];
        const float inverse = weight == 0.0F ? 0.0F : 1.0F / weight;
        const auto store = [&](int64 c, float y) {
            store_number(out.dtype, params.out, to + c * out.strides[3], y);
        };
        if (params.d_o == nullptr) {
            lanes.for_each_column(
                0, size, [&](int64 c) { store(c, weight == 0.0F ? 0.0F : sums[c] / weight); });
            return;
        }
        const TensorLayout& from = params.d_o_layout;
        const int64 heads = from.shape[1];
        const int64 len = from.shape[2];
        const RowNumbers32 d_o{params.d_o, from.dtype,
                               from.row(row / len / heads, row / len % heads, row % len),
                               from.strides[3]};
        float sum = 0.0F;
        lanes.for_each_column(0, size, [&](int64 c) {
            if (weight == 0.0F) {
                store(c, 0.0F);
            } else {
                store(c, d_o[c] * inverse);
                sum += d_o[c] * (sums[c] * inverse);
            }
        });
        sum = RowLanes::sum(sum);
        if (lanes.is_first()) store(size, weight == 0.0F ? 0.0F : -sum * inverse);
    });
}

/// One number of a head's state a thread, segment after segment.
__device__ inline void pass_states(const PassStatesParams& params) {
    const int64 size = int64{params.rows} * params.columns;
    const int64 num = params.num_heads * size;
    const auto at = [](const LightningStates& states, int64 head, int64 row, int64 column) {
        return states.data + head * states.head_elements + row * states.row_elements +
               column * states.column_elements;
    };
#pragma unroll 1
    for (int64 n = int64{prim::block_idx()} * kLightningRowThreads + prim::thread_idx(); n < num;
         n += int64{params.num_blocks} * kLightningRowThreads) {
        const int64 head = n / size;
        const int64 row = n % size / params.columns;
        const int64 column = n % params.columns;
        const float slope = params.slopes[head % params.num_q_heads];
        float* g_segment = at(params.segments, head, row, column);
        float state =
            params.initial.data != nullptr ? *at(params.initial, head, row, column) : 0.0F;
#pragma unroll 1
        for (int32 segment = 0; segment < params.num_segments; ++segment) {
            const float own = *g_segment;
            *g_segment = state;
            const int32 left = params.len - segment * params.segment_tokens;
            state = state * decay(slope, min_of(params.segment_tokens, left)) + own;
            g_segment += params.segments.segment_elements;
        }
        if (params.final.data != nullptr) *at(params.final, head, row, column) = state;
    }
}

}  // namespace fattn::cuda
