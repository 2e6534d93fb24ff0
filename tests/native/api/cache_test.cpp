// Appending tokens to a paged cache through the C interface: every row where its slot says, nothing
// else touched, and every wrong argument.
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <vector>

#include "api/handles.h"

namespace fattn::test {
namespace {

constexpr int64_t kAppendBatch = 2, kAppendHeads = 3, kAppendTokens = 5, kAppendDim = 7,
                  kAppendPages = 8, kAppendPageSize = 4;

/// Numbered tokens, and pages of -1.
struct Append {
    explicit Append(bool slots_of_heads = false)
        : page_heads(slots_of_heads ? 1 : kAppendHeads),
          tokens(kAppendBatch * kAppendHeads * kAppendTokens * kAppendDim),
          pages(static_cast<std::size_t>(kAppendPages * kAppendPageSize * page_heads * kAppendDim),
                -1.0F) {
        for (std::size_t n = 0; n < tokens.size(); ++n) tokens[n] = static_cast<float>(n);
        // A permutation of the places, some of which are left out.
        const int64_t count = kAppendBatch * kAppendTokens * (slots_of_heads ? kAppendHeads : 1);
        for (int64_t n = 0; n < count; ++n) {
            slots.push_back(
                n % 4 == 3 ? -1 : static_cast<int32_t>(n * 5 % (kAppendPages * kAppendPageSize)));
        }
        args.struct_size = sizeof(args);
        args.tokens_layout = layout(kAppendBatch, kAppendHeads, kAppendTokens, kAppendDim);
        args.pages_layout = layout(kAppendPages, kAppendPageSize, page_heads, kAppendDim);
        args.tokens = tokens.data();
        args.pages = pages.data();
        args.slots = slots.data();
    }

    /// What pages should hold, token by token.
    std::vector<float> expected() const {
        std::vector<float> all(pages.size(), -1.0F);
        for (int64_t b = 0; b < kAppendBatch; ++b) {
            for (int64_t h = 0; h < kAppendHeads; ++h) {
                for (int64_t t = 0; t < kAppendTokens; ++t) {
                    const int64_t row = (b * kAppendHeads + h) * kAppendTokens + t;
                    const int32_t slot = slots[static_cast<std::size_t>(
                        page_heads == 1 ? row : b * kAppendTokens + t)];
                    if (slot < 0) continue;
                    const int64_t to = slot * page_heads + (page_heads == 1 ? 0 : h);
                    for (int64_t d = 0; d < kAppendDim; ++d) {
                        all[static_cast<std::size_t>(to * kAppendDim + d)] =
                            static_cast<float>(row * kAppendDim + d);
                    }
                }
            }
        }
        return all;
    }

