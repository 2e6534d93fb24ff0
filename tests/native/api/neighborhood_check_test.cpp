// What fattn_neighborhood_plan and its runs refuse, with which words, and that defaults mean what
// the header says.
#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "api/handles.h"

namespace fattn::test {
namespace {

/// A 4 x 6 grid; q [2, 4, 24, 8], k [2, 2, 24, 8], v [2, 2, 24, 16], f32.
fattn_neighborhood_problem small_neighborhood() {
    fattn_neighborhood_problem p{};
    p.struct_size = sizeof(p);
    p.q = layout(2, 4, 24, 8);
    p.k = layout(2, 2, 24, 8);
    p.v = layout(2, 2, 24, 16);
    p.num_axes = 2;
    p.grid[0] = 4;
    p.grid[1] = 6;
    p.kernel_size[0] = 3;
    p.kernel_size[1] = 3;
    return p;
}

fattn_neighborhood_problem with_additional() {
    fattn_neighborhood_problem p = small_neighborhood();
    p.flags = FATTN_NEIGHBORHOOD_HAS_ADDITIONAL_KV;
    p.additional_k = layout(2, 2, 5, 8);
    p.additional_v = layout(2, 2, 5, 16);
    return p;
}

struct Refused {
    const char* text;
    std::function<void(fattn_neighborhood_problem&)> change;
    fattn_status status = FATTN_STATUS_INVALID_ARGUMENT;
};

void expect_refused(const fattn_neighborhood_problem& good, const std::vector<Refused>& all) {
    const Device device = cpu_device();
    for (const Refused& refused : all) {
        fattn_neighborhood_problem p = good;
        refused.change(p);
        fattn_plan* plan = nullptr;
        EXPECT_FAILS(fattn_neighborhood_plan(device.get(), &p, &plan), refused.status,
                     refused.text);
        EXPECT_EQ(plan, nullptr);
        EXPECT_EQ(fattn_supports_neighborhood(device.get(), &p), refused.status);
    }
}

TEST(NeighborhoodCheck, GridsThatDoNotHoldTheirWindows) {
    using P = fattn_neighborhood_problem;
    expect_refused(
        small_neighborhood(),
        {{"num_axes is 0; allowed are 1 to 3", [](P& p) { p.num_axes = 0; }},
         {"num_axes is 4; allowed are 1 to 3", [](P& p) { p.num_axes = 4; }},
         {"grid[1] is 0; allowed are 1 to 2147483647", [](P& p) { p.grid[1] = 0; }},
         {"grid comes to more than 2147483647 tokens",
          [](P& p) { p.grid[0] = p.grid[1] = 1 << 30; }},
         {"q.shape[2] is 24; it must be 28, the tokens of the grid", [](P& p) { p.grid[1] = 7; }},
         {"k.shape[2] is 25; it must be 24, the tokens of the grid",
          [](P& p) {
              p.k = layout(2, 2, 25, 8);
              p.v = layout(2, 2, 25, 16);
          }},
         {"kernel_size[0] is 0; allowed are 1 to 4: 4 tokens along the axis hold that many at "
          "dilation 1",
          [](P& p) { p.kernel_size[0] = 0; }},
         {"kernel_size[1] is 4; allowed are 1 to 3: 6 tokens along the axis hold that many at "
          "dilation 2",
          [](P& p) {
              p.dilation[1] = 2;
              p.kernel_size[1] = 4;
          }},
         {"stride[1] is 4; allowed are 0 to 3, the kernel size, 0 for 1",
          [](P& p) { p.stride[1] = 4; }},
         {"stride[0] is -1; allowed are 0 to 3, the kernel size, 0 for 1",
          [](P& p) { p.stride[0] = -1; }},
         {"dilation[0] is 5; allowed are 0 to 4, the extent of the axis, 0 for 1",
          [](P& p) { p.dilation[0] = 5; }}});
}

TEST(NeighborhoodCheck, TensorsAndFlagsThatDoNotFit) {
    using P = fattn_neighborhood_problem;
    expect_refused(
        small_neighborhood(),
        {{"flags hold unknown bits (16); this library knows 15", [](P& p) { p.flags = 16; },
          FATTN_STATUS_UNSUPPORTED},
         {"scale is given, but flags lack FATTN_NEIGHBORHOOD_HAS_SCALE",
          [](P& p) { p.scale = 0.5F; }},
         {"the layout of a gradient is given, but flags lack FATTN_NEIGHBORHOOD_BACKWARD",
          [](P& p) { p.d_q = p.q; }},
         {"v.shape[1] is 1; it must be 2, the heads of k",
          [](P& p) { p.v = layout(2, 1, 24, 16); }},
         {"the layout of additional_k, additional_v or a gradient of them is given, but flags lack "
          "FATTN_NEIGHBORHOOD_HAS_ADDITIONAL_KV",
          [](P& p) { p.additional_v = layout(2, 2, 5, 16); }}});
}

TEST(NeighborhoodCheck, AdditionalKeysThatDoNotFit) {
    using P = fattn_neighborhood_problem;
    expect_refused(
        with_additional(),
        {{"additional_k.rank is 0, so additional_k is not given; it must be (rank 4)",
          [](P& p) { p.additional_k = {}; }},
         {"additional_k.dtype is f16; it must be f32, the dtype of k",
          [](P& p) { p.additional_k.dtype = FATTN_DTYPE_F16; }},
         {"additional_k.shape[1] is 4; it must be 2, as in k",
          [](P& p) { p.additional_k = layout(2, 4, 5, 8); }},
         {"additional_v.shape[3] is 8; it must be 16, as in v",
          [](P& p) { p.additional_v = layout(2, 2, 5, 8); }},
         {"additional_v.shape[2] is 6; it must be 5, the number of tokens of additional_k",
          [](P& p) { p.additional_v = layout(2, 2, 6, 16); }},
         {"the layout of a gradient is given, but flags lack FATTN_NEIGHBORHOOD_BACKWARD",
          [](P& p) { p.d_additional_k = p.additional_k; }},
         {"d_additional_v.dtype is f16; allowed is f32, the dtype of q", [](P& p) {
              p.flags |= FATTN_NEIGHBORHOOD_BACKWARD;
              p.d_additional_v = p.additional_v;
              p.d_additional_v.dtype = FATTN_DTYPE_F16;
          }}});
}

/// Memory for the runs of with_additional().
struct Data {
    std::vector<float> q = std::vector<float>(2 * 4 * 24 * 8);
    std::vector<float> k = std::vector<float>(2 * 2 * 24 * 8);
    std::vector<float> v = std::vector<float>(2 * 2 * 24 * 16);
    std::vector<float> additional_k = std::vector<float>(2 * 2 * 5 * 8);
    std::vector<float> additional_v = std::vector<float>(2 * 2 * 5 * 16);
    std::vector<float> o = std::vector<float>(2 * 4 * 24 * 16);

