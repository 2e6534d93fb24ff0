// The body of a dense plan; made by dense.cpp.
#pragma once

#include <memory>

#include "api/dense_check.h"
#include "api/run.h"
#include "plan/dense_plan.h"

namespace fattn::api {

class DenseBody final : public FamilyBody<CheckedDense, DenseKernel> {
  public:
    static constexpr fattn_family kFamily = FATTN_FAMILY_DENSE;
    static constexpr const char* kFamilyName = "dense";
    static constexpr const char* kBackwardFlag = "FATTN_DENSE_BACKWARD";

    DenseBody(const CheckedDense& checked_problem, TileShape tile_shape,
              std::unique_ptr<DenseKernel> made)
        : FamilyBody(kFamily, kBackwardFlag, checked_problem, std::move(made)), tiles(tile_shape) {}

    bool has_backward() const override { return checked.problem.backward; }
    Heads heads() const override { return {checked.problem.batch, checked.problem.num_q_heads}; }
    double flops(Pass pass) const override { return schedule().flops(pass); }
    Status stats(ScheduleStats* out) const override {
        *out = schedule().stats();
        return {};
    }
    void write_tiles(int64 batch, int64 head, uint8* to) const override;

    const TileShape tiles;

  private:
    DensePlan schedule() const { return {checked.problem, tiles.q, tiles.kv}; }
};

}  // namespace fattn::api
