// Every wrong run of a dense plan is refused with its message before anything is written.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <vector>

#include "api/handles.h"
#include "api/tensor_check.h"
#include "support/dense_case.h"

namespace fattn::test {
namespace {

using ForwardArgs = fattn_dense_forward_args;
using BackwardArgs = fattn_dense_backward_args;

template <class Args>
struct WrongRun {
    const char* text;
    std::function<void(Args&, fattn_run&)> spoil;
    fattn_status status = FATTN_STATUS_INVALID_ARGUMENT;
};

/// A byte for pointers that must not be there.
alignas(64) unsigned char unexpected[64];
const int32* unexpected_indices() { return reinterpret_cast<const int32*>(unexpected); }
const float* unexpected_floats() { return reinterpret_cast<const float*>(unexpected); }

fattn_run default_run() {
    fattn_run run{};
    run.struct_size = sizeof(run);
    return run;
}

bool untouched(const Tensor& tensor) {
    return !tensor.present() ||
           std::memcmp(tensor.data(), Tensor(tensor.layout()).data(),
                       static_cast<std::size_t>(api::byte_extent(tensor.layout()))) == 0;
}

void expect_forward_refused(DenseCase& c, const std::vector<WrongRun<ForwardArgs>>& wrong) {
    const Device device = cpu_device();
    const Plan plan = make_plan(device.get(), c.c_problem());
    ASSERT_NE(plan, nullptr);
    const ForwardArgs right = c.c_forward();
    const fattn_run run = default_run();
    ASSERT_EQ(fattn_dense_forward(plan.get(), &right, &run), FATTN_STATUS_OK) << fattn_last_error();
    c.reset_outputs();
    for (const WrongRun<ForwardArgs>& w : wrong) {
        ForwardArgs args = c.c_forward();
        fattn_run wrong_run = run;
        w.spoil(args, wrong_run);
        EXPECT_EQ(fattn_dense_forward(plan.get(), &args, &wrong_run), w.status) << w.text;
        EXPECT_STREQ(fattn_last_error(), w.text);
    }
    EXPECT_TRUE(untouched(c.o));
    EXPECT_TRUE(untouched(c.lse));
}

void expect_backward_refused(DenseCase& c, const std::vector<WrongRun<BackwardArgs>>& wrong) {
    const Device device = cpu_device();
    const Plan plan = make_plan(device.get(), c.c_problem());
    ASSERT_NE(plan, nullptr);
    for (const WrongRun<BackwardArgs>& w : wrong) {
        BackwardArgs args = c.c_backward();
        fattn_run wrong_run = default_run();
        w.spoil(args, wrong_run);
        EXPECT_EQ(fattn_dense_backward(plan.get(), &args, &wrong_run), w.status) << w.text;
        EXPECT_STREQ(fattn_last_error(), w.text);
    }
    for (const Tensor* t : {&c.d_q, &c.d_k, &c.d_v, &c.d_bias, &c.d_sink_logits}) {
        EXPECT_TRUE(untouched(*t));
    }
}

template <class T>
T* shifted(T* pointer, std::ptrdiff_t bytes) {
    return reinterpret_cast<T*>(reinterpret_cast<std::uintptr_t>(pointer) +
                                static_cast<std::uintptr_t>(bytes));
}

DenseSpec plain_spec() {
    DenseSpec spec;
    spec.batch = 2;
    spec.num_q_heads = 2;
    spec.q_len = 3;
    spec.kv_len = 5;
    spec.head_dim = 8;
    spec.head_dim_v = 4;
    return spec;
}

TEST(DenseRunCheck, MissingAndUnexpectedPointersAreNamed) {
    DenseCase c(plain_spec());
    expect_forward_refused(
        c,
        {{"args->q is NULL; needed are [2, 2, 3, 8] of f32", [](auto& a, auto&) { a.q = nullptr; }},
         {"args->k is NULL; needed are [2, 1, 5, 8] of f32", [](auto& a, auto&) { a.k = nullptr; }},
         {"args->v is NULL; needed are [2, 1, 5, 4] of f32", [](auto& a, auto&) { a.v = nullptr; }},
         {"args->o is NULL; needed are [2, 2, 3, 4] of f32", [](auto& a, auto&) { a.o = nullptr; }},
         {"args->bias is given; the plan was made without FATTN_DENSE_HAS_BIAS",
          [](auto& a, auto&) { a.bias = unexpected; }},
         {"args->mask is given; the plan was made without FATTN_DENSE_HAS_MASK",
          [](auto& a, auto&) { a.mask = unexpected; }},
         {"args->alibi_slopes is given; the plan was made without FATTN_DENSE_HAS_ALIBI",
          [](auto& a, auto&) { a.alibi_slopes = unexpected_floats(); }},
         {"args->sink_logits is given; the plan was made without FATTN_DENSE_HAS_SINK",
          [](auto& a, auto&) { a.sink_logits = unexpected_floats(); }},
         {"args->cu_seqlens_q is given; the plan was made without FATTN_DENSE_VARLEN",
          [](auto& a, auto&) { a.cu_seqlens_q = unexpected_indices(); }},
         {"args->cu_seqlens_k is given; the plan was made without FATTN_DENSE_VARLEN",
          [](auto& a, auto&) { a.cu_seqlens_k = unexpected_indices(); }},
         {"args->kv_len is given; the plan was made without FATTN_DENSE_HAS_KV_LEN",
          [](auto& a, auto&) { a.kv_len = unexpected_indices(); }},
         {"args->block_table is given; the plan was made without FATTN_DENSE_PAGED",
          [](auto& a, auto&) { a.block_table = unexpected_indices(); }},
         {"args->k_scale or v_scale is given; quantised caches are reserved for a later version",
          [](auto& a, auto&) { a.k_scale = unexpected; }, FATTN_STATUS_UNSUPPORTED},
         {"args->k_scale or v_scale is given; quantised caches are reserved for a later version",
          [](auto& a, auto&) { a.v_scale = unexpected; }, FATTN_STATUS_UNSUPPORTED},
         {"args->program_parameters is given; programs are reserved for a later version",
          [](auto& a, auto&) { a.program_parameters = unexpected; }, FATTN_STATUS_UNSUPPORTED},
         {"args->program_parameters is given; programs are reserved for a later version",
          [](auto& a, auto&) { a.program_parameter_bytes = 4; }, FATTN_STATUS_UNSUPPORTED}});
}

TEST(DenseRunCheck, WhatThePlanAnnouncesIsNeeded) {
    DenseSpec spec = plain_spec();
    spec.bias = spec.dtype;
    spec.mask = DType::kU8;
    spec.alibi = spec.sink = true;
    DenseCase c(spec);
    expect_forward_refused(c, {{"args->bias is NULL; needed are [2, 2, 3, 5] of f32",
                                [](auto& a, auto&) { a.bias = nullptr; }},
                               {"args->mask is NULL; needed are [2, 2, 3, 5] of u8",
                                [](auto& a, auto&) { a.mask = nullptr; }},
                               {"args->alibi_slopes is NULL; needed are 2 elements",
                                [](auto& a, auto&) { a.alibi_slopes = nullptr; }},
                               {"args->sink_logits is NULL; needed are 2 elements",
                                [](auto& a, auto&) { a.sink_logits = nullptr; }}});
}

TEST(DenseRunCheck, FlagsOffsetsAndAlignmentAreChecked) {
    DenseCase c(plain_spec());
    expect_forward_refused(
        c,
        {{"args->flags hold unknown bits (8); this library knows 7",
          [](auto& a, auto&) { a.flags = 8; }, FATTN_STATUS_UNSUPPORTED},
         {"args->flags hold FATTN_DENSE_ARGS_ACCUMULATE, which is reserved for a later version; "
          "outputs are overwritten",
          [](auto& a, auto&) { a.flags = FATTN_DENSE_ARGS_ACCUMULATE; }, FATTN_STATUS_UNSUPPORTED},
         {"args->flags is 1; FATTN_DENSE_ARGS_LENGTHS_ON_DEVICE and "
          "FATTN_DENSE_ARGS_VALIDATE_ON_DEVICE are for CUDA plans, on the CPU allowed is 0",
          [](auto& a, auto&) { a.flags = FATTN_DENSE_ARGS_LENGTHS_ON_DEVICE; }},
         {"args->q_position_offset is 1099511627777; allowed are -1099511627776 to 1099511627776",
          [](auto& a, auto&) { a.q_position_offset = (int64{1} << 40) + 1; }},
         {"args->k_position_offset is -1099511627777; allowed are -1099511627776 to 1099511627776",
          [](auto& a, auto&) { a.k_position_offset = -(int64{1} << 40) - 1; }},
         {"args->q is at an address that is 2 past a multiple of 4; it must be a multiple of 4 "
          "bytes",
          [](auto& a, auto&) { a.q = shifted(a.q, 2); }},
         {"args->lse is at an address that is 1 past a multiple of 4; it must be a multiple of 4 "
          "bytes",
          [](auto& a, auto&) { a.lse = shifted(a.lse, 1); }},
         {"args->struct_size is 1; set it to sizeof(fattn_dense_forward_args), 176 in this library",
          [](auto& a, auto&) { a.struct_size = 1; }}});
}

TEST(DenseRunCheck, ThePromisedAlignmentIsKept) {
    DenseCase c(plain_spec());
    fattn_dense_problem problem = c.c_problem();
    problem.pointer_alignment = 64;
    const Device device = cpu_device();
    const Plan plan = make_plan(device.get(), problem);
    alignas(64) float memory[6][64] = {};
    ForwardArgs args{};
    args.struct_size = sizeof(args);
    args.q = memory[0];  // 96 floats: two rows of memory
    args.k = memory[2];  // 80
    args.v = memory[4];  // 40
    args.o = memory[5];  // 48
    ASSERT_EQ(fattn_dense_forward(plan.get(), &args, nullptr), FATTN_STATUS_OK)
        << fattn_last_error();
    args.v = memory[4] + 8;
    EXPECT_FAILS(
        fattn_dense_forward(plan.get(), &args, nullptr), FATTN_STATUS_INVALID_ARGUMENT,
        "args->v is at an address that is 32 past a multiple of 64; it must be a multiple of "
        "64 bytes");
}

TEST(DenseRunCheck, OutputsMustNotMeetInputsOrEachOther) {
    DenseSpec spec = plain_spec();
    spec.alibi = true;
    DenseCase c(spec);
    expect_forward_refused(
        c, {{"args->o and args->q overlap in memory; an output must not meet an input",
             [](auto& a, auto&) { a.o = const_cast<void*>(a.q); }},
            {"args->o and args->v overlap in memory; an output must not meet an input",
             // The last float of v.
             [](auto& a, auto&) { a.o = const_cast<void*>(shifted(a.v, 4 * (2 * 5 * 4 - 1))); }},
            {"args->lse and args->alibi_slopes overlap in memory; an output must not meet an input",
             [](auto& a, auto&) { a.lse = const_cast<float*>(a.alibi_slopes); }},
            {"args->o and args->lse share memory; two outputs must not",
             [](auto& a, auto&) { a.lse = static_cast<float*>(a.o) + 47; }},
            {"args->o and run->workspace share memory; two outputs must not",
             [](auto& a, auto& run) {
                 run.workspace = a.o;
                 run.workspace_bytes = 1;
             }},
            {"run->workspace and args->k overlap in memory; an output must not meet an input",
             [](auto& a, auto& run) {
                 run.workspace = const_cast<void*>(a.k);
                 run.workspace_bytes = 1;
             }}});
}

TEST(DenseRunCheck, TheRunBlockIsChecked) {
    DenseCase c(plain_spec());
    static const int32 cancelled[2] = {1, 1};
    expect_forward_refused(
        c, {{"run->flags is 2; this library knows none", [](auto&, auto& run) { run.flags = 2; },
             FATTN_STATUS_UNSUPPORTED},
            {"run->reserved is 3; allowed is 0", [](auto&, auto& run) { run.reserved = 3; },
             FATTN_STATUS_UNSUPPORTED},
            {"run->max_threads is -1; allowed are positive numbers, and 0 for the device's own",
             [](auto&, auto& run) { run.max_threads = -1; }},
            {"run->stream is given; on the CPU it must be NULL, the call is synchronous",
             [](auto&, auto& run) { run.stream = unexpected; }},
            {"run->workspace is NULL with workspace_bytes 64; give both or neither",
             [](auto&, auto& run) { run.workspace_bytes = 64; }},
            {"run->cancel is not aligned; its address must be a multiple of 4",
             [](auto&, auto& run) { run.cancel = shifted(&cancelled[0], 1); }},
            {"run->struct_size is 0; set it to sizeof(fattn_run), 48 in this library",
             [](auto&, auto& run) { run.struct_size = 0; }},
            {"the run was cancelled by its caller",
             [](auto&, auto& run) { run.cancel = cancelled; }, FATTN_STATUS_CANCELLED}});
}

TEST(DenseRunCheck, TheCallersWorkspaceIsUsedOrRefused) {
    DenseCase c(plain_spec());
    const Device device = cpu_device();
    const Plan plan = make_plan(device.get(), c.c_problem());
    uint64_t bytes = 0;
    uint64_t device_bytes = 1;
    ASSERT_EQ(fattn_plan_workspace(plan.get(), FATTN_PASS_FORWARD, 2, &bytes, &device_bytes),
              FATTN_STATUS_OK);
    ASSERT_GT(bytes, 0u);
    EXPECT_EQ(device_bytes, 0u);
    std::vector<std::byte> memory(bytes + 64);
    fattn_run run = default_run();
    run.max_threads = 2;
    run.workspace =
        memory.data() + (64 - reinterpret_cast<std::uintptr_t>(memory.data()) % 64) % 64;
    run.workspace_bytes = bytes;
    const ForwardArgs args = c.c_forward();
    EXPECT_EQ(fattn_dense_forward(plan.get(), &args, &run), FATTN_STATUS_OK) << fattn_last_error();
    c.reset_outputs();
    run.workspace_bytes = bytes - 1;
    EXPECT_EQ(fattn_dense_forward(plan.get(), &args, &run), FATTN_STATUS_WORKSPACE_TOO_SMALL);
    run.workspace_bytes = bytes;
    run.workspace = static_cast<std::byte*>(run.workspace) + 4;
    EXPECT_EQ(fattn_dense_forward(plan.get(), &args, &run), FATTN_STATUS_WORKSPACE_TOO_SMALL);
    EXPECT_TRUE(untouched(c.o));
}

TEST(DenseRunCheck, IndicesOfPackedSequencesAreChecked) {
    DenseSpec spec = plain_spec();
    spec.batch = 3;
    spec.q_lens = {2, 0, 3};
    spec.kv_lens = {4, 1, 0};
    spec.kv_len_of_run = {3, 1, 0};
    DenseCase c(spec);
    static std::vector<int32> starts;
    static std::vector<int32> lengths;
    const auto q_starts = [](std::vector<int32> values) {
        return [values](auto& a, auto&) {
            starts = values;
            a.cu_seqlens_q = starts.data();
        };
    };
    const auto k_starts = [](std::vector<int32> values) {
        return [values](auto& a, auto&) {
            starts = values;
            a.cu_seqlens_k = starts.data();
        };
    };
    const auto kv_len = [](std::vector<int32> values) {
        return [values](auto& a, auto&) {
            lengths = values;
            a.kv_len = lengths.data();
        };
    };
    expect_forward_refused(
        c, {{"args->cu_seqlens_q is NULL; needed are 4 elements",
             [](auto& a, auto&) { a.cu_seqlens_q = nullptr; }},
            {"args->cu_seqlens_k is NULL; needed are 4 elements",
             [](auto& a, auto&) { a.cu_seqlens_k = nullptr; }},
            {"args->kv_len is NULL; needed are 3 elements",
             [](auto& a, auto&) { a.kv_len = nullptr; }},
            {"args->cu_seqlens_q[0] is 1; it must be 0", q_starts({1, 2, 2, 5})},
            {"args->cu_seqlens_q[2] is 1; it must be at least 2, the start before it",
             q_starts({0, 2, 1, 5})},
            {"args->cu_seqlens_q[3] is 6; it must be at most 5, the packed tokens",
             q_starts({0, 2, 3, 6})},
            {"args->cu_seqlens_q gives sequence 0 a length of 4; the plan was made for at most 3",
             q_starts({0, 4, 4, 5})},
            {"args->cu_seqlens_k gives sequence 2 a length of 5; the plan was made for at most 4",
             k_starts({0, 0, 0, 5})},
            {"args->kv_len[0] is 5; allowed are 0 to 4", kv_len({5, 1, 0})},
            {"args->kv_len[1] is -1; allowed are 0 to 1", kv_len({3, -1, 0})},
            {"args->kv_len[2] is 1; allowed are 0 to 0", kv_len({3, 1, 1})}});
}

TEST(DenseRunCheck, ACumulativeLengthBeyondAllTokensIsNamedBeforeItsLength) {
    DenseSpec spec = plain_spec();
    spec.batch = 3;
    spec.q_lens = {2, 0, 3};
    spec.kv_lens = {4, 1, 0};
    DenseCase c(spec);
    static const std::vector<int32> starts = {0, 0, 2147483647, 0};
    expect_forward_refused(
        c, {{"args->cu_seqlens_q[2] is 2147483647; it must be at most 5, the packed tokens",
             [](auto& a, auto&) { a.cu_seqlens_q = starts.data(); }}});
}

TEST(DenseRunCheck, PagesThatAreNeededAreChecked) {
    DenseSpec spec = plain_spec();
    spec.kv_len_of_run = {5, 3};
    spec.page_size = 2;
    DenseCase c(spec);  // 4 pages a sequence, 9 pages
    static std::vector<int32> table;
    const auto entry = [&c](std::size_t index, int32 page) {
        return [&c, index, page](auto& a, auto&) {
            table = c.block_table;
            table[index] = page;
            a.block_table = table.data();
        };
    };
    expect_forward_refused(
        c, {{"args->block_table is NULL; needed are 8 elements",
             [](auto& a, auto&) { a.block_table = nullptr; }},
            {"args->block_table[0][2] is 9; allowed are 0 to 8 for the 5 keys of this sequence",
             entry(2, 9)},
            {"args->block_table[1][0] is -1; allowed are 0 to 8 for the 3 keys of this sequence",
             entry(4, -1)},
            {"args->cu_seqlens_k is given; the keys are paged, kv_len gives their lengths",
             [](auto& a, auto&) { a.cu_seqlens_k = unexpected_indices(); }}});
    // A page that holds no key may be anything: the table's unused entries are -1 already.
    EXPECT_EQ(c.block_table[3], -1);
}

TEST(DenseRunCheck, BackwardRunsAreChecked) {
    DenseSpec spec = plain_spec();
    spec.backward = true;
    spec.d_lse = true;
    DenseCase c(spec);
    expect_backward_refused(
        c,
        {{"args->o is NULL; needed are [2, 2, 3, 4] of f32", [](auto& a, auto&) { a.o = nullptr; }},
         {"args->lse is NULL; needed are 12 elements", [](auto& a, auto&) { a.lse = nullptr; }},
         {"args->d_o is NULL; needed are [2, 2, 3, 4] of f32",
          [](auto& a, auto&) { a.d_o = nullptr; }},
         {"args->d_bias is given; the plan was made without FATTN_DENSE_HAS_BIAS",
          [](auto& a, auto&) { a.d_bias = const_cast<float*>(unexpected_floats()); }},
         {"args->d_sink_logits is given; the plan was made without FATTN_DENSE_HAS_SINK",
          [](auto& a, auto&) { a.d_sink_logits = const_cast<float*>(unexpected_floats()); }},
         {"args->d_q and args->q overlap in memory; an output must not meet an input",
          [](auto& a, auto&) { a.d_q = const_cast<void*>(a.q); }},
         {"args->d_v and args->d_lse overlap in memory; an output must not meet an input",
          [](auto& a, auto&) { a.d_v = const_cast<float*>(a.d_lse); }},
         {"args->d_k and args->d_v share memory; two outputs must not",
          [](auto& a, auto&) { a.d_v = a.d_k; }},
         {"args->d_k is at an address that is 3 past a multiple of 4; it must be a multiple of 4 "
          "bytes",
          [](auto& a, auto&) { a.d_k = shifted(a.d_k, 3); }},
         {"args->struct_size is 2; set it to sizeof(fattn_dense_backward_args), 208 in this "
          "library",
          [](auto& a, auto&) { a.struct_size = 2; }}});
}

TEST(DenseRunCheck, AForwardPlanRefusesABackwardRun) {
    DenseCase c(plain_spec());
    expect_backward_refused(
        c, {{"a backward run was asked for; the plan was made without FATTN_DENSE_BACKWARD",
             [](auto&, auto&) {}}});
}

TEST(DenseRunCheck, SigmoidWeightsHaveNoLse) {
    DenseSpec spec = plain_spec();
    spec.sigmoid = true;
    DenseCase c(spec);
    static float lse[12];
    expect_forward_refused(c, {{"args->lse is given; sigmoid weights have no LSE",
                                [](ForwardArgs& a, auto&) { a.lse = lse; }}});
    spec.backward = true;
    DenseCase backward(spec);
    expect_backward_refused(backward, {{"args->d_lse is given; sigmoid weights have no LSE",
                                        [](auto& a, auto&) { a.d_lse = lse; }}});
}

TEST(DenseRunCheck, NullHandlesAndArgumentsAreRefused) {
    const Device device = cpu_device();
    const Plan plan = make_plan(device.get(), small_problem());
    ForwardArgs args{};
    args.struct_size = sizeof(args);
    EXPECT_FAILS(fattn_dense_forward(nullptr, &args, nullptr), FATTN_STATUS_INVALID_ARGUMENT,
                 "plan is NULL");
    EXPECT_FAILS(fattn_dense_backward(nullptr, nullptr, nullptr), FATTN_STATUS_INVALID_ARGUMENT,
                 "plan is NULL");
    EXPECT_FAILS(fattn_dense_forward(plan.get(), nullptr, nullptr), FATTN_STATUS_INVALID_ARGUMENT,
                 "args is NULL; a fattn_dense_forward_args is needed");
    EXPECT_FAILS(fattn_dense_backward(plan.get(), nullptr, nullptr), FATTN_STATUS_INVALID_ARGUMENT,
                 "args is NULL; a fattn_dense_backward_args is needed");
}

TEST(DenseRunCheck, EmptyTensorsMayBeNull) {
    const Device device = cpu_device();
    fattn_dense_problem problem = small_problem();
    problem.k.shape[2] = problem.v.shape[2] = 0;
    const Plan no_keys = make_plan(device.get(), problem);
    std::vector<float> q(2 * 4 * 6 * 8, 1.0f);
    std::vector<float> o(2 * 4 * 6 * 16, 7.0f);
    std::vector<float> lse(2 * 4 * 6, 7.0f);
    ForwardArgs args{};
    args.struct_size = sizeof(args);
    args.q = q.data();
    args.o = o.data();
    args.lse = lse.data();
    ASSERT_EQ(fattn_dense_forward(no_keys.get(), &args, nullptr), FATTN_STATUS_OK)
        << fattn_last_error();
    for (const float x : o) EXPECT_EQ(x, 0);
    for (const float x : lse) EXPECT_EQ(x, -std::numeric_limits<float>::infinity());

    problem = small_problem();
    problem.q.shape[0] = problem.k.shape[0] = problem.v.shape[0] = 0;
    const Plan no_batch = make_plan(device.get(), problem);
    args = {};
    args.struct_size = sizeof(args);
    EXPECT_EQ(fattn_dense_forward(no_batch.get(), &args, nullptr), FATTN_STATUS_OK)
        << fattn_last_error();
}

}  // namespace
}  // namespace fattn::test
