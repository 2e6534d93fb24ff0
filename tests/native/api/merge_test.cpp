// Merging partial results through the C interface: the formula, in place, and every wrong argument.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <vector>

#include "api/handles.h"

namespace fattn::test {
namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();
constexpr std::size_t kRows = 2 * 3 * 7;
constexpr std::size_t kMergeDim = 5;

/// Three random parts of shape [2, 3, 7, 5]; some rows are absent from some parts, row 4 from all.
struct Parts {
    std::vector<float> o[3];
    std::vector<float> lse[3];
    const void* o_pointers[3];
    const float* lse_pointers[3];
    std::vector<float> out = std::vector<float>(kRows * kMergeDim, NAN);
    std::vector<float> out_lse = std::vector<float>(kRows, NAN);

    Parts() {
        std::mt19937 random(3);
        std::normal_distribution<float> normal;
        for (std::size_t part = 0; part < 3; ++part) {
            for (std::size_t i = 0; i < kRows * kMergeDim; ++i) o[part].push_back(normal(random));
            for (std::size_t row = 0; row < kRows; ++row) {
                const bool absent = row == 4 || (row + part) % 5 == 0;
                lse[part].push_back(absent ? static_cast<float>(kMinusInfinity)
                                           : 20 * normal(random));
            }
            o_pointers[part] = o[part].data();
            lse_pointers[part] = lse[part].data();
        }
    }

