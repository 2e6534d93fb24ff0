// Every wrong dense problem is refused with its message; every default is resolved as the header
// says.
#include "api/dense_check.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "api/handles.h"

namespace fattn::test {
namespace {

using api::CheckedDense;

struct WrongProblem {
    const char* text;
    std::function<void(fattn_dense_problem&)> spoil;
    StatusCode code = StatusCode::kInvalidArgument;
};

fattn_dense_problem paged_problem() {
    fattn_dense_problem p = small_problem();
    p.flags = FATTN_DENSE_PAGED | FATTN_DENSE_HAS_KV_LEN;
    p.k = layout(7, 4, 2, 8);
    p.v = layout(7, 4, 1, 16);
    p.max_pages_per_seq = 3;
    return p;
}

fattn_dense_problem packed_problem() {
    fattn_dense_problem p = small_problem();
    p.flags = FATTN_DENSE_VARLEN;
    p.q = layout(1, 4, 12, 8);
    p.k = layout(1, 2, 20, 8);
    p.v = layout(1, 1, 20, 16);
    p.num_seqs = 3;
    return p;
}

DenseProblem resolved(const fattn_dense_problem& given) {
    CheckedDense checked;
    const Status status = api::check_dense_problem(given, &checked);
    EXPECT_TRUE(status.ok()) << status.message();
    return checked.problem;
}

void expect_refused(const fattn_dense_problem& right, const std::vector<WrongProblem>& wrong) {
    CheckedDense checked;
    ASSERT_TRUE(api::check_dense_problem(right, &checked).ok());
    for (const WrongProblem& w : wrong) {
        fattn_dense_problem problem = right;
        w.spoil(problem);
        const Status status = api::check_dense_problem(problem, &checked);
        EXPECT_EQ(status.code(), w.code) << w.text;
        EXPECT_EQ(status.message(), w.text);
    }
}

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr StatusCode kUnsupported = StatusCode::kUnsupported;
constexpr int64 kTooLong = int64{1} << 31;

TEST(DenseCheck, WrongTensorsAreRefusedByName) {
    expect_refused(
        small_problem(),
        {{"q.rank is 0, so q is not given; it must be (rank 4)", [](auto& p) { p.q.rank = 0; }},
         {"k.rank is 3; allowed is 4", [](auto& p) { p.k.rank = 3; }},
         {"v.rank is 5; allowed is 4", [](auto& p) { p.v.rank = 5; }},
         {"q.dtype is not given; allowed are f32, f16, bf16", [](auto& p) { p.q.dtype = 0; }},
         {"q.dtype is u8; allowed are f32, f16, bf16", [](auto& p) { p.q.dtype = FATTN_DTYPE_U8; }},
         {"k.dtype is 10; allowed are the values 1 to 9 of fattn_dtype",
          [](auto& p) { p.k.dtype = 10; }},
         {"k.dtype is f16; it must be f32, the dtype of q",
          [](auto& p) { p.k.dtype = FATTN_DTYPE_F16; }},
         {"v.dtype is bit; it must be f32, the dtype of q",
          [](auto& p) { p.v.dtype = FATTN_DTYPE_BIT; }},
         {"v.dtype is f8_e4m3; quantised caches are reserved for a later version",
          [](auto& p) { p.v.dtype = FATTN_DTYPE_F8_E4M3; }, kUnsupported},
         {"k.dtype is i8; quantised caches are reserved for a later version",
          [](auto& p) { p.k.dtype = FATTN_DTYPE_I8; }, kUnsupported},
         {"q.shape[2] is -1; allowed are 0 to 2147483647", [](auto& p) { p.q.shape[2] = -1; }},
         {"k.shape[2] is 2147483648; allowed are 0 to 2147483647",
          [](auto& p) { p.k.shape[2] = kTooLong; }},
         {"v.strides[1] is -1; strides must not be negative", [](auto& p) { p.v.strides[1] = -1; }},
         {"q.strides[3] is 2; the last dimension must be contiguous (stride 1)",
          [](auto& p) { p.q.strides[3] = 2; }},
         {"q.shape is [2, 4, 6, 8] with strides [9223372036854775807, 48, 8, 1]; extents and "
          "offsets "
          "may come to at most 144115188075855871 elements",
          [](auto& p) { p.q.strides[0] = std::numeric_limits<int64>::max(); }},
         {"q.shape is [2147483647, 2147483647, 2147483647, 8] with strides [0, 0, 0, 1]; extents "
          "and "
          "offsets may come to at most 144115188075855871 elements",
          [](auto& p) {
              p.q = {{kTooLong - 1, kTooLong - 1, kTooLong - 1, 8}, {0, 0, 0, 1}, p.q.dtype, 4};
          }},
         {"q.shape[3] (head dim) is 0; allowed are 1 to 576", [](auto& p) { p.q.shape[3] = 0; }},
         {"q.shape[3] (head dim) is 577; allowed are 1 to 576",
          [](auto& p) { p.q.shape[3] = 577; }},
         {"v.shape[3] (head dim) is 0; allowed are 1 to 576", [](auto& p) { p.v.shape[3] = 0; }},
         {"k.shape[3] is 9; it must be 8, the head dim of q", [](auto& p) { p.k.shape[3] = 9; }},
         {"k.shape[0] is 3; it must be 2, the batch of q", [](auto& p) { p.k.shape[0] = 3; }},
         {"v.shape[0] is 1; it must be 2, the batch of q", [](auto& p) { p.v.shape[0] = 1; }},
         {"v.shape[2] is 11; it must be 10, the number of tokens of k",
          [](auto& p) { p.v.shape[2] = 11; }},
         {"k.shape[1] (heads) is 0; allowed are 1 to 4, the heads of q",
          [](auto& p) { p.k.shape[1] = 0; }},
         {"v.shape[1] (heads) is 5; allowed are 1 to 4, the heads of q",
          [](auto& p) { p.v.shape[1] = 5; }},
         {"k.shape[1] (heads) is 2; allowed are 0 to 0, the heads of q",
          [](auto& p) { p.q.shape[1] = 0; }},
         {"batch 2, heads 4, queries 2147483647 and keys 2147483647 come to more pairs than 63 "
          "bits "
          "count",
          [](auto& p) { p.q.shape[2] = p.k.shape[2] = p.v.shape[2] = kTooLong - 1; }}});
}

TEST(DenseCheck, WrongOutputsAreRefused) {
    expect_refused(
        small_problem(),
        {{"o.shape[0] is 1; it must be 2, the batch of q",
          [](auto& p) { p.o = layout(1, 4, 6, 16); }},
         {"o.shape[1] is 2; it must be 4, the heads of q",
          [](auto& p) { p.o = layout(2, 2, 6, 16); }},
         {"o.shape[2] is 10; it must be 6, the tokens of q",
          [](auto& p) { p.o = layout(2, 4, 10, 16); }},
         {"o.shape[3] is 8; it must be 16, the head dim of v",
          [](auto& p) { p.o = layout(2, 4, 6, 8); }},
         {"o.dtype is f16; allowed is f32, the dtype of q",
          [](auto& p) { p.o = layout(2, 4, 6, 16, DType::kF16); }},
         {"o.dtype is bf16; allowed is f32, the dtype of q",
          [](auto& p) { p.o.dtype = FATTN_DTYPE_BF16; }},
         {"o.strides [0, 96, 16, 1] with shape [2, 4, 6, 16] put two elements in one place; an "
          "output "
          "must not overlap itself",
          [](auto& p) {
              p.o = layout(2, 4, 6, 16);
              p.o.strides[0] = 0;
          }},
         {"o.strides [384, 96, 15, 1] with shape [2, 4, 6, 16] put two elements in one place; an "
          "output must not overlap itself",
          [](auto& p) {
              p.o = layout(2, 4, 6, 16);
              p.o.strides[2] = 15;
          }},
         {"o is not given, so it takes the shape [1, 2147483647, 67108863, 576]; extents may come "
          "to at most 144115188075855871 elements",
          [](auto& p) {
              p.q = layout(1, kTooLong - 1, 67108863, 1);
              p.k = layout(1, 1, 1, 1);
              p.v = layout(1, 1, 1, 576);
          }}});
}

TEST(DenseCheck, FieldsWithoutTheirFlagAreRefused) {
    expect_refused(
        small_problem(),
        {{"scale is given, but flags lack FATTN_DENSE_HAS_SCALE", [](auto& p) { p.scale = 1; }},
         {"scale is given, but flags lack FATTN_DENSE_HAS_SCALE", [](auto& p) { p.scale = kNan; }},
         {"softcap is given, but flags lack FATTN_DENSE_HAS_SOFTCAP",
          [](auto& p) { p.softcap = 1; }},
         {"window_left is given, but flags lack FATTN_DENSE_HAS_WINDOW",
          [](auto& p) { p.window_left = -1; }},
         {"window_right is given, but flags lack FATTN_DENSE_HAS_WINDOW",
          [](auto& p) { p.window_right = 3; }},
         {"dropout_p is given, but flags lack FATTN_DENSE_HAS_DROPOUT",
          [](auto& p) { p.dropout_p = 0.5f; }},
         {"bias is given, but flags lack FATTN_DENSE_HAS_BIAS",
          [](auto& p) { p.bias = layout(2, 4, 6, 10); }},
         {"mask is given, but flags lack FATTN_DENSE_HAS_MASK",
          [](auto& p) { p.mask = layout(2, 4, 6, 10, DType::kU8); }},
         {"num_seqs is given, but flags lack FATTN_DENSE_VARLEN", [](auto& p) { p.num_seqs = 1; }},
         {"max_q_len is given, but flags lack FATTN_DENSE_VARLEN",
          [](auto& p) { p.max_q_len = 1; }},
         {"max_kv_len is given, but flags lack FATTN_DENSE_VARLEN",
          [](auto& p) { p.max_kv_len = 1; }},
         {"max_pages_per_seq is given, but flags lack FATTN_DENSE_PAGED",
          [](auto& p) { p.max_pages_per_seq = 1; }},
         {"the layout of a gradient is given, but flags lack FATTN_DENSE_BACKWARD",
          [](auto& p) { p.d_k = p.k; }},
         {"d_bias is given, but flags lack FATTN_DENSE_HAS_BIAS",
          [](auto& p) {
              p.flags |= FATTN_DENSE_BACKWARD;
              p.d_bias = layout(2, 4, 6, 10);
          }},
         {"flags hold FATTN_DENSE_PAGED without FATTN_DENSE_HAS_KV_LEN; a paged cache needs kv_len",
          [](auto& p) { p.flags |= FATTN_DENSE_PAGED; }},
         {"flags hold FATTN_DENSE_PAGED and FATTN_DENSE_BACKWARD; a paged cache has no backward",
          [](auto& p) {
              p.flags |= FATTN_DENSE_PAGED | FATTN_DENSE_HAS_KV_LEN | FATTN_DENSE_BACKWARD;
          },
          kUnsupported},
         {"flags hold unknown bits (32768); this library knows 32767",
          [](auto& p) { p.flags |= 32768; }, kUnsupported}});
}

TEST(DenseCheck, ReservedFieldsAreUnsupported) {
    const char* scales =
        "k_scale or v_scale is given; quantised caches are reserved for a later version";
    const char* programs =
        "score_program or mask_program is given; programs are reserved for a later version";
    static const int something = 0;
    const auto* program = reinterpret_cast<const fattn_program*>(&something);
    expect_refused(
        small_problem(),
        {{scales, [](auto& p) { p.flags |= FATTN_DENSE_HAS_KV_SCALE; }, kUnsupported},
         {scales, [](auto& p) { p.k_scale = p.k; }, kUnsupported},
         {scales, [](auto& p) { p.v_scale = p.v; }, kUnsupported},
         {programs, [&](auto& p) { p.score_program = program; }, kUnsupported},
         {programs, [&](auto& p) { p.mask_program = program; }, kUnsupported},
         {"reserved is 1; allowed is 0", [](auto& p) { p.reserved = 1; }, kUnsupported}});
}

TEST(DenseCheck, WrongScoresAreRefused) {
    const auto with = [](uint32 flag, auto set) {
        return [flag, set](fattn_dense_problem& p) {
            p.flags |= flag;
            set(p);
        };
    };
    expect_refused(
        small_problem(),
        {{"scale is nan; it must be finite",
          with(FATTN_DENSE_HAS_SCALE, [](auto& p) { p.scale = kNan; })},
         {"scale is -inf; it must be finite",
          with(FATTN_DENSE_HAS_SCALE, [](auto& p) { p.scale = -kInfinity; })},
         {"softcap is 0; it must be finite and above 0",
          with(FATTN_DENSE_HAS_SOFTCAP, [](auto&) {})},
         {"softcap is -1; it must be finite and above 0",
          with(FATTN_DENSE_HAS_SOFTCAP, [](auto& p) { p.softcap = -1; })},
         {"softcap is nan; it must be finite and above 0",
          with(FATTN_DENSE_HAS_SOFTCAP, [](auto& p) { p.softcap = kNan; })},
         {"softcap is inf; it must be finite and above 0",
          with(FATTN_DENSE_HAS_SOFTCAP, [](auto& p) { p.softcap = kInfinity; })},
         {"dropout_p is 1; allowed are 0 to 1, 1 excluded",
          with(FATTN_DENSE_HAS_DROPOUT, [](auto& p) { p.dropout_p = 1; })},
         {"dropout_p is -0.5; allowed are 0 to 1, 1 excluded",
          with(FATTN_DENSE_HAS_DROPOUT, [](auto& p) { p.dropout_p = -0.5f; })},
         {"dropout_p is nan; allowed are 0 to 1, 1 excluded",
          with(FATTN_DENSE_HAS_DROPOUT, [](auto& p) { p.dropout_p = kNan; })},
         {"weights is 2; allowed are 0 (softmax) and 1 (sigmoid)", [](auto& p) { p.weights = 2; }},
         {"sigmoid_bias is inf; it must be finite",
          [](auto& p) {
              p.weights = FATTN_WEIGHTS_SIGMOID;
              p.sigmoid_bias = kInfinity;
          }},
         {"sigmoid_bias is -2; with softmax weights it must be 0",
          [](auto& p) { p.sigmoid_bias = -2; }},
         {"flags hold FATTN_DENSE_HAS_SINK with sigmoid weights; a sink needs the normaliser of "
          "softmax",
          with(FATTN_DENSE_HAS_SINK, [](auto& p) { p.weights = FATTN_WEIGHTS_SIGMOID; })},
         {"window_left is -2; allowed are lengths from 0, and -1 for open",
          with(FATTN_DENSE_HAS_WINDOW, [](auto& p) { p.window_left = -2; })},
         {"window_right is -3; allowed are lengths from 0, and -1 for open",
          with(FATTN_DENSE_HAS_WINDOW, [](auto& p) { p.window_right = -3; })},
         {"attention_chunk is -1; allowed are positive lengths, and 0 for none",
          [](auto& p) { p.attention_chunk = -1; }},
         {"causal_alignment is 2; allowed are 0 (bottom right) and 1 (top left)",
          [](auto& p) { p.causal_alignment = 2; }},
         {"pointer_alignment is 24; allowed are powers of two up to 4096, and 0 for one element",
          [](auto& p) { p.pointer_alignment = 24; }},
         {"pointer_alignment is 8192; allowed are powers of two up to 4096, and 0 for one element",
          [](auto& p) { p.pointer_alignment = 8192; }}});
}

TEST(DenseCheck, WrongBiasesAndMasksAreRefused) {
    fattn_dense_problem right = small_problem();
    right.flags = FATTN_DENSE_HAS_BIAS | FATTN_DENSE_HAS_MASK;
    right.bias = layout(1, 4, 6, 10);
    right.mask = layout(2, 1, 6, 10, DType::kBit);
    expect_refused(right, {{"bias.rank is 0, so bias is not given; it must be (rank 4)",
                            [](auto& p) { p.bias.rank = 0; }},
                           {"mask.rank is 2; allowed is 4", [](auto& p) { p.mask.rank = 2; }},
                           {"bias.dtype is f16; allowed is f32, the dtype of q",
                            [](auto& p) { p.bias.dtype = FATTN_DTYPE_F16; }},
                           {"bias.dtype is not given; allowed is f32, the dtype of q",
                            [](auto& p) { p.bias.dtype = 0; }},
                           {"mask.dtype is f32; allowed are u8 and bit",
                            [](auto& p) { p.mask.dtype = FATTN_DTYPE_F32; }},
                           {"mask.dtype is not given; allowed are u8 and bit",
                            [](auto& p) { p.mask.dtype = 0; }},
                           {"bias.shape[0] is 3; it must be 2, the batch, or 1",
                            [](auto& p) { p.bias = layout(3, 4, 6, 10); }},
                           {"bias.shape[1] is 2; it must be 4, the heads of q, or 1",
                            [](auto& p) { p.bias = layout(1, 2, 6, 10); }},
                           {"bias.shape[2] is 1; it must be 6, the tokens of q",
                            [](auto& p) { p.bias = layout(1, 4, 1, 10); }},
                           {"mask.shape[3] is 9; it must be 10, the tokens of k",
                            [](auto& p) { p.mask = layout(2, 1, 6, 9, DType::kU8); }},
                           {"bias.shape is [1048576, 1, 524288, 524288] with strides [0, "
                            "274877906944, 524288, 1]; extents and offsets may come to at most "
                            "144115188075855871 elements",
                            [](auto& p) {  // what one bias for all batch entries stands for
                                p.q = p.k = p.v = layout(1048576, 1, 524288, 1);
                                p.bias = layout(1, 1, 524288, 524288);
                            }}});
}

TEST(DenseCheck, WrongPackedProblemsAreRefused) {
    fattn_dense_problem right = packed_problem();
    right.max_q_len = 5;
    right.flags |= FATTN_DENSE_HAS_BIAS;
    right.bias = layout(3, 1, 5, 20);
    expect_refused(
        right,
        {{"k.shape[0] is 1; it must be 2, the batch of q", [](auto& p) { p.q.shape[0] = 2; }},
         {"q.shape[0] is 2; it must be 1, because sequences are packed",
          [](auto& p) { p.q.shape[0] = p.k.shape[0] = p.v.shape[0] = 2; }},
         {"num_seqs is 0; allowed are 1 to 2147483647 for 12 packed queries",
          [](auto& p) { p.num_seqs = 0; }},
         {"num_seqs is -1; allowed are 1 to 2147483647 for 12 packed queries",
          [](auto& p) { p.num_seqs = -1; }},
         {"num_seqs is 2147483648; allowed are 1 to 2147483647 for 12 packed queries",
          [](auto& p) { p.num_seqs = kTooLong; }},
         {"max_q_len is -1; allowed are 0 to 2147483647, 0 for all tokens",
          [](auto& p) { p.max_q_len = -1; }},
         {"max_kv_len is 2147483648; allowed are 0 to 2147483647, 0 for all tokens",
          [](auto& p) { p.max_kv_len = kTooLong; }},
         {"bias.shape[0] is 2; it must be 3, the number of sequences, or 1",
          [](auto& p) { p.bias = layout(2, 1, 5, 20); }},
         {"bias.shape[2] is 12; it must be 5, the longest query sequence",
          [](auto& p) { p.bias = layout(3, 1, 12, 20); }},
         {"bias.shape[3] is 10; it must be 20, the longest key sequence",
          [](auto& p) { p.bias = layout(3, 1, 5, 10); }}});
}

TEST(DenseCheck, WrongPagesAreRefused) {
    expect_refused(
        paged_problem(),
        {{"v.shape[0] is 6; it must be 7, the number of pages of k",
          [](auto& p) { p.v.shape[0] = 6; }},
         {"v.shape[1] is 5; it must be 4, the page size of k", [](auto& p) { p.v.shape[1] = 5; }},
         {"k.shape[2] (heads) is 5; allowed are 1 to 4, the heads of q",
          [](auto& p) { p.k.shape[2] = 5; }},
         {"k.shape[1] (page size) is 0; a page holds at least 1 token",
          [](auto& p) { p.k.shape[1] = p.v.shape[1] = 0; }},
         {"max_pages_per_seq is 0; allowed are 1 to 536870911 with pages of 4 tokens",
          [](auto& p) { p.max_pages_per_seq = 0; }},
         {"max_pages_per_seq is 536870912; allowed are 1 to 536870911 with pages of 4 tokens",
          [](auto& p) { p.max_pages_per_seq = 536870912; }}});
}

TEST(DenseCheck, WrongGradientsAreRefused) {
    fattn_dense_problem right = small_problem();
    right.flags = FATTN_DENSE_BACKWARD | FATTN_DENSE_HAS_BIAS;
    right.bias = layout(1, 4, 6, 10);
    expect_refused(
        right,
        {{"d_o.shape[3] is 8; it must be 16, the head dim of v",
          [](auto& p) { p.d_o = layout(2, 4, 6, 8); }},
         {"d_o.dtype is bf16; allowed is f32, the dtype of q",
          [](auto& p) { p.d_o = layout(2, 4, 6, 16, DType::kBF16); }},
         {"d_q.shape[2] is 7; it must be 6, as in q", [](auto& p) { p.d_q = layout(2, 4, 7, 8); }},
         {"d_k.dtype is f16; allowed is f32, the dtype of q",
          [](auto& p) { p.d_k = layout(2, 2, 10, 8, DType::kF16); }},
         {"d_v.dtype is an unknown dtype; allowed is f32, the dtype of q",
          [](auto& p) { p.d_v.dtype = 77; }},
         {"d_v.strides [160, 0, 0, 1] with shape [2, 1, 10, 16] put two elements in one place; an "
          "output must not overlap itself",
          [](auto& p) {
              p.d_v = layout(2, 1, 10, 16);
              p.d_v.strides[1] = p.d_v.strides[2] = 0;
          }},
         {"d_k is not given, so it takes the strides [0, 80, 8, 1] of k, which put two elements in "
          "one "
          "place; give it a layout",
          [](auto& p) { p.k.strides[0] = 0; }},
         {"d_bias.shape[0] is 2; it must be 1, as in bias",
          [](auto& p) { p.d_bias = layout(2, 4, 6, 10); }},
         {"d_bias.dtype is f16; allowed is f32",
          [](auto& p) { p.d_bias = layout(1, 4, 6, 10, DType::kF16); }},
         {"d_bias.strides [240, 0, 10, 1] with shape [1, 4, 6, 10] put two elements in one place; "
          "an "
          "output must not overlap itself",
          [](auto& p) {
              p.d_bias = layout(1, 4, 6, 10);
              p.d_bias.strides[1] = 0;
          }}});
}

TEST(DenseCheck, ResultsOfShortTypesMayBeFloatOrTheSame) {
    fattn_dense_problem given = small_problem();
    given.q.dtype = given.k.dtype = given.v.dtype = FATTN_DTYPE_BF16;
    given.o.dtype = FATTN_DTYPE_F16;
    CheckedDense checked;
    EXPECT_EQ(api::check_dense_problem(given, &checked).message(),
              "o.dtype is f16; allowed are f32 and bf16, the dtype of q");
    for (const fattn_dtype dtype : {FATTN_DTYPE_F32, FATTN_DTYPE_BF16}) {
        given.o.dtype = dtype;
        EXPECT_EQ(resolved(given).o.dtype, static_cast<DType>(dtype));
    }
}

TEST(DenseCheck, DefaultsAreResolved) {
    fattn_dense_problem given = small_problem();
    given.k.dtype = given.v.dtype = FATTN_DTYPE_DEFAULT;
    const DenseProblem p = resolved(given);
    EXPECT_EQ(p.batch, 2);
    EXPECT_EQ(p.num_q_heads, 4);
    EXPECT_EQ(p.num_k_heads, 2);
    EXPECT_EQ(p.num_v_heads, 1);
    EXPECT_EQ(p.q_len, 6);
    EXPECT_EQ(p.kv_len, 10);
    EXPECT_EQ(p.head_dim, 8);
    EXPECT_EQ(p.head_dim_v, 16);
    EXPECT_EQ(p.k.dtype, DType::kF32);
    EXPECT_EQ(p.v.dtype, DType::kF32);
    EXPECT_EQ(p.o.dtype, DType::kF32);
    EXPECT_EQ(p.o.strides[0], 4 * 6 * 16);
    EXPECT_EQ(p.o.strides[2], 16);
    EXPECT_FLOAT_EQ(p.scale, 1 / std::sqrt(8.0f));
    EXPECT_EQ(p.softcap, 0);
    EXPECT_EQ(p.dropout_p, 0);
    EXPECT_EQ(p.window_left, -1);
    EXPECT_EQ(p.window_right, -1);
    EXPECT_EQ(p.attention_chunk, 0);
    EXPECT_EQ(p.alignment, Alignment::kBottomRight);
    EXPECT_EQ(p.weights, Weights::kSoftmax);
    EXPECT_EQ(p.bias.rank, 0u);
    EXPECT_EQ(p.mask.rank, 0u);
    EXPECT_EQ(p.d_q.rank, 0u);
    EXPECT_FALSE(p.backward);
}

TEST(DenseCheck, ZeroCountsWhereItsFlagIsSet) {
    fattn_dense_problem given = small_problem();
    given.flags = FATTN_DENSE_HAS_SCALE | FATTN_DENSE_HAS_WINDOW;
    const DenseProblem p = resolved(given);
    EXPECT_EQ(p.scale, 0);
    EXPECT_EQ(p.window_left, 0);
    EXPECT_EQ(p.window_right, 0);
}

TEST(DenseCheck, CausalIsARightWindowOfZero) {
    fattn_dense_problem given = small_problem();
    given.flags = FATTN_DENSE_CAUSAL;
    EXPECT_EQ(resolved(given).window_left, -1);
    EXPECT_EQ(resolved(given).window_right, 0);
    given.flags |= FATTN_DENSE_HAS_WINDOW;
    given.window_left = 3;
    given.window_right = -1;
    EXPECT_EQ(resolved(given).window_left, 3);
    EXPECT_EQ(resolved(given).window_right, 0);
    given.window_right = 4;
    EXPECT_EQ(resolved(given).window_right, 0);
}

TEST(DenseCheck, EndlessWindowsStayWithinTheArithmetic) {
    fattn_dense_problem given = small_problem();
    given.flags = FATTN_DENSE_HAS_WINDOW;
    given.window_left = given.window_right = given.attention_chunk =
        std::numeric_limits<int64>::max();
    const DenseProblem p = resolved(given);
    EXPECT_EQ(p.window_left, int64{1} << 48);
    EXPECT_EQ(p.window_right, int64{1} << 48);
    EXPECT_EQ(p.attention_chunk, int64{1} << 48);
}

TEST(DenseCheck, BiasAndMaskBroadcastWithStrideZero) {
    fattn_dense_problem given = small_problem();
    given.flags = FATTN_DENSE_HAS_BIAS | FATTN_DENSE_HAS_MASK;
    given.bias = layout(1, 4, 6, 10);
    given.mask = layout(2, 1, 6, 10, DType::kU8);
    const DenseProblem p = resolved(given);
    EXPECT_EQ(p.bias.shape[0], 2);
    EXPECT_EQ(p.bias.strides[0], 0);
    EXPECT_EQ(p.bias.strides[1], 60);
    EXPECT_EQ(p.mask.shape[1], 4);
    EXPECT_EQ(p.mask.strides[0], 60);
    EXPECT_EQ(p.mask.strides[1], 0);
}

TEST(DenseCheck, GradientsTakeTheLayoutOfTheirTensor) {
    fattn_dense_problem given = small_problem();
    given.flags = FATTN_DENSE_BACKWARD | FATTN_DENSE_HAS_BIAS;
    given.q.strides[2] = 4 * 8;  // tokens outside heads
    given.q.strides[1] = 8;
    given.q.dtype = given.k.dtype = given.v.dtype = FATTN_DTYPE_BF16;
    given.o.dtype = FATTN_DTYPE_F32;
    given.d_k.dtype = FATTN_DTYPE_F32;
    given.bias = layout(1, 4, 6, 10, DType::kBF16);
    const DenseProblem p = resolved(given);
    EXPECT_EQ(p.o.dtype, DType::kF32);
    EXPECT_EQ(p.d_o.dtype, DType::kF32);
    EXPECT_EQ(p.d_o.strides[1], p.o.strides[1]);
    EXPECT_EQ(p.d_q.strides[2], 32);
    EXPECT_EQ(p.d_q.dtype, DType::kBF16);
    EXPECT_EQ(p.d_k.dtype, DType::kF32);
    EXPECT_EQ(p.d_v.dtype, DType::kBF16);
    EXPECT_EQ(p.d_bias.dtype, DType::kF32);
    EXPECT_EQ(p.d_bias.shape[0], 1);
    EXPECT_EQ(p.d_bias.shape[1], 4);
}

TEST(DenseCheck, PackedSequencesCountAsTheBatch) {
    fattn_dense_problem given = packed_problem();
    DenseProblem p = resolved(given);
    EXPECT_TRUE(p.varlen);
    EXPECT_EQ(p.batch, 3);
    EXPECT_EQ(p.q_len, 12);  // unless said otherwise, one sequence may hold every token
    EXPECT_EQ(p.kv_len, 20);
    given.max_q_len = 5;
    given.max_kv_len = 100;
    p = resolved(given);
    EXPECT_EQ(p.q_len, 5);
    EXPECT_EQ(p.kv_len, 20);
}

TEST(DenseCheck, PagesGiveTheCapacity) {
    const DenseProblem p = resolved(paged_problem());
    EXPECT_TRUE(p.paged);
    EXPECT_EQ(p.batch, 2);
    EXPECT_EQ(p.num_pages, 7);
    EXPECT_EQ(p.page_size, 4);
    EXPECT_EQ(p.max_pages_per_seq, 3);
    EXPECT_EQ(p.kv_len, 12);
    EXPECT_EQ(p.num_k_heads, 2);
    EXPECT_EQ(p.num_v_heads, 1);
}

TEST(DenseCheck, ExtentsOfZeroAreLegal) {
    for (const int axis : {0, 2}) {
        fattn_dense_problem given = small_problem();
        given.q.shape[axis] = 0;
        if (axis == 0) given.k.shape[0] = given.v.shape[0] = 0;
        (void)resolved(given);
    }
    fattn_dense_problem no_keys = small_problem();
    no_keys.k.shape[2] = no_keys.v.shape[2] = 0;
    (void)resolved(no_keys);
    fattn_dense_problem no_heads = small_problem();
    no_heads.q.shape[1] = no_heads.k.shape[1] = no_heads.v.shape[1] = 0;
    (void)resolved(no_heads);
    fattn_dense_problem no_sequences = packed_problem();
    no_sequences.q.shape[2] = 0;
    no_sequences.num_seqs = 0;
    (void)resolved(no_sequences);
}

TEST(DenseCheck, SupportsGivesTheReasonThatPlanGives) {
    const Device device = cpu_device();
    fattn_dense_problem p = small_problem();
    EXPECT_EQ(fattn_supports_dense(device.get(), &p), FATTN_STATUS_OK);
    p.k.shape[3] = 9;
    EXPECT_FAILS(fattn_supports_dense(device.get(), &p), FATTN_STATUS_INVALID_ARGUMENT,
                 "k.shape[3] is 9; it must be 8, the head dim of q");
    fattn_plan* plan = reinterpret_cast<fattn_plan*>(&p);
    EXPECT_FAILS(fattn_dense_plan(device.get(), &p, &plan), FATTN_STATUS_INVALID_ARGUMENT,
                 "k.shape[3] is 9; it must be 8, the head dim of q");
    EXPECT_EQ(plan, nullptr);
    EXPECT_FAILS(fattn_supports_dense(nullptr, &p), FATTN_STATUS_INVALID_ARGUMENT,
                 "device is NULL");
    EXPECT_FAILS(fattn_dense_plan(device.get(), nullptr, &plan), FATTN_STATUS_INVALID_ARGUMENT,
                 "problem is NULL; a fattn_dense_problem is needed");
    EXPECT_FAILS(fattn_dense_plan(device.get(), &p, nullptr), FATTN_STATUS_INVALID_ARGUMENT,
                 "plan is NULL; a place for the handle is needed");
}

}  // namespace
}  // namespace fattn::test