    fattn_neighborhood_forward_args args() {
        fattn_neighborhood_forward_args a{};
        a.struct_size = sizeof(a);
        a.q = q.data();
        a.k = k.data();
        a.v = v.data();
        a.o = o.data();
        a.additional_k = additional_k.data();
        a.additional_v = additional_v.data();
        return a;
    }
};

Plan plan_of(fattn_device* device, const fattn_neighborhood_problem& problem) {
    fattn_plan* plan = nullptr;
    EXPECT_EQ(fattn_neighborhood_plan(device, &problem, &plan), FATTN_STATUS_OK)
        << fattn_last_error();
    return Plan(plan);
}

TEST(NeighborhoodCheck, RunsNeedWhatThePlanAnnounced) {
    const Device device = cpu_device();
    const Plan plan = plan_of(device.get(), with_additional());
    Data data;
    fattn_neighborhood_forward_args args = data.args();
    EXPECT_EQ(fattn_neighborhood_forward(plan.get(), &args, nullptr), FATTN_STATUS_OK)
        << fattn_last_error();
    args.additional_v = nullptr;
    EXPECT_FAILS(fattn_neighborhood_forward(plan.get(), &args, nullptr),
                 FATTN_STATUS_INVALID_ARGUMENT,
                 "args->additional_v is NULL; needed are [2, 2, 5, 16] of f32");
    args = data.args();
    args.additional_k = data.o.data();  // the smaller one, so that nothing else is met
    EXPECT_FAILS(fattn_neighborhood_forward(plan.get(), &args, nullptr),
                 FATTN_STATUS_INVALID_ARGUMENT,
                 "args->o and args->additional_k overlap in memory; an output must not meet an "
                 "input");
    args = data.args();
    args.flags = 1;
    EXPECT_EQ(fattn_neighborhood_forward(plan.get(), &args, nullptr), FATTN_STATUS_UNSUPPORTED);
}

TEST(NeighborhoodCheck, RunsMayNotBringWhatThePlanDidNotAnnounce) {
    const Device device = cpu_device();
    const Plan plan = plan_of(device.get(), small_neighborhood());
    Data data;
    const fattn_neighborhood_forward_args args = data.args();
    EXPECT_FAILS(fattn_neighborhood_forward(plan.get(), &args, nullptr),
                 FATTN_STATUS_INVALID_ARGUMENT,
                 "args->additional_k is given; the plan was made without "
                 "FATTN_NEIGHBORHOOD_HAS_ADDITIONAL_KV");
    fattn_neighborhood_backward_args backward{};
    backward.struct_size = sizeof(backward);
    EXPECT_FAILS(fattn_neighborhood_backward(plan.get(), &backward, nullptr),
                 FATTN_STATUS_INVALID_ARGUMENT,
                 "a backward run was asked for; the plan was made without "
                 "FATTN_NEIGHBORHOOD_BACKWARD");
}

TEST(NeighborhoodCheck, PlansOfOtherFamiliesAreRefused) {
    const Device device = cpu_device();
    const Plan dense = make_plan(device.get(), small_problem());
    Data data;
    const fattn_neighborhood_forward_args args = data.args();
    EXPECT_FAILS(fattn_neighborhood_forward(dense.get(), &args, nullptr),
                 FATTN_STATUS_INVALID_ARGUMENT,
                 "plan is of family 0; a neighborhood plan is needed (family 1)");
    EXPECT_FAILS(fattn_neighborhood_forward(nullptr, &args, nullptr), FATTN_STATUS_INVALID_ARGUMENT,
                 "plan is NULL");
}

TEST(NeighborhoodPlanQueries, DescribeAndDrawThePlan) {
    const Device device = cpu_device();
    fattn_neighborhood_problem p = small_neighborhood();
    p.flags = FATTN_NEIGHBORHOOD_BACKWARD;
    const Plan plan = plan_of(device.get(), p);
    fattn_plan_description info{};
    info.struct_size = sizeof(info);
    ASSERT_EQ(fattn_plan_info(plan.get(), &info), FATTN_STATUS_OK);
    EXPECT_EQ(info.family, static_cast<fattn_family>(FATTN_FAMILY_NEIGHBORHOOD));
    fattn_schedule_stats stats{};
    stats.struct_size = sizeof(stats);
    ASSERT_EQ(fattn_plan_schedule_stats(plan.get(), &stats), FATTN_STATUS_OK);
    EXPECT_EQ(stats.needed_pairs, 2.0 * 4 * 24 * 9);
    EXPECT_GE(stats.visited_pairs, stats.needed_pairs);
    EXPECT_EQ(info.forward_flops, 2 * stats.visited_pairs * (8 + 16));
    std::vector<uint8_t> tiles(static_cast<std::size_t>(stats.num_q_tiles * stats.num_kv_tiles), 9);
    ASSERT_EQ(fattn_plan_schedule_tiles(plan.get(), 1, 3, tiles.data(), tiles.size()),
              FATTN_STATUS_OK);
    int64_t counts[3] = {};
    for (const uint8_t tile : tiles) ++counts[tile];
    EXPECT_EQ(8 * counts[FATTN_TILE_FULL], stats.full_tiles);
    EXPECT_EQ(8 * counts[FATTN_TILE_PARTIAL], stats.partial_tiles);
    uint64_t bytes = 0;
    EXPECT_EQ(fattn_plan_workspace(plan.get(), FATTN_PASS_BACKWARD, 2, &bytes, nullptr),
              FATTN_STATUS_OK);
    EXPECT_GT(bytes, 0U);
}

/// Zero stride and dilation are ones.
TEST(NeighborhoodPlanQueries, ZeroIsTheDefault) {
    const Device device = cpu_device();
    fattn_neighborhood_problem p = small_neighborhood();
    const Plan zeros = plan_of(device.get(), p);
    p.stride[0] = p.stride[1] = p.dilation[0] = p.dilation[1] = 1;
    const Plan ones = plan_of(device.get(), p);
    fattn_schedule_stats a{}, b{};
    a.struct_size = b.struct_size = sizeof(a);
    ASSERT_EQ(fattn_plan_schedule_stats(zeros.get(), &a), FATTN_STATUS_OK);
    ASSERT_EQ(fattn_plan_schedule_stats(ones.get(), &b), FATTN_STATUS_OK);
    EXPECT_EQ(a.needed_pairs, b.needed_pairs);
    EXPECT_EQ(a.visited_pairs, b.visited_pairs);
}

}  // namespace
}  // namespace fattn::test