    fattn_merge_args args() {
        fattn_merge_args a{};
        a.struct_size = sizeof(a);
        a.part = layout(2, 3, 7, kMergeDim);
        a.num_parts = 3;
        a.o_parts = o_pointers;
        a.lse_parts = lse_pointers;
        a.o = out.data();
        a.lse = out_lse.data();
        return a;
    }
};

struct Merged {
    std::vector<double> o;
    std::vector<double> lse;
};

Merged expected(const Parts& parts) {
    Merged m;
    for (std::size_t row = 0; row < kRows; ++row) {
        double largest = kMinusInfinity;
        for (const auto& lse : parts.lse) largest = std::fmax(largest, lse[row]);
        double sum = 0;
        for (const auto& lse : parts.lse) {
            if (std::isfinite(lse[row])) sum += std::exp(lse[row] - largest);
        }
        const double lse = sum > 0 ? largest + std::log(sum) : kMinusInfinity;
        m.lse.push_back(lse);
        for (std::size_t d = 0; d < kMergeDim; ++d) {
            double value = 0;
            for (std::size_t part = 0; part < 3; ++part) {
                if (!std::isfinite(parts.lse[part][row])) continue;
                value += std::exp(parts.lse[part][row] - lse) * parts.o[part][row * kMergeDim + d];
            }
            m.o.push_back(value);
        }
    }
    return m;
}

void expect_equal(const Merged& m, const float* o, const float* lse) {
    for (std::size_t i = 0; i < m.o.size(); ++i) EXPECT_NEAR(o[i], m.o[i], 1e-5) << i;
    for (std::size_t i = 0; i < m.lse.size(); ++i) {
        if (std::isinf(m.lse[i])) {
            EXPECT_EQ(lse[i], m.lse[i]) << i;
        } else {
            EXPECT_NEAR(lse[i], m.lse[i], 2e-5) << i;
        }
    }
}

TEST(Merge, IsTheSoftmaxOfTheParts) {
    Parts parts;
    const fattn_merge_args args = parts.args();
    ASSERT_EQ(fattn_merge(cpu_device().get(), &args, nullptr), FATTN_STATUS_OK)
        << fattn_last_error();
    expect_equal(expected(parts), parts.out.data(), parts.out_lse.data());
    EXPECT_EQ(parts.out[4 * kMergeDim], 0);
}

TEST(Merge, WorksInPlaceOfAnyPart) {
    for (std::size_t place = 0; place < 3; ++place) {
        Parts parts;
        const Merged m = expected(parts);
        fattn_merge_args args = parts.args();
        args.o = parts.o[place].data();
        args.lse = parts.lse[place].data();
        ASSERT_EQ(fattn_merge(cpu_device().get(), &args, nullptr), FATTN_STATUS_OK)
            << fattn_last_error();
        expect_equal(m, parts.o[place].data(), parts.lse[place].data());
    }
}

TEST(Merge, LseIsOptionalAndTheOutputMayBeStrided) {
    Parts parts;
    fattn_merge_args args = parts.args();
    std::vector<float> wide(kRows * 8, NAN);
    args.lse = nullptr;
    args.o = wide.data();
    args.o_layout = layout(2, 3, 7, kMergeDim);
    args.o_layout.strides[0] = 3 * 7 * 8;
    args.o_layout.strides[1] = 7 * 8;
    args.o_layout.strides[2] = 8;
    ASSERT_EQ(fattn_merge(cpu_device().get(), &args, nullptr), FATTN_STATUS_OK)
        << fattn_last_error();
    const Merged m = expected(parts);
    for (std::size_t row = 0; row < kRows; ++row) {
        for (std::size_t d = 0; d < kMergeDim; ++d) {
            EXPECT_NEAR(wide[row * 8 + d], m.o[row * kMergeDim + d], 1e-5);
        }
        for (std::size_t d = kMergeDim; d < 8; ++d) EXPECT_TRUE(std::isnan(wide[row * 8 + d]));
    }
}

TEST(Merge, WrongArgumentsAreNamed) {
    struct Wrong {
        const char* text;
        std::function<void(fattn_merge_args&, Parts&)> spoil;
        fattn_status status = FATTN_STATUS_INVALID_ARGUMENT;
    };
    const Wrong wrong[] = {
        {"args->flags is 1; this library knows none", [](auto& a, auto&) { a.flags = 1; },
         FATTN_STATUS_UNSUPPORTED},
        {"args->num_parts is 0; allowed are 1 to 65536", [](auto& a, auto&) { a.num_parts = 0; }},
        {"args->num_parts is 65537; allowed are 1 to 65536",
         [](auto& a, auto&) { a.num_parts = 65537; }},
        {"args->o_parts is NULL; 3 pointers are needed",
         [](auto& a, auto&) { a.o_parts = nullptr; }},
        {"args->lse_parts is NULL; 3 pointers are needed",
         [](auto& a, auto&) { a.lse_parts = nullptr; }},
        {"args->part.rank is 0, so args->part is not given; it must be (rank 4)",
         [](auto& a, auto&) { a.part.rank = 0; }},
        {"args->part.dtype is i32; allowed are f32, f16, bf16",
         [](auto& a, auto&) { a.part.dtype = FATTN_DTYPE_I32; }},
        {"args->o_layout.shape[1] is 4; it must be 3, as in args->part",
         [](auto& a, auto&) { a.o_layout = layout(2, 4, 7, kMergeDim); }},
        {"args->o_layout.dtype is bf16; allowed are f32 and the f32 of the parts",
         [](auto& a, auto&) { a.o_layout = layout(2, 3, 7, kMergeDim, DType::kBF16); }},
        {"args->o_layout.strides [0, 35, 5, 1] with shape [2, 3, 7, 5] put two elements in one "
         "place; "
         "an output must not overlap itself",
         [](auto& a, auto&) {
             a.o_layout = layout(2, 3, 7, kMergeDim);
             a.o_layout.strides[0] = 0;
         }},
        {"args->o is NULL; needed are [2, 3, 7, 5] of f32", [](auto& a, auto&) { a.o = nullptr; }},
        {"args->o_parts[1] is NULL; needed are [2, 3, 7, 5] of f32",
         [](auto&, auto& parts) { parts.o_pointers[1] = nullptr; }},
        {"args->lse_parts[2] is NULL; needed are 42 elements",
         [](auto&, auto& parts) { parts.lse_pointers[2] = nullptr; }},
        {"args->o and args->o_parts[2] overlap in memory; an output must not meet an input",
         [](auto& a, auto& parts) { a.o = parts.o[2].data() + 5; }},
        {"args->o and args->o_parts[0] overlap in memory; an output must not meet an input",
         [](auto& a, auto& parts) {  // the same memory, but other strides
             a.o = parts.o[0].data();
             a.o_layout = layout(2, 3, 7, kMergeDim);
             a.o_layout.strides[0] = 5;
             a.o_layout.strides[1] = 10;
             a.o_layout.strides[2] = 30;
         }},
        {"args->o and args->lse share memory; two outputs must not",
         [](auto& a, auto& parts) { a.lse = parts.out.data() + 1; }}};
    const Device device = cpu_device();
    for (const Wrong& w : wrong) {
        Parts parts;
        fattn_merge_args args = parts.args();
        w.spoil(args, parts);
        EXPECT_EQ(fattn_merge(device.get(), &args, nullptr), w.status) << w.text;
        EXPECT_STREQ(fattn_last_error(), w.text);
        for (const float x : parts.out) ASSERT_TRUE(std::isnan(x)) << w.text;
    }
    Parts parts;
    const fattn_merge_args args = parts.args();
    EXPECT_FAILS(fattn_merge(nullptr, &args, nullptr), FATTN_STATUS_INVALID_ARGUMENT,
                 "device is NULL");
    EXPECT_FAILS(fattn_merge(device.get(), nullptr, nullptr), FATTN_STATUS_INVALID_ARGUMENT,
                 "args is NULL; a fattn_merge_args is needed");
    const int32 cancel = 1;
    fattn_run run{};
    run.struct_size = sizeof(run);
    run.cancel = &cancel;
    EXPECT_FAILS(fattn_merge(device.get(), &args, &run), FATTN_STATUS_CANCELLED,
                 "the run was cancelled by its caller");
}

}  // namespace
}  // namespace fattn::test
