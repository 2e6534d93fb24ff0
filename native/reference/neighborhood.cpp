// Neighborhood attention as dense attention under a mask made pair by pair; additional keys follow
// the keys of the grid.
#include "reference/neighborhood.h"

#include <algorithm>
#include <cstddef>

#include "reference/numeric.h"

namespace fattn::reference {
namespace {

/// Whether coordinate x of a query sees coordinate y of a key along one axis.
bool axis_sees(const NeighborhoodAxis& axis, int64 x, int64 y) {
    const int64 d = axis.dilation;
    if (x % d != y % d) return false;
    const int64 length = (axis.extent - x % d + d - 1) / d;  // of the dilation group
    const int64 i = x / d;
    const int64 j = y / d;
    const int64 w = axis.window;
    const int64 s = axis.stride;
    if (axis.causal) {
        const int64 leader = std::min(i / s * s + s - 1, length - 1);
        return std::max<int64>(leader - (w - 1), 0) <= j && j <= i;
    }
    const int64 left = w / 2;
    const int64 right = left + w % 2 - 1;
    const int64 leader = std::min(i / s * s + s / 2, length - 1);
    int64 start = std::max<int64>(leader - left, 0);
    if (leader + right >= length) start += length - right - leader - 1;
    return start <= j && j < start + w;
}

/// Keys or values of the grid and the additional ones behind them, in their own type.
struct Joined {
    TensorLayout layout{};
    std::vector<float> storage;  // f32 holds every value of the types exactly

    Joined(const TensorLayout& grid, const void* grid_data, const TensorLayout& extra,
           const void* extra_data) {
        const int64 num_extra = extra.rank == 0 ? 0 : extra.shape[2];
        layout = contiguous(grid.shape[0], grid.shape[1], grid.shape[2] + num_extra, grid.shape[3],
                            grid.dtype);
        storage.resize(static_cast<std::size_t>(layout.shape[0] * layout.strides[0]));
        int64 at = 0;
        for (int64 b = 0; b < layout.shape[0]; ++b)
            for (int64 h = 0; h < layout.shape[1]; ++h)
                for (int64 j = 0; j < layout.shape[2]; ++j)
                    for (int64 d = 0; d < layout.shape[3]; ++d, ++at) {
                        const bool from_grid = j < grid.shape[2];
                        const TensorLayout& source = from_grid ? grid : extra;
                        const int64 row = source.row(b, h, from_grid ? j : j - grid.shape[2]);
                        store(layout.dtype, storage.data(), at,
                              load(source.dtype, from_grid ? grid_data : extra_data, row + d));
                    }
    }
};

/// The dense problem that says the same.
class Equivalent {
  public:
    template <class Args>
    Equivalent(const NeighborhoodProblem& p, const Args& args)
        : k_(p.dense.k, args.dense.k, p.additional_k, args.additional_k),
          v_(p.dense.v, args.dense.v, p.additional_v, args.additional_v),
          problem_(p.dense) {
        const int64 num_queries = p.num_tokens();
        const int64 num_keys = num_queries + p.num_additional;
        for (int64 i = 0; i < num_queries; ++i)
            for (int64 j = 0; j < num_keys; ++j)
                mask_.push_back(j >= num_queries || neighborhood_sees(p.grid, i, j) ? 1 : 0);
        problem_.k = k_.layout;
        problem_.v = v_.layout;
        problem_.d_k = k_.layout;
        problem_.d_v = v_.layout;
        problem_.d_k.dtype = p.dense.d_k.dtype;
        problem_.d_v.dtype = p.dense.d_v.dtype;
        problem_.mask = {{problem_.batch, problem_.num_q_heads, num_queries, num_keys},
                         {0, 0, num_keys, 1},
                         DType::kU8,
                         4};
        problem_.kv_len = num_keys;
        problem_.has_mask = true;
    }

    /// The arguments of a run with the joined keys and the mask in their places.
    template <class Args>
    Args with_joined(Args args) const {
        args.k = k_.storage.data();
        args.v = v_.storage.data();
        args.mask = mask_.data();
        return args;
    }

    const DenseProblem& problem() const { return problem_; }

  private:
    Joined k_;
    Joined v_;
    std::vector<uint8> mask_;
    DenseProblem problem_;
};

/// Moves the gradients of the last num_extra tokens of every head to an array of their own.
std::vector<double> split_off(const TensorLayout& layout, int64 num_extra,
                              std::vector<double>& gradient) {
    std::vector<double> grid;
    std::vector<double> extra;
    const int64 num_grid = layout.shape[2] - num_extra;
    for (std::size_t at = 0; at < gradient.size(); ++at) {
        const int64 token = static_cast<int64>(at) / layout.shape[3] % layout.shape[2];
        (token < num_grid ? grid : extra).push_back(gradient[at]);
    }
    gradient = grid;
    return extra;
}

}  // namespace

bool neighborhood_sees(const NeighborhoodGrid& grid, int64 i, int64 j) {
    for (int a = 2; a >= 0; --a) {
        const NeighborhoodAxis& axis = grid.axis[a];
        if (!axis_sees(axis, i % axis.extent, j % axis.extent)) return false;
        i /= axis.extent;
        j /= axis.extent;
    }
    return true;
}

DenseOutput neighborhood_forward(const NeighborhoodProblem& problem,
                                 const NeighborhoodForwardArgs& args, Arithmetic arithmetic) {
    const Equivalent dense(problem, args);
    return dense_forward(dense.problem(), dense.with_joined(args.dense), arithmetic);
}

NeighborhoodGradients neighborhood_backward(const NeighborhoodProblem& problem,
                                            const NeighborhoodBackwardArgs& args,
                                            Arithmetic arithmetic, const DenseOutput* given) {
    const Equivalent dense(problem, args);
    DenseGradients all =
        dense_backward(dense.problem(), dense.with_joined(args.dense), arithmetic, given);
    NeighborhoodGradients gradients;
    gradients.d_additional_k = split_off(dense.problem().k, problem.num_additional, all.d_k);
    gradients.d_additional_v = split_off(dense.problem().v, problem.num_additional, all.d_v);
    gradients.d_q = all.d_q;
    gradients.d_k = all.d_k;
    gradients.d_v = all.d_v;
    return gradients;
}

}  // namespace fattn::reference
