// Offsets past 2^31 elements: the same numbers as for tensors that lie close together. The address
// space between the rows is reserved without memory, so a wrong offset ends the program.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>
#include <random>
#include <vector>

#include "api/handles.h"

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>

namespace fattn::test {
namespace {

constexpr int64 kFar = (int64{1} << 31) + 1024;  // elements

/// Address space for floats; only rows that were opened are memory.
class SparseFloats {
  public:
    explicit SparseFloats(int64 count) : bytes_(static_cast<std::size_t>(count) * sizeof(float)) {
        void* memory =
            mmap(nullptr, bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        data_ = memory == MAP_FAILED ? nullptr : static_cast<float*>(memory);
    }
    ~SparseFloats() {
        if (data_ != nullptr) munmap(data_, bytes_);
    }
    SparseFloats(const SparseFloats&) = delete;
    SparseFloats& operator=(const SparseFloats&) = delete;

    float* data() const { return data_; }
    void open(int64 first, int64 count) {
        const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
        const std::size_t begin = static_cast<std::size_t>(first) * sizeof(float) / page * page;
        const std::size_t end = static_cast<std::size_t>(first + count) * sizeof(float);
        ASSERT_EQ(mprotect(reinterpret_cast<std::byte*>(data_) + begin, end - begin,
                           PROT_READ | PROT_WRITE),
                  0);
    }

  private:
    std::size_t bytes_;
    float* data_;
};

int64 row_of(const fattn_layout& t, int64 b, int64 h, int64 l) {
    return b * t.strides[0] + h * t.strides[1] + l * t.strides[2];
}

template <class Visit>
void for_each_row(const fattn_layout& t, Visit visit) {
    for (int64 b = 0; b < t.shape[0]; ++b)
        for (int64 h = 0; h < t.shape[1]; ++h)
            for (int64 l = 0; l < t.shape[2]; ++l) visit(b, h, l);
}

/// One tensor twice: contiguous, and with one stride that leads far away.
struct Twice {
    fattn_layout near_layout;
    fattn_layout far_layout;
    std::vector<float> near_data;
    SparseFloats far_data;

    Twice(const fattn_layout& close, int far_axis, std::mt19937& random)
        : near_layout(close),
          far_layout(close),
          near_data(static_cast<std::size_t>(close.shape[0] * close.strides[0])),
          far_data((close.shape[far_axis] - 1) * kFar + close.shape[0] * close.strides[0]) {
        far_layout.strides[far_axis] = kFar;
        std::normal_distribution<float> normal;
        for (float& x : near_data) x = normal(random);
        if (far_data.data() == nullptr) return;
        for_each_row(close, [&](int64 b, int64 h, int64 l) {
            const int64 to = row_of(far_layout, b, h, l);
            far_data.open(to, close.shape[3]);
            std::memcpy(far_data.data() + to, near_data.data() + row_of(close, b, h, l),
                        static_cast<std::size_t>(close.shape[3]) * sizeof(float));
        });
    }

    void expect_same(const char* name) const {
        for_each_row(near_layout, [&](int64 b, int64 h, int64 l) {
            for (int64 d = 0; d < near_layout.shape[3]; ++d) {
                EXPECT_EQ(far_data.data()[row_of(far_layout, b, h, l) + d],
                          near_data[static_cast<std::size_t>(row_of(near_layout, b, h, l) + d)])
                    << name << " " << b << " " << h << " " << l << " " << d;
            }
        });
    }
};

void expect_far_equals_near(int far_axis) {
    std::mt19937 random(static_cast<unsigned>(far_axis));
    Twice q(layout(2, 2, 3, 8), far_axis, random);
    Twice k(layout(2, 2, 4, 8), far_axis, random);
    Twice v(layout(2, 2, 4, 12), far_axis, random);
    Twice o(layout(2, 2, 3, 12), far_axis, random);
    Twice d_o(layout(2, 2, 3, 12), far_axis, random);
    Twice d_q(layout(2, 2, 3, 8), far_axis, random);
    Twice d_k(layout(2, 2, 4, 8), far_axis, random);
    Twice d_v(layout(2, 2, 4, 12), far_axis, random);
    for (const Twice* t : {&q, &k, &v, &o, &d_o, &d_q, &d_k, &d_v}) {
        if (t->far_data.data() == nullptr)
            GTEST_SKIP() << "the system reserves no such address space";
    }
    const Device device = cpu_device();
    for (const bool far : {false, true}) {
        const auto layout_of = [far](const Twice& t) { return far ? t.far_layout : t.near_layout; };
        const auto data_of = [far](Twice& t) {
            return far ? t.far_data.data() : t.near_data.data();
        };
        fattn_dense_problem problem{};
        problem.struct_size = sizeof(problem);
        problem.flags = FATTN_DENSE_BACKWARD | FATTN_DENSE_CAUSAL;
        problem.q = layout_of(q);
        problem.k = layout_of(k);
        problem.v = layout_of(v);
        problem.o = layout_of(o);
        problem.d_o = layout_of(d_o);
        problem.d_q = layout_of(d_q);
        problem.d_k = layout_of(d_k);
        problem.d_v = layout_of(d_v);
        const Plan plan = make_plan(device.get(), problem);
        ASSERT_NE(plan, nullptr);
        float lse[2 * 2 * 3];
        fattn_dense_forward_args forward{};
        forward.struct_size = sizeof(forward);
        forward.q = data_of(q);
        forward.k = data_of(k);
        forward.v = data_of(v);
        forward.o = data_of(o);
        forward.lse = lse;
        ASSERT_EQ(fattn_dense_forward(plan.get(), &forward, nullptr), FATTN_STATUS_OK)
            << fattn_last_error();
        fattn_dense_backward_args backward{};
        backward.struct_size = sizeof(backward);
        backward.q = data_of(q);
        backward.k = data_of(k);
        backward.v = data_of(v);
        backward.o = data_of(o);
        backward.lse = lse;
        backward.d_o = data_of(d_o);
        backward.d_q = data_of(d_q);
        backward.d_k = data_of(d_k);
        backward.d_v = data_of(d_v);
        ASSERT_EQ(fattn_dense_backward(plan.get(), &backward, nullptr), FATTN_STATUS_OK)
            << fattn_last_error();
    }
    o.expect_same("o");
    d_q.expect_same("d_q");
    d_k.expect_same("d_k");
    d_v.expect_same("d_v");
}

TEST(FarOffsets, OfBatchEntries) { expect_far_equals_near(0); }

TEST(FarOffsets, OfHeads) { expect_far_equals_near(1); }

TEST(FarOffsets, OfTokens) { expect_far_equals_near(2); }

}  // namespace
}  // namespace fattn::test
#endif
