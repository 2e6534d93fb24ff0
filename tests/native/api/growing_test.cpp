// Structs whose size differs between caller and library: older and newer callers.
#include "api/growing.h"

#include <gtest/gtest.h>

#include <cstring>

namespace fattn::api {
namespace {

/// What a later version of fattn_run might look like.
struct NewerRun {
    fattn_run known;
    uint64_t added;
};

Status read(const void* given, fattn_run* out) {
    return read_growing(static_cast<const fattn_run*>(given), "run", "fattn_run", out);
}

TEST(Growing, AnEqualSizeIsCopied) {
    int32_t cancel = 0;
    fattn_run run{};
    run.struct_size = sizeof(run);
    run.max_threads = 3;
    run.cancel = &cancel;
    fattn_run out;
    ASSERT_TRUE(read(&run, &out).ok());
    EXPECT_EQ(std::memcmp(&run, &out, sizeof(run)), 0);
}

TEST(Growing, AShorterStructEndsInZeros) {
    fattn_run run{};
    run.struct_size = offsetof(fattn_run, stream);
    run.max_threads = 5;
    run.stream = &run;  // past the end of what the caller says
    run.workspace_bytes = 9;
    fattn_run out;
    std::memset(&out, 0xAB, sizeof(out));
    ASSERT_TRUE(read(&run, &out).ok());
    EXPECT_EQ(out.max_threads, 5);
    EXPECT_EQ(out.stream, nullptr);
    EXPECT_EQ(out.workspace_bytes, 0u);
    EXPECT_EQ(out.cancel, nullptr);
}

TEST(Growing, ALongerStructIsTakenWhenItsTailIsZero) {
    NewerRun run{};
    run.known.struct_size = sizeof(run);
    run.known.max_threads = 2;
    fattn_run out;
    ASSERT_TRUE(read(&run, &out).ok());
    EXPECT_EQ(out.max_threads, 2);
}

TEST(Growing, ALongerStructWithASetTailIsUnsupportedAndBothSizesAreNamed) {
    NewerRun run{};
    run.known.struct_size = sizeof(run);
    run.added = uint64_t{1} << 63;  // the last byte
    fattn_run out;
    const Status status = read(&run, &out);
    EXPECT_EQ(status.code(), StatusCode::kUnsupported);
    EXPECT_EQ(
        status.message(),
        "run->struct_size is 56 and fields past byte 48 are set; this library knows 48 bytes of "
        "fattn_run and cannot honour the rest");
}

TEST(Growing, SizesThatNoVersionHasAreInvalid) {
    fattn_run run{};
    fattn_run out;
    for (const uint32_t size : {0u, 7u, 16385u, 0xFFFFFFFFu}) {
        run.struct_size = size;
        const Status status = read(&run, &out);
        EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
        EXPECT_EQ(status.message(), text("run->struct_size is ", size,
                                         "; set it to sizeof(fattn_run), 48 in this library"));
    }
}

TEST(Growing, NullIsInvalid) {
    fattn_run out;
    const Status status = read(nullptr, &out);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(status.message(), "run is NULL; a fattn_run is needed");
}

TEST(Growing, WritingStopsAtTheCallersSizeAndSaysHowMuchThereIs) {
    const fattn_schedule_stats value{.struct_size = 0,
                                     .flags = 0,
                                     .tile_q = 1,
                                     .tile_kv = 2,
                                     .num_q_tiles = 3,
                                     .num_kv_tiles = 4,
                                     .full_tiles = 5,
                                     .partial_tiles = 6,
                                     .skipped_tiles = 7,
                                     .needed_pairs = 8,
                                     .visited_pairs = 9};
    const auto write = [&](fattn_schedule_stats* out) {
        return write_growing(value, "stats", "fattn_schedule_stats", out);
    };
    fattn_schedule_stats out;
    std::memset(&out, 0xAB, sizeof(out));
    out.struct_size = offsetof(fattn_schedule_stats, num_q_tiles);
    ASSERT_TRUE(write(&out).ok());
    EXPECT_EQ(out.struct_size, offsetof(fattn_schedule_stats, num_q_tiles));
    EXPECT_EQ(out.tile_kv, 2);
    EXPECT_EQ(out.num_q_tiles, static_cast<int64_t>(0xABABABABABABABABu));

    struct {
        fattn_schedule_stats known;
        uint64_t added;
    } newer;
    std::memset(&newer, 0xAB, sizeof(newer));
    newer.known.struct_size = sizeof(newer);
    ASSERT_TRUE(write(&newer.known).ok());
    EXPECT_EQ(newer.known.struct_size, sizeof(fattn_schedule_stats));
    EXPECT_EQ(newer.known.visited_pairs, 9);
    EXPECT_EQ(newer.added, 0xABABABABABABABABu);

    out.struct_size = 4;
    EXPECT_EQ(
        write(&out).message(),
        "stats->struct_size is 4; set it to sizeof(fattn_schedule_stats), 80 in this library");
    EXPECT_EQ(write(nullptr).message(), "stats is NULL; a fattn_schedule_stats is needed");
}

}  // namespace
}  // namespace fattn::api
