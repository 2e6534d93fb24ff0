// The body of a neighborhood plan; made by neighborhood.cpp.
#pragma once

#include <memory>

#include "api/neighborhood_check.h"
#include "api/run.h"
#include "plan/neighborhood_plan.h"

namespace fattn::api {

class NeighborhoodBody final : public FamilyBody<CheckedNeighborhood, NeighborhoodKernel> {
  public:
    static constexpr fattn_family kFamily = FATTN_FAMILY_NEIGHBORHOOD;
    static constexpr const char* kFamilyName = "neighborhood";
    static constexpr const char* kBackwardFlag = "FATTN_NEIGHBORHOOD_BACKWARD";

    NeighborhoodBody(const CheckedNeighborhood& checked_problem,
                     std::unique_ptr<const NeighborhoodPlan> plan,
                     std::unique_ptr<NeighborhoodKernel> made)
        : FamilyBody(kFamily, kBackwardFlag, checked_problem, std::move(made)),
          schedule(std::move(plan)) {}

    bool has_backward() const override { return checked.problem.dense.backward; }
    Heads heads() const override {
        return {checked.problem.dense.batch, checked.problem.dense.num_q_heads};
    }
    double flops(Pass pass) const override { return schedule->flops(pass); }
    Status stats(ScheduleStats* out) const override {
        *out = schedule->stats();
        return {};
    }
    void write_tiles(int64 /*batch*/, int64 /*head*/, uint8* to) const override {
        schedule->write_tiles(to);
    }

    const std::unique_ptr<const NeighborhoodPlan> schedule;  // the kernel reads its arrays
};

}  // namespace fattn::api
