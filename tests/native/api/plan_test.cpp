// Plans: handles in any order, descriptions, workspace and schedule queries.
#include "api/plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "api/dense.h"
#include "api/handles.h"
#include "support/allocations.h"
#include "support/dense_case.h"

namespace fattn::test {
namespace {

using api::DenseBody;
using api::PlanBody;
using api::unsupported;

Device own_device() {
    fattn_device* device = nullptr;
    EXPECT_EQ(fattn_device_open(FATTN_DEVICE_KIND_CPU, 0, nullptr, &device), FATTN_STATUS_OK);
    return Device(device);
}

DenseSpec plan_small_spec() {
    DenseSpec spec;
    spec.batch = 2;
    spec.num_q_heads = 2;
    spec.q_len = 9;
    spec.kv_len = 12;
    spec.head_dim = 8;
    spec.head_dim_v = 8;
    return spec;
}

TEST(Plan, OutlivesItsDevicesHandle) {
    DenseCase c(plan_small_spec());
    Device device = own_device();
    const Plan plan = make_plan(device.get(), c.c_problem());
    device.reset();
    const fattn_dense_forward_args args = c.c_forward();
    EXPECT_EQ(fattn_dense_forward(plan.get(), &args, nullptr), FATTN_STATUS_OK);
}

TEST(Plan, LivesUntilItsLastReferenceInAnyOrder) {
    DenseCase c(plan_small_spec());
    const fattn_dense_forward_args args = c.c_forward();
    Device device = own_device();
    ASSERT_EQ(fattn_device_retain(device.get()), FATTN_STATUS_OK);
    fattn_device_release(device.get());
    Plan first = make_plan(device.get(), c.c_problem());
    ASSERT_EQ(fattn_plan_retain(first.get()), FATTN_STATUS_OK);
    const Plan second(first.get());
    first.reset();
    EXPECT_EQ(fattn_dense_forward(second.get(), &args, nullptr), FATTN_STATUS_OK);
    device.reset();
    EXPECT_EQ(fattn_dense_forward(second.get(), &args, nullptr), FATTN_STATUS_OK);
    fattn_plan_release(nullptr);
}

/// A kernel whose run lasts until the test lets it go on; stands in for a long computation.
class HeldKernel final : public DenseKernel {
  public:
    struct State {
        std::atomic<bool> begun{false};
        std::atomic<bool> go_on{false};
        std::atomic<bool> destroyed{false};
    };

    explicit HeldKernel(State* state) : state_(state) {}
    ~HeldKernel() override { state_->destroyed.store(true); }
    WorkspaceSize workspace(Pass, int) const override { return {}; }
    const char* name(Pass) const override { return "held"; }
    Status forward(const DenseForwardArgs&, const RunOptions&) const override {
        state_->begun.store(true);
        while (!state_->go_on.load()) std::this_thread::yield();
        return state_->destroyed.load() ? Status(StatusCode::kInternal, "destroyed during a run")
                                        : Status();
    }
    Status backward(const DenseBackwardArgs&, const RunOptions&) const override { return {}; }

  private:
    State* state_;
};

TEST(Plan, ReleaseDuringARunWaitsForTheRun) {
    DenseCase c(plan_small_spec());
    const fattn_dense_forward_args args = c.c_forward();
    HeldKernel::State state;
    Plan plan = make_plan(own_device().get(), c.c_problem());
    const auto& made = static_cast<const DenseBody&>(*plan->body);
    plan->body =
        std::make_unique<DenseBody>(made.checked, made.tiles, std::make_unique<HeldKernel>(&state));
    fattn_plan* const raw = plan.get();
    fattn_status status = FATTN_STATUS_INTERNAL;
    std::thread runner([&] { status = fattn_dense_forward(raw, &args, nullptr); });
    while (!state.begun.load()) std::this_thread::yield();
    plan.reset();  // the device's handle is gone already
    EXPECT_FALSE(state.destroyed.load());
    state.go_on.store(true);
    runner.join();
    EXPECT_EQ(status, FATTN_STATUS_OK);
    EXPECT_TRUE(state.destroyed.load());
}

/// A plan body that no function of this library makes, for refusals.
class OtherFamily final : public PlanBody {
  public:
    OtherFamily() : PlanBody(FATTN_FAMILY_S2, "FATTN_S2_BACKWARD") {}
    const Kernel& kernel() const override { return kernel_; }
    bool has_backward() const override { return false; }
    Heads heads() const override { return {1, 1}; }
    double flops(Pass) const override { return 0; }
    Status stats(ScheduleStats*) const override { return unsupported("no schedule"); }
    void write_tiles(int64, int64, uint8*) const override {}

