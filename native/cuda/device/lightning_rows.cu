// The small kernels around the sums of linear attention, for tensors of every type.
#include "cuda/device/lightning_rows.h"

extern "C" __global__ void __launch_bounds__(fattn::cuda::kLightningRowThreads)
    lightning_features(const __grid_constant__ fattn::cuda::FeatureRowsParams params) {
    fattn::cuda::find_features(params);
}

extern "C" __global__ void __launch_bounds__(fattn::cuda::kLightningRowThreads)
    lightning_feature_gradients(
        const __grid_constant__ fattn::cuda::FeatureGradientsParams params) {
    fattn::cuda::find_feature_gradients(params);
}

extern "C" __global__ void __launch_bounds__(fattn::cuda::kLightningRowThreads)
    lightning_quotients(const __grid_constant__ fattn::cuda::QuotientsParams params) {
    fattn::cuda::find_quotients(params);
}

extern "C" __global__ void __launch_bounds__(fattn::cuda::kLightningRowThreads)
    lightning_pass_states(const __grid_constant__ fattn::cuda::PassStatesParams params) {
    fattn::cuda::pass_states(params);
}
