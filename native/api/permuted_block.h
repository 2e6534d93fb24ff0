// The body of a permuted block-sparse plan; made by permuted_block.cpp.
#pragma once

#include <memory>

#include "api/permuted_block_check.h"
#include "api/run.h"
#include "plan/permuted_block_plan.h"

namespace fattn::api {

class PermutedBlockBody final : public FamilyBody<CheckedPermutedBlock, PermutedBlockKernel> {
  public:
    static constexpr fattn_family kFamily = FATTN_FAMILY_PERMUTED_BLOCK;
    static constexpr const char* kFamilyName = "permuted block";
    static constexpr const char* kBackwardFlag = "FATTN_PERMUTED_BLOCK_BACKWARD";

    PermutedBlockBody(const CheckedPermutedBlock& checked_problem,
                      std::unique_ptr<PermutedBlockKernel> made)
        : FamilyBody(kFamily, kBackwardFlag, checked_problem, std::move(made)),
          plan(checked.problem) {}

    bool has_backward() const override { return checked.problem.backward; }
    Heads heads() const override { return {checked.problem.batch, checked.problem.num_q_heads}; }
    double flops(Pass pass) const override { return plan.flops(pass); }
    /// A plan knows no selection: every block counts as kept.
    Status stats(ScheduleStats* out) const override {
        *out = plan.stats({nullptr, nullptr});
        return {};
    }
    void write_tiles(int64 batch, int64 head, uint8* tiles) const override {
        plan.write_tiles({nullptr, nullptr}, batch, head, tiles);
    }

    const PermutedBlockPlan plan;
};

}  // namespace fattn::api