  private:
    HeldKernel::State state_;
    HeldKernel kernel_{&state_};
};

TEST(Plan, APlanOfAnotherFamilyIsRefused) {
    DenseCase c(plan_small_spec());
    const Plan plan = make_plan(cpu_device().get(), c.c_problem());
    plan->body = std::make_unique<OtherFamily>();
    const fattn_dense_forward_args forward = c.c_forward();
    const fattn_dense_backward_args backward = c.c_backward();
    EXPECT_FAILS(fattn_dense_forward(plan.get(), &forward, nullptr), FATTN_STATUS_INVALID_ARGUMENT,
                 "plan is of family 4; a dense plan is needed (family 0)");
    EXPECT_FAILS(fattn_dense_backward(plan.get(), &backward, nullptr),
                 FATTN_STATUS_INVALID_ARGUMENT,
                 "plan is of family 4; a dense plan is needed (family 0)");
}

fattn_plan_description describe(fattn_plan* plan) {
    fattn_plan_description d{};
    d.struct_size = sizeof(d);
    EXPECT_EQ(fattn_plan_info(plan, &d), FATTN_STATUS_OK) << fattn_last_error();
    return d;
}

TEST(Plan, InfoTellsKernelWorkspaceAndOperations) {
    fattn_dense_problem problem = small_problem();
    const Device device = cpu_device();
    const Plan forward = make_plan(device.get(), problem);
    const fattn_plan_description f = describe(forward.get());
    EXPECT_EQ(f.family, static_cast<fattn_family>(FATTN_FAMILY_DENSE));
    EXPECT_EQ(f.device_kind, static_cast<fattn_device_kind>(FATTN_DEVICE_KIND_CPU));
    EXPECT_GT(std::strlen(f.forward_kernel), 0u);
    EXPECT_STREQ(f.backward_kernel, "");
    EXPECT_EQ(f.backward_workspace_bytes, 0u);
    EXPECT_EQ(f.forward_flops, 2.0 * (8 + 16) * (2 * 4 * 6 * 10));
    EXPECT_EQ(f.backward_flops, 0);
    uint64_t bytes = 0;
    ASSERT_EQ(fattn_plan_workspace(forward.get(), FATTN_PASS_FORWARD, 0, &bytes, nullptr),
              FATTN_STATUS_OK);
    EXPECT_EQ(bytes, f.forward_workspace_bytes);

    problem.flags |= FATTN_DENSE_BACKWARD;
    const Plan backward = make_plan(device.get(), problem);
    const fattn_plan_description b = describe(backward.get());
    EXPECT_GT(std::strlen(b.backward_kernel), 0u);
    EXPECT_EQ(b.backward_flops, 2.0 * (3 * 8 + 2 * 16) * (2 * 4 * 6 * 10));
    EXPECT_FAILS(fattn_plan_info(nullptr, nullptr), FATTN_STATUS_INVALID_ARGUMENT, "plan is NULL");
    EXPECT_FAILS(fattn_plan_info(forward.get(), nullptr), FATTN_STATUS_INVALID_ARGUMENT,
                 "description is NULL; a fattn_plan_description is needed");
}

TEST(Plan, WorkspaceChecksItsArguments) {
    const Plan plan = make_plan(cpu_device().get(), small_problem());
    uint64_t host = 0;
    uint64_t device = 0;
    const auto workspace = [&](fattn_pass pass, int32_t threads) {
        return fattn_plan_workspace(plan.get(), pass, threads, &host, &device);
    };
    EXPECT_FAILS(workspace(2, 0), FATTN_STATUS_INVALID_ARGUMENT,
                 "pass is 2; allowed are 0 (forward) and 1 (backward)");
    EXPECT_FAILS(workspace(FATTN_PASS_BACKWARD, 0), FATTN_STATUS_INVALID_ARGUMENT,
                 "pass is 1 (backward); the plan was made without FATTN_DENSE_BACKWARD");
    EXPECT_FAILS(workspace(FATTN_PASS_FORWARD, -1), FATTN_STATUS_INVALID_ARGUMENT,
                 "max_threads is -1; allowed are positive numbers, and 0 for the device's own");
    EXPECT_FAILS(fattn_plan_workspace(nullptr, FATTN_PASS_FORWARD, 0, &host, &device),
                 FATTN_STATUS_INVALID_ARGUMENT, "plan is NULL");
    EXPECT_EQ(fattn_plan_workspace(plan.get(), FATTN_PASS_FORWARD, 1, nullptr, nullptr),
              FATTN_STATUS_OK);
}

fattn_dense_problem causal_problem(int64 q_len, int64 kv_len) {
    fattn_dense_problem p{};
    p.struct_size = sizeof(p);
    p.flags = FATTN_DENSE_CAUSAL;
    p.q = layout(2, 3, q_len, 16);
    p.k = layout(2, 1, kv_len, 16);
    p.v = layout(2, 1, kv_len, 16);
    return p;
}

TEST(Plan, ScheduleStatsCountTheTilesOfTheMap) {
    const Plan plan = make_plan(cpu_device().get(), causal_problem(700, 1100));
    fattn_schedule_stats stats{};
    stats.struct_size = sizeof(stats);
    ASSERT_EQ(fattn_plan_schedule_stats(plan.get(), &stats), FATTN_STATUS_OK) << fattn_last_error();
    EXPECT_EQ(stats.num_q_tiles, (700 + stats.tile_q - 1) / stats.tile_q);
    EXPECT_EQ(stats.num_kv_tiles, (1100 + stats.tile_kv - 1) / stats.tile_kv);
    double needed = 0;
    for (int64 i = 0; i < 700; ++i) needed += static_cast<double>(i + 400 + 1);
    EXPECT_EQ(stats.needed_pairs, needed * 6);
    EXPECT_GE(stats.visited_pairs, stats.needed_pairs);

    std::vector<uint8_t> tiles(static_cast<std::size_t>(stats.num_q_tiles * stats.num_kv_tiles) + 1,
                               99);
    ASSERT_EQ(fattn_plan_schedule_tiles(plan.get(), 1, 2, tiles.data(), tiles.size() - 1),
              FATTN_STATUS_OK)
        << fattn_last_error();
    EXPECT_EQ(tiles.back(), 99);
    tiles.pop_back();
    const auto num = [&](uint8_t state) {
        return std::count(tiles.begin(), tiles.end(), state) * 6;
    };
    EXPECT_EQ(num(FATTN_TILE_FULL), stats.full_tiles);
    EXPECT_EQ(num(FATTN_TILE_PARTIAL), stats.partial_tiles);
    EXPECT_EQ(num(FATTN_TILE_SKIPPED), stats.skipped_tiles);
    // Every tile against the definition.
    for (int64 t = 0; t < stats.num_q_tiles; ++t) {
        for (int64 u = 0; u < stats.num_kv_tiles; ++u) {
            int64 visible = 0;
            for (int64 i = t * stats.tile_q; i < std::min<int64>((t + 1) * stats.tile_q, 700);
                 ++i) {
                for (int64 j = u * stats.tile_kv; j < (u + 1) * stats.tile_kv; ++j) {
                    visible += j < 1100 && j <= i + 400 ? 1 : 0;
                }
            }
            const uint8_t state = tiles[static_cast<std::size_t>(t * stats.num_kv_tiles + u)];
            if (visible > 0) {
                EXPECT_NE(state, FATTN_TILE_SKIPPED) << t << " " << u;
            }
            if (state == FATTN_TILE_FULL) {
                EXPECT_EQ(visible, stats.tile_q * stats.tile_kv) << t << " " << u;
            }
        }
    }
}

TEST(Plan, ScheduleQueriesCheckTheirArguments) {
    const Plan plan = make_plan(cpu_device().get(), causal_problem(5, 5));
    uint8_t tile = 99;
    const auto tiles = [&](int64_t batch, int64_t head, uint8_t* out, uint64_t bytes) {
        return fattn_plan_schedule_tiles(plan.get(), batch, head, out, bytes);
    };
    EXPECT_FAILS(tiles(2, 0, &tile, 1), FATTN_STATUS_INVALID_ARGUMENT,
                 "batch is 2; allowed are 0 up to 2, excluded");
    EXPECT_FAILS(tiles(0, -1, &tile, 1), FATTN_STATUS_INVALID_ARGUMENT,
                 "head is -1; allowed are 0 up to 3, excluded");
    EXPECT_FAILS(tiles(0, 0, &tile, 0), FATTN_STATUS_INVALID_ARGUMENT,
                 "num_bytes is 0; the map has 1 times 1 bytes");
    EXPECT_FAILS(tiles(0, 0, nullptr, 1), FATTN_STATUS_INVALID_ARGUMENT,
                 "tiles is NULL; room for 1 bytes is needed");
    EXPECT_EQ(tile, 99);
    EXPECT_FAILS(fattn_plan_schedule_tiles(nullptr, 0, 0, &tile, 1), FATTN_STATUS_INVALID_ARGUMENT,
                 "plan is NULL");
    EXPECT_FAILS(fattn_plan_schedule_stats(nullptr, nullptr), FATTN_STATUS_INVALID_ARGUMENT,
                 "plan is NULL");
    EXPECT_FAILS(fattn_plan_schedule_stats(plan.get(), nullptr), FATTN_STATUS_INVALID_ARGUMENT,
                 "stats is NULL; a fattn_schedule_stats is needed");
    EXPECT_FAILS(fattn_plan_retain(nullptr), FATTN_STATUS_INVALID_ARGUMENT, "plan is NULL");
}

TEST(Plan, RunsAllocateNothingOnceWarm) {
    DenseSpec spec = plan_small_spec();
    spec.q_len = spec.kv_len = 300;
    spec.num_q_heads = 8;
    DenseCase c(spec);
    const Plan plan = make_plan(cpu_device().get(), c.c_problem());
    const fattn_dense_forward_args args = c.c_forward();
    ASSERT_EQ(fattn_dense_forward(plan.get(), &args, nullptr), FATTN_STATUS_OK);
    const AllocationCount allocations;
    for (int i = 0; i < 5; ++i) {
        if (fattn_dense_forward(plan.get(), &args, nullptr) != FATTN_STATUS_OK) FAIL();
    }
    EXPECT_EQ(allocations.so_far(), 0);
}

TEST(Plan, ConcurrentRunsOfOnePlanGiveTheSameBits) {
    DenseSpec spec = plan_small_spec();
    spec.q_len = spec.kv_len = 130;
    DenseCase c(spec);
    const Plan plan = make_plan(cpu_device().get(), c.c_problem());
    const fattn_dense_forward_args first = c.c_forward();
    ASSERT_EQ(fattn_dense_forward(plan.get(), &first, nullptr), FATTN_STATUS_OK);
    const std::vector<double> expected = c.o.values();
    std::vector<std::thread> callers;
    for (int caller = 0; caller < 16; ++caller) {
        callers.emplace_back([&, caller] {
            Tensor o(c.o.layout());
            fattn_dense_forward_args args = first;
            args.o = o.data();
            args.lse = nullptr;
            fattn_run run{};
            run.struct_size = sizeof(run);
            run.max_threads = 1 + caller % 5;
            EXPECT_EQ(fattn_dense_forward(plan.get(), &args, &run), FATTN_STATUS_OK)
                << fattn_last_error();
            EXPECT_EQ(o.values(), expected);
        });
    }
    for (std::thread& caller : callers) caller.join();
}

TEST(Plan, TrimBetweenRunsIsHarmless) {
    DenseCase c(plan_small_spec());
    const Device device = own_device();
    const Plan plan = make_plan(device.get(), c.c_problem());
    const fattn_dense_forward_args args = c.c_forward();
    for (int i = 0; i < 3; ++i) {
        EXPECT_EQ(fattn_dense_forward(plan.get(), &args, nullptr), FATTN_STATUS_OK);
        EXPECT_EQ(fattn_device_trim(device.get()), FATTN_STATUS_OK);
    }
}

}  // namespace
}  // namespace fattn::test