    int64_t page_heads;
    std::vector<float> tokens;
    std::vector<float> pages;
    std::vector<int32_t> slots;
    fattn_cache_append_args args{};
};

TEST(CacheAppend, RowsGoWhereTheirSlotsSay) {
    const Device device = cpu_device();
    for (const bool slots_of_heads : {false, true}) {
        Append append(slots_of_heads);
        const std::vector<float> expected = append.expected();
        ASSERT_EQ(fattn_cache_append(device.get(), &append.args, nullptr), FATTN_STATUS_OK)
            << fattn_last_error();
        EXPECT_EQ(append.pages, expected) << slots_of_heads;
    }
}

TEST(CacheAppend, LayoutsMayHaveAnyOrder) {
    const Device device = cpu_device();
    Append plain, turned;
    // Tokens before heads in both.
    turned.args.tokens_layout.strides[1] = kAppendDim;
    turned.args.tokens_layout.strides[2] = kAppendHeads * kAppendDim;
    for (int64_t b = 0; b < kAppendBatch; ++b) {
        for (int64_t h = 0; h < kAppendHeads; ++h) {
            for (int64_t t = 0; t < kAppendTokens; ++t) {
                std::memcpy(&turned.tokens[static_cast<std::size_t>(
                                ((b * kAppendTokens + t) * kAppendHeads + h) * kAppendDim)],
                            &plain.tokens[static_cast<std::size_t>(
                                ((b * kAppendHeads + h) * kAppendTokens + t) * kAppendDim)],
                            kAppendDim * sizeof(float));
            }
        }
    }
    ASSERT_EQ(fattn_cache_append(device.get(), &plain.args, nullptr), FATTN_STATUS_OK)
        << fattn_last_error();
    ASSERT_EQ(fattn_cache_append(device.get(), &turned.args, nullptr), FATTN_STATUS_OK)
        << fattn_last_error();
    EXPECT_EQ(turned.pages, plain.pages);
}

TEST(CacheAppend, NothingIsNothingToDo) {
    const Device device = cpu_device();
    Append append;
    append.args.tokens_layout.shape[2] = 0;
    append.args.tokens = nullptr;
    append.args.slots = nullptr;
    ASSERT_EQ(fattn_cache_append(device.get(), &append.args, nullptr), FATTN_STATUS_OK)
        << fattn_last_error();
    EXPECT_EQ(append.pages, std::vector<float>(append.pages.size(), -1.0F));
}

TEST(CacheAppend, WrongArgumentsAreRefusedAndNothingIsWritten) {
    const Device device = cpu_device();
    const struct {
        std::function<void(Append&)> spoil;
        fattn_status status;
        const char* text;
    } cases[] = {
        {[](Append& a) { a.args.struct_size = 4; }, FATTN_STATUS_INVALID_ARGUMENT,
         "args->struct_size is 4"},
        {[](Append& a) { a.args.flags = 1; }, FATTN_STATUS_UNSUPPORTED, "args->flags is 1"},
        {[](Append& a) { a.args.tokens_layout.dtype = FATTN_DTYPE_I32; },
         FATTN_STATUS_INVALID_ARGUMENT, "args->tokens_layout.dtype is i32; allowed are f32"},
        {[](Append& a) { a.args.pages_layout.dtype = FATTN_DTYPE_F16; },
         FATTN_STATUS_INVALID_ARGUMENT, "args->pages_layout.dtype is f16; it must be f32"},
        {[](Append& a) { a.args.pages_layout.shape[2] = 2; }, FATTN_STATUS_INVALID_ARGUMENT,
         "args->pages_layout.shape[2] (heads) is 2; it must be 1, or the 3 of the tokens"},
        {[](Append& a) { a.args.pages_layout.shape[3] = 6; }, FATTN_STATUS_INVALID_ARGUMENT,
         "args->pages_layout.shape[3] is 6; it must be 7"},
        {[](Append& a) { a.args.pages_layout.strides[0] = 0; }, FATTN_STATUS_INVALID_ARGUMENT,
         "args->pages_layout"},
        {[](Append& a) { a.args.tokens = nullptr; }, FATTN_STATUS_INVALID_ARGUMENT,
         "args->tokens is NULL"},
        {[](Append& a) { a.args.slots = nullptr; }, FATTN_STATUS_INVALID_ARGUMENT,
         "args->slots is NULL; needed are 10 elements"},
        {[](Append& a) { a.args.tokens = a.pages.data(); }, FATTN_STATUS_INVALID_ARGUMENT,
         "args->pages and args->tokens overlap"},
        {[](Append& a) { a.slots[4] = 32; }, FATTN_STATUS_INVALID_ARGUMENT,
         "args->slots[4] is 32; the pages have 32 places"},
    };
    for (const auto& one : cases) {
        Append append;
        one.spoil(append);
        EXPECT_EQ(fattn_cache_append(device.get(), &append.args, nullptr), one.status) << one.text;
        EXPECT_NE(std::strstr(fattn_last_error(), one.text), nullptr) << fattn_last_error();
        EXPECT_EQ(append.pages, std::vector<float>(append.pages.size(), -1.0F)) << one.text;
    }
    const Append append;
    EXPECT_EQ(fattn_cache_append(nullptr, &append.args, nullptr), FATTN_STATUS_INVALID_ARGUMENT);
    EXPECT_EQ(fattn_cache_append(device.get(), nullptr, nullptr), FATTN_STATUS_INVALID_ARGUMENT);
}

}  // namespace
}  // namespace fattn::test
