// Neighborhood problems for the passes over groups of lanes, with patches the planner did not
// choose; used by the tests of lane_forward and lane_backward.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "cpu/neighborhood_kernel.h"
#include "cpu/tables.h"
#include "plan/neighborhood_plan.h"
#include "support/neighborhood_case.h"
#include "support/neighborhood_truth.h"

namespace fattn::cpu {

inline test::NeighborhoodSpec lane_spec(std::vector<NeighborhoodAxis> axes) {
    test::NeighborhoodSpec spec;
    spec.batch = 2;
    spec.num_q_heads = 4;
    spec.num_kv_heads = 2;
    spec.axes = std::move(axes);
    spec.head_dim = 32;
    spec.head_dim_v = 64;
    return spec;
}

/// A case bound to a target's kernels, queries and keys in groups of a patch each.
class LaneKernel {
  public:
    LaneKernel(const KernelTable& table, const test::NeighborhoodCase& c, const Patch& patch,
               int threads)
        : problem_(c.problem()),
          keys_of_queries_(neighborhood_schedule(problem_.grid, patch, {{1, 1, 1}})),
          queries_of_keys_(neighborhood_schedule_of_keys(problem_.grid, patch, {{1, 1, 1}})),
          kernel_(make_neighborhood_kernel(problem_,
                                           {.keys_of_queries = keys_of_queries_.view(),
                                            .queries_of_keys = queries_of_keys_.view(),
                                            .lanes = true,
                                            .lanes_backward = problem_.num_additional == 0},
                                           table, pool_, threads)) {
        run_.max_threads = threads;
    }

    Status forward(test::NeighborhoodCase& c) const {
        c.reset_outputs();
        NeighborhoodForwardArgs args = c.forward_args();
        args.dense.o = c.o.data();
        args.dense.lse = c.lse.floats();
        return kernel_->forward(args, run_);
    }
    /// From the o and lse of the case.
    Status backward(test::NeighborhoodCase& c) const {
        c.reset_gradients();
        NeighborhoodBackwardArgs args = c.backward_args();
        args.dense.o = c.o.data();
        args.dense.lse = c.lse.floats();
        args.dense.d_q = c.d_q.data();
        args.dense.d_k = c.d_k.data();
        args.dense.d_v = c.d_v.data();
        return backward(args);
    }
    Status backward(const NeighborhoodBackwardArgs& args) const {
        return kernel_->backward(args, run_);
    }

  private:
    NeighborhoodProblem problem_;
    BoxScheduleData keys_of_queries_;
    BoxScheduleData queries_of_keys_;
    WorkspacePool pool_;
    std::unique_ptr<NeighborhoodKernel> kernel_;
    RunOptions run_{};
};

/// body(table, case, truth) for each element type of a problem on every target.
template <class Body>
void for_each_type_and_target(test::NeighborhoodSpec spec, const Body& body) {
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
        spec.dtype = dtype;
        test::NeighborhoodCase c(spec);
        const test::NeighborhoodTruth truth = test::neighborhood_truth(c);
        for (const KernelTable* table : tables()) body(*table, c, truth);
    }
}

}  // namespace fattn::cpu
