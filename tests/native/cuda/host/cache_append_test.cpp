// Appending tokens to a cache in device memory through the C interface: the bytes of the CPU, no
// write outside the pages, and a place in a graph.
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "cuda/graph_capture.h"
#include "cuda/host/dense_on_device.h"

namespace fattn::cuda {
namespace {

using test::ok;

constexpr int64 kTokens = 5;
constexpr int64 kPlaces = 24;

class CacheAppendOnCuda : public DensePlanOnCuda {
  protected:
    /// [2, 3, 5, dim] into pages of 4 places, each head's own or all heads'.
    struct Case {
        Case(DType dtype, int64 dim, bool of_heads)
            : tokens(static_cast<std::size_t>(2 * 3 * kTokens * dim * bits_of(dtype) / 8)),
              pages(
                  static_cast<std::size_t>(kPlaces * (of_heads ? 1 : 3) * dim * bits_of(dtype) / 8),
                  '\7') {
            for (std::size_t n = 0; n < tokens.size(); ++n) tokens[n] = static_cast<char>(n * 37);
            for (int64 n = 0; n < 2 * kTokens * (of_heads ? 3 : 1); ++n) {
                // Each place at most once.
                const bool exists = n % 3 != 2 && n < kPlaces;
                slots.push_back(exists ? narrow<int32>(n * 7 % kPlaces) : -1);
            }
            args.struct_size = sizeof(args);
            args.tokens_layout = test::to_c(contiguous(2, 3, kTokens, dim, dtype));
            args.pages_layout =
                test::to_c(contiguous(kPlaces / 4, 4, of_heads ? 1 : 3, dim, dtype));
        }
        std::vector<char> tokens;
        std::vector<char> pages;
        std::vector<int32> slots;
        fattn_cache_append_args args{};
    };
};

TEST_F(CacheAppendOnCuda, GivesTheBytesOfTheCpu) {
    fattn_device* cpu = nullptr;
    ASSERT_TRUE(ok(fattn_device_cpu(&cpu)));
    const test::DeviceHandle host(cpu);
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
        for (const int64 dim : {int64{7}, int64{72}}) {
            for (const bool of_heads : {false, true}) {
                Case expected(dtype, dim, of_heads);
                expected.args.tokens = expected.tokens.data();
                expected.args.pages = expected.pages.data();
                expected.args.slots = expected.slots.data();
                ASSERT_TRUE(ok(fattn_cache_append(cpu, &expected.args, nullptr)));

                Case c(dtype, dim, of_heads);
                OnDevice memory(device);
                c.args.tokens = memory.put_numbers(c.tokens);
                c.args.pages = memory.put_numbers(c.pages);
                c.args.slots = memory.put(c.slots);
                ASSERT_TRUE(ok(fattn_cache_append(handle.get(), &c.args, nullptr)));
                memory.get_numbers(static_cast<const char*>(c.args.pages), c.pages);
                EXPECT_EQ(c.pages, expected.pages) << dim << ", " << of_heads;
            }
        }
    }
}

/// The virtual GPU would report an access outside.
TEST_F(CacheAppendOnCuda, SlotsOutsideThePagesAreLeftOut) {
    Case c(DType::kF16, 8, false);
    for (int32& slot : c.slots) slot = kPlaces;
    c.slots[3] = INT32_MAX;
    const std::vector<char> before = c.pages;
    OnDevice memory(device);
    c.args.tokens = memory.put_numbers(c.tokens);
    c.args.pages = memory.put_numbers(c.pages);
    c.args.slots = memory.put(c.slots);
    ASSERT_TRUE(ok(fattn_cache_append(handle.get(), &c.args, nullptr)));
    memory.get_numbers(static_cast<const char*>(c.args.pages), c.pages);
    EXPECT_EQ(c.pages, before);
}

TEST_F(CacheAppendOnCuda, HostMemoryIsRefusedByName) {
    Case c(DType::kF16, 8, false);
    OnDevice memory(device);
    c.args.tokens = memory.put_numbers(c.tokens);
    c.args.pages = memory.put_numbers(c.pages);
    c.args.slots = c.slots.data();
    EXPECT_EQ(fattn_cache_append(handle.get(), &c.args, nullptr), FATTN_STATUS_INVALID_ARGUMENT);
    EXPECT_NE(std::strstr(fattn_last_error(), "args->slots is not device memory"), nullptr)
        << fattn_last_error();
}

TEST_F(CacheAppendOnCuda, IsCapturedAndReplayed) {
    Case c(DType::kBF16, 72, true);
    OnDevice memory(device);
    c.args.tokens = memory.put_numbers(c.tokens);
    char* const pages = memory.put_numbers(c.pages);
    c.args.pages = pages;
    c.args.slots = memory.put(c.slots);
    ASSERT_TRUE(ok(fattn_cache_append(handle.get(), &c.args, nullptr)));
    std::vector<char> expected = c.pages;
    memory.get_numbers(pages, expected);
    c.args.pages = memory.put_numbers(c.pages);

    Stream stream;
    ASSERT_STATUS_OK(Stream::create(device, 0, &stream));
    fattn_run run{};
    run.struct_size = sizeof(run);
    run.stream = stream.handle();
    GraphCapture capture(stream);
    ASSERT_EQ(capture.begin(), Result::kSuccess);
    ASSERT_TRUE(ok(fattn_cache_append(handle.get(), &c.args, &run)));
    ASSERT_EQ(capture.end(), Result::kSuccess);
    ASSERT_EQ(capture.replay(), Result::kSuccess);
    ASSERT_STATUS_OK(stream.synchronize());
    memory.get_numbers(static_cast<const char*>(c.args.pages), c.pages);
    EXPECT_EQ(c.pages, expected);
}

}  // namespace
}  // namespace fattn::cuda
