// The plan behind the fattn_plan handle: a checked problem of some family bound to a device; made
// by the family files, run many times.
#pragma once

#include <memory>

#include "api/device.h"
#include "api/status.h"
#include "backend/text.h"
#include "plan/schedule_stats.h"

namespace fattn::api {

/// What a plan is made of. Every family derives one, with its checked problem, its schedule and its
/// kernel, and says kFamily, kFamilyName and kBackwardFlag.
class PlanBody {
  public:
    struct Heads {
        int64 batch;
        int64 num_q_heads;
    };

    PlanBody(fattn_family made_by, const char* flag) : family(made_by), backward_flag(flag) {}
    virtual ~PlanBody() = default;

    virtual const Kernel& kernel() const = 0;
    /// Whether the problem asked for a backward pass.
    virtual bool has_backward() const = 0;
    /// Batch entries and query heads that a tile map may be asked for.
    virtual Heads heads() const = 0;
    /// Floating-point operations of a pass over what it visits.
    virtual double flops(Pass pass) const = 0;
    /// Not ok where the family has no schedule.
    virtual Status stats(ScheduleStats* out) const = 0;
    /// Tile states of one batch entry and head, [num_q_tiles, num_kv_tiles] of stats().
    virtual void write_tiles(int64 batch, int64 head, uint8* tiles) const = 0;

    const fattn_family family;
    const char* const backward_flag;  // name of the problem's flag that asks for a backward pass
};

}  // namespace fattn::api

struct fattn_plan : fattn::api::Counted {
    fattn_plan(fattn_device* owner, std::unique_ptr<fattn::api::PlanBody> made)
        : device(owner), body(std::move(made)) {}

    const fattn::api::Reference<fattn_device> device;  // outlives the body
    std::unique_ptr<fattn::api::PlanBody> body;
};

namespace fattn::api {

/// What a caller wants to know of one batch entry and query head, and where.
struct TileMapRequest {
    int64 batch;
    int64 head;
    uint8* tiles;
    uint64 num_bytes;
};

/// Checks what a tile map is asked for against the plan and what its map needs.
Status check_tile_map(const PlanBody& body, const ScheduleStats& stats,
                      const TileMapRequest& request);

/// Sums as a caller's struct.
Status write_schedule_stats(const ScheduleStats& stats, fattn_schedule_stats* out);

/// The body of a plan that has to be of a family.
template <class Body>
Status body_of(const fattn_plan& plan, const Body** out) {
    if (plan.body->family != Body::kFamily) {
        return invalid(text("plan is of family ", plan.body->family, "; a ", Body::kFamilyName,
                            " plan is needed (family ", static_cast<uint32>(Body::kFamily), ")"));
    }
    *out = static_cast<const Body*>(plan.body.get());
    return {};
}

}  // namespace fattn::api
