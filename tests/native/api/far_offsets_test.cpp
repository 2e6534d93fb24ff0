// Offsets past 2^31 elements: the same numbers as for tensors that lie close together. The address
// space between the rows is reserved without memory, so a wrong offset ends the program.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>
#include <functional>
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

/// Attention over six tokens of two heads and two batch entries, forward and backward.
struct Tensors {
    explicit Tensors(int far_axis)
        : random(static_cast<unsigned>(far_axis)),
          q(layout(2, 2, 6, 8), far_axis, random),
          k(layout(2, 2, 6, 8), far_axis, random),
          v(layout(2, 2, 6, 12), far_axis, random),
          o(layout(2, 2, 6, 12), far_axis, random),
          d_o(layout(2, 2, 6, 12), far_axis, random),
          d_q(layout(2, 2, 6, 8), far_axis, random),
          d_k(layout(2, 2, 6, 8), far_axis, random),
          d_v(layout(2, 2, 6, 12), far_axis, random) {}

    bool present() const {
        for (const Twice* t : {&q, &k, &v, &o, &d_o, &d_q, &d_k, &d_v})
            if (t->far_data.data() == nullptr) return false;
        return true;
    }

    std::mt19937 random;
    Twice q, k, v, o, d_o, d_q, d_k, d_v;
    float lse[2 * 2 * 6] = {};
};

/// The functions of a family, and what its structs have beside the tensors that all families share.
template <class Problem, class Forward, class Backward>
struct Family {
    fattn_status (*make)(fattn_device*, const Problem*, fattn_plan**);
    fattn_status (*forward)(fattn_plan*, const Forward*, const fattn_run*);
    fattn_status (*backward)(fattn_plan*, const Backward*, const fattn_run*);
    std::function<void(Problem&)> set_problem;
    std::function<void(Forward&)> set_forward;
    std::function<void(Backward&)> set_backward;

    void run(fattn_device* device, Tensors& t, bool far) const {
        const auto layout_of = [far](const Twice& x) { return far ? x.far_layout : x.near_layout; };
        const auto data_of = [far](Twice& x) {
            return far ? x.far_data.data() : x.near_data.data();
        };
        Problem problem{};
        problem.struct_size = sizeof(problem);
        problem.q = layout_of(t.q);
        problem.k = layout_of(t.k);
        problem.v = layout_of(t.v);
        problem.o = layout_of(t.o);
        problem.d_o = layout_of(t.d_o);
        problem.d_q = layout_of(t.d_q);
        problem.d_k = layout_of(t.d_k);
        problem.d_v = layout_of(t.d_v);
        set_problem(problem);
        fattn_plan* made = nullptr;
        ASSERT_EQ(make(device, &problem, &made), FATTN_STATUS_OK) << fattn_last_error();
        const Plan plan(made);

        Forward f{};
        f.struct_size = sizeof(f);
        f.q = data_of(t.q);
        f.k = data_of(t.k);
        f.v = data_of(t.v);
        f.o = data_of(t.o);
        if constexpr (requires { f.lse; }) f.lse = t.lse;
        set_forward(f);
        ASSERT_EQ(forward(plan.get(), &f, nullptr), FATTN_STATUS_OK) << fattn_last_error();

        Backward b{};
        b.struct_size = sizeof(b);
        b.q = data_of(t.q);
        b.k = data_of(t.k);
        b.v = data_of(t.v);
        if constexpr (requires { b.o; }) b.o = data_of(t.o);
        if constexpr (requires { b.lse; }) b.lse = t.lse;
        b.d_o = data_of(t.d_o);
        b.d_q = data_of(t.d_q);
        b.d_k = data_of(t.d_k);
        b.d_v = data_of(t.d_v);
        set_backward(b);
        ASSERT_EQ(backward(plan.get(), &b, nullptr), FATTN_STATUS_OK) << fattn_last_error();
    }

    void expect_far_equals_near() const {
        const Device device = cpu_device();
        // Batch entries, heads, tokens.
        for (const int far_axis : {0, 1, 2}) {
            SCOPED_TRACE(far_axis);
            Tensors t(far_axis);
            if (!t.present()) GTEST_SKIP() << "the system reserves no such address space";
            for (const bool far : {false, true}) run(device.get(), t, far);
            t.o.expect_same("o");
            t.d_q.expect_same("d_q");
            t.d_k.expect_same("d_k");
            t.d_v.expect_same("d_v");
        }
    }
};

constexpr auto kNothing = [](auto&) {};

TEST(FarOffsets, OfDenseAttention) {
    const Family<fattn_dense_problem, fattn_dense_forward_args, fattn_dense_backward_args> dense{
        fattn_dense_plan,
        fattn_dense_forward,
        fattn_dense_backward,
        [](auto& p) { p.flags = FATTN_DENSE_BACKWARD | FATTN_DENSE_CAUSAL; },
        kNothing,
        kNothing};
    dense.expect_far_equals_near();
}

TEST(FarOffsets, OfNeighborhoodAttention) {
    const Family<fattn_neighborhood_problem, fattn_neighborhood_forward_args,
                 fattn_neighborhood_backward_args>
        neighborhood{fattn_neighborhood_plan,
                     fattn_neighborhood_forward,
                     fattn_neighborhood_backward,
                     [](auto& p) {
                         p.flags = FATTN_NEIGHBORHOOD_BACKWARD;
                         p.num_axes = 1;
                         p.grid[0] = 6;
                         p.kernel_size[0] = 3;
                     },
                     kNothing,
                     kNothing};
    neighborhood.expect_far_equals_near();
}

TEST(FarOffsets, OfLinearAttention) {
    static constexpr float kSlopes[] = {0.1F, 0.5F};
    const auto set_slopes = [](auto& args) { args.slopes = kSlopes; };
    const Family<fattn_lightning_problem, fattn_lightning_forward_args,
                 fattn_lightning_backward_args>
        lightning{fattn_lightning_plan,
                  fattn_lightning_forward,
                  fattn_lightning_backward,
                  [](auto& p) { p.flags = FATTN_LIGHTNING_BACKWARD; },
                  set_slopes,
                  set_slopes};
    lightning.expect_far_equals_near();
}

TEST(FarOffsets, OfPermutedBlockAttention) {
    // [2, 2, 3, 3]: every block of two tokens.
    const std::vector<uint8_t> mask(36, 1);
    const auto set_mask = [&](auto& args) { args.block_mask = mask.data(); };
    const Family<fattn_permuted_block_problem, fattn_permuted_block_forward_args,
                 fattn_permuted_block_backward_args>
        permuted{fattn_permuted_block_plan,
                 fattn_permuted_block_forward,
                 fattn_permuted_block_backward,
                 [](auto& p) {
                     p.flags = FATTN_PERMUTED_BLOCK_BACKWARD;
                     p.block_size = p.query_block = 2;
                     p.segment_size = 4;
                 },
                 set_mask,
                 set_mask};
    permuted.expect_far_equals_near();
}

TEST(FarOffsets, OfS2Attention) {
    const Family<fattn_s2_problem, fattn_s2_forward_args, fattn_s2_backward_args> s2{
        fattn_s2_plan,
        fattn_s2_forward,
        fattn_s2_backward,
        [](auto& p) {
            p.flags = FATTN_S2_BACKWARD;
            p.block_size = 1;
            p.local_blocks = 2;
            p.vertical_stride = 2;
        },
        kNothing,
        kNothing};
    s2.expect_far_equals_near();
}

}  // namespace
}  // namespace fattn::test
#endif
