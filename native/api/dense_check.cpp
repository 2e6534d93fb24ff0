// Checks a dense problem before a plan is made and resolves every default; see dense_check.h.
#include "api/dense_check.h"

#include <bit>
#include <cmath>

#include "api/tensor_check.h"
#include "backend/text.h"

namespace fattn::api {
namespace {

static_assert(FATTN_ALIGNMENT_BOTTOM_RIGHT ==
              static_cast<fattn_alignment>(Alignment::kBottomRight));
static_assert(FATTN_ALIGNMENT_TOP_LEFT == static_cast<fattn_alignment>(Alignment::kTopLeft));
static_assert(FATTN_WEIGHTS_SOFTMAX == static_cast<fattn_weights>(Weights::kSoftmax));
static_assert(FATTN_WEIGHTS_SIGMOID == static_cast<fattn_weights>(Weights::kSigmoid));

constexpr uint32 kKnownFlags = 2 * static_cast<uint32>(FATTN_DENSE_HAS_KV_SCALE) - 1;
/// Windows and chunks beyond any position; keeps sums of positions within 63 bits.
constexpr int64 kFarAway = int64{1} << 48;
constexpr uint32 kMaxPointerAlignment = 4096;

bool is_float(DType dtype) {
    return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

/// Reads a problem step by step; every step is one subject.
class Checker {
  public:
    Checker(const fattn_dense_problem& given, CheckedDense* out)
        : given_(given), problem_(out->problem), out_(out) {}

    Status run() {
        FATTN_RETURN_IF_ERROR(check_flags());
        FATTN_RETURN_IF_ERROR(check_reserved());
        FATTN_RETURN_IF_ERROR(read_inputs());
        FATTN_RETURN_IF_ERROR(read_lengths());
        FATTN_RETURN_IF_ERROR(read_output());
        FATTN_RETURN_IF_ERROR(read_scores());
        FATTN_RETURN_IF_ERROR(read_predicate());
        FATTN_RETURN_IF_ERROR(read_score_tensors());
        FATTN_RETURN_IF_ERROR(read_gradients());
        return read_pointer_alignment();
    }

  private:
    bool has(uint32 flag) const { return (given_.flags & flag) != 0; }

    /// A field that only counts with its flag.
    Status needs_flag(bool is_set, const char* field, uint32 flag, const char* flag_name) const {
        if (!is_set || has(flag)) return {};
        return invalid(text(field, " is given, but flags lack ", flag_name));
    }

    Status check_flags() const {
        if (const uint32 unknown = given_.flags & ~kKnownFlags; unknown != 0) {
            return unsupported(
                text("flags hold unknown bits (", unknown, "); this library knows ", kKnownFlags));
        }
        struct Rule {
            bool is_set;
            const char* field;
            uint32 flag;
            const char* flag_name;
        };
        const bool any_gradient = given_.d_o.rank != 0 || given_.d_q.rank != 0 ||
                                  given_.d_k.rank != 0 || given_.d_v.rank != 0 ||
                                  given_.d_bias.rank != 0;
        const Rule rules[] = {
            {given_.scale != 0, "scale", FATTN_DENSE_HAS_SCALE, "FATTN_DENSE_HAS_SCALE"},
            {given_.softcap != 0, "softcap", FATTN_DENSE_HAS_SOFTCAP, "FATTN_DENSE_HAS_SOFTCAP"},
            {given_.window_left != 0, "window_left", FATTN_DENSE_HAS_WINDOW,
             "FATTN_DENSE_HAS_WINDOW"},
            {given_.window_right != 0, "window_right", FATTN_DENSE_HAS_WINDOW,
             "FATTN_DENSE_HAS_WINDOW"},
            {given_.dropout_p != 0, "dropout_p", FATTN_DENSE_HAS_DROPOUT,
             "FATTN_DENSE_HAS_DROPOUT"},
            {given_.bias.rank != 0, "bias", FATTN_DENSE_HAS_BIAS, "FATTN_DENSE_HAS_BIAS"},
            {given_.mask.rank != 0, "mask", FATTN_DENSE_HAS_MASK, "FATTN_DENSE_HAS_MASK"},
            {given_.num_seqs != 0, "num_seqs", FATTN_DENSE_VARLEN, "FATTN_DENSE_VARLEN"},
            {given_.max_q_len != 0, "max_q_len", FATTN_DENSE_VARLEN, "FATTN_DENSE_VARLEN"},
            {given_.max_kv_len != 0, "max_kv_len", FATTN_DENSE_VARLEN, "FATTN_DENSE_VARLEN"},
            {given_.max_pages_per_seq != 0, "max_pages_per_seq", FATTN_DENSE_PAGED,
             "FATTN_DENSE_PAGED"},
            {any_gradient, "the layout of a gradient", FATTN_DENSE_BACKWARD,
             "FATTN_DENSE_BACKWARD"},
            {given_.d_bias.rank != 0, "d_bias", FATTN_DENSE_HAS_BIAS, "FATTN_DENSE_HAS_BIAS"}};
        for (const Rule& rule : rules) {
            FATTN_RETURN_IF_ERROR(needs_flag(rule.is_set, rule.field, rule.flag, rule.flag_name));
        }
        if (has(FATTN_DENSE_PAGED) && !has(FATTN_DENSE_HAS_KV_LEN)) {
            return invalid(
                "flags hold FATTN_DENSE_PAGED without FATTN_DENSE_HAS_KV_LEN; a paged "
                "cache needs kv_len");
        }
        if (has(FATTN_DENSE_PAGED) && has(FATTN_DENSE_BACKWARD)) {
            return unsupported(
                "flags hold FATTN_DENSE_PAGED and FATTN_DENSE_BACKWARD; a paged "
                "cache has no backward");
        }
        return {};
    }

    Status check_reserved() const {
        if (has(FATTN_DENSE_HAS_KV_SCALE) || given_.k_scale.rank != 0 || given_.v_scale.rank != 0) {
            return unsupported(
                "k_scale or v_scale is given; quantised caches are reserved for a "
                "later version");
        }
        if (given_.score_program != nullptr || given_.mask_program != nullptr) {
            return unsupported(
                "score_program or mask_program is given; programs are reserved for "
                "a later version");
        }
        if (given_.reserved != 0) {
            return unsupported(text("reserved is ", given_.reserved, "; allowed is 0"));
        }
        return {};
    }

    Status read_inputs() {
        DenseProblem& p = problem_;
        FATTN_RETURN_IF_ERROR(read_layout(given_.q, "q", &p.q));
        FATTN_RETURN_IF_ERROR(read_layout(given_.k, "k", &p.k));
        FATTN_RETURN_IF_ERROR(read_layout(given_.v, "v", &p.v));
        if (!is_float(p.q.dtype)) {
            return invalid(text("q.dtype is ", p.q.dtype, "; allowed are f32, f16, bf16"));
        }
        FATTN_RETURN_IF_ERROR(same_dtype_as_q(p.k, "k"));
        FATTN_RETURN_IF_ERROR(same_dtype_as_q(p.v, "v"));

        p.varlen = has(FATTN_DENSE_VARLEN);
        p.paged = has(FATTN_DENSE_PAGED);
        p.has_kv_len = has(FATTN_DENSE_HAS_KV_LEN);
        p.backward = has(FATTN_DENSE_BACKWARD);
        const int head_axis = p.paged ? 2 : 1;
        p.num_q_heads = p.q.shape[1];
        p.num_k_heads = p.k.shape[head_axis];
        p.num_v_heads = p.v.shape[head_axis];
        p.head_dim = p.q.shape[3];
        p.head_dim_v = p.v.shape[3];
        FATTN_RETURN_IF_ERROR(check_head_dim(p.head_dim, "q"));
        FATTN_RETURN_IF_ERROR(check_head_dim(p.head_dim_v, "v"));
        FATTN_RETURN_IF_ERROR(check_extent(p.k, "k", 3, p.head_dim, "the head dim of q"));
        FATTN_RETURN_IF_ERROR(check_num_heads(p.num_k_heads, "k", head_axis));
        FATTN_RETURN_IF_ERROR(check_num_heads(p.num_v_heads, "v", head_axis));
        if (p.paged) {
            FATTN_RETURN_IF_ERROR(
                check_extent(p.v, "v", 0, p.k.shape[0], "the number of pages of k"));
            return check_extent(p.v, "v", 1, p.k.shape[1], "the page size of k");
        }
        FATTN_RETURN_IF_ERROR(check_extent(p.k, "k", 0, p.q.shape[0], "the batch of q"));
        FATTN_RETURN_IF_ERROR(check_extent(p.v, "v", 0, p.q.shape[0], "the batch of q"));
        return check_extent(p.v, "v", 2, p.k.shape[2], "the number of tokens of k");
    }

    Status same_dtype_as_q(TensorLayout& layout, const char* name) const {
        if (layout.dtype == DType::kDefault) layout.dtype = problem_.q.dtype;
        if (layout.dtype == problem_.q.dtype) return {};
        const bool quantised = layout.dtype == DType::kF8E4M3 || layout.dtype == DType::kF8E5M2 ||
                               layout.dtype == DType::kI8;
        const std::string found = text(name, ".dtype is ", layout.dtype, "; ");
        if (quantised) {
            return unsupported(found + "quantised caches are reserved for a later version");
        }
        return invalid(found + text("it must be ", problem_.q.dtype, ", the dtype of q"));
    }

    static Status check_head_dim(int64 head_dim, const char* name) {
        if (head_dim >= 1 && head_dim <= kMaxHeadDim) return {};
        return invalid(
            text(name, ".shape[3] (head dim) is ", head_dim, "; allowed are 1 to ", kMaxHeadDim));
    }

    Status check_num_heads(int64 num, const char* name, int axis) const {
        const int64 least = problem_.num_q_heads > 0 ? 1 : 0;
        if (num >= least && num <= problem_.num_q_heads) return {};
        return invalid(text(name, ".shape[", axis, "] (heads) is ", num, "; allowed are ", least,
                            " to ", problem_.num_q_heads, ", the heads of q"));
    }

    Status read_lengths() {
        DenseProblem& p = problem_;
        p.batch = p.q.shape[0];
        p.q_len = p.q.shape[2];
        p.kv_len = p.k.shape[2];
        if (p.paged) FATTN_RETURN_IF_ERROR(read_pages());
        if (p.varlen) FATTN_RETURN_IF_ERROR(read_varlen());
        return check_num_pairs();
    }

    /// Pairs of all heads are counted in 63 bits.
    Status check_num_pairs() const {
        const DenseProblem& p = problem_;
        int64 pairs = max_of<int64>(p.batch, 1);
        for (const int64 extent : {p.num_q_heads, p.q_len, p.kv_len}) {
            if (__builtin_mul_overflow(pairs, max_of<int64>(extent, 1), &pairs)) {
                return invalid(text("batch ", p.batch, ", heads ", p.num_q_heads, ", queries ",
                                    p.q_len, " and keys ", p.kv_len,
                                    " come to more pairs than 63 bits count"));
            }
        }
        return {};
    }

    Status read_pages() {
        DenseProblem& p = problem_;
        p.num_pages = p.k.shape[0];
        p.page_size = p.k.shape[1];
        p.max_pages_per_seq = given_.max_pages_per_seq;
        if (p.page_size < 1) {
            return invalid("k.shape[1] (page size) is 0; a page holds at least 1 token");
        }
        if (p.max_pages_per_seq < 1 || p.max_pages_per_seq > kMaxExtent / p.page_size) {
            return invalid(text("max_pages_per_seq is ", p.max_pages_per_seq, "; allowed are 1 to ",
                                kMaxExtent / p.page_size, " with pages of ", p.page_size,
                                " tokens"));
        }
        p.kv_len = p.max_pages_per_seq * p.page_size;
        return {};
    }

    Status read_varlen() {
        DenseProblem& p = problem_;
        FATTN_RETURN_IF_ERROR(check_extent(p.q, "q", 0, 1, "because sequences are packed"));
        if (given_.num_seqs < 0 || given_.num_seqs > kMaxExtent ||
            (given_.num_seqs == 0 && p.q_len > 0)) {
            return invalid(text("num_seqs is ", given_.num_seqs, "; allowed are 1 to ", kMaxExtent,
                                " for ", p.q_len, " packed queries"));
        }
        FATTN_RETURN_IF_ERROR(check_capacity(given_.max_q_len, "max_q_len"));
        FATTN_RETURN_IF_ERROR(check_capacity(given_.max_kv_len, "max_kv_len"));
        p.batch = given_.num_seqs;
        // A sequence is never longer than all tokens, which is also the default.
        if (given_.max_q_len > 0) p.q_len = min_of(p.q_len, given_.max_q_len);
        if (given_.max_kv_len > 0) p.kv_len = min_of(p.kv_len, given_.max_kv_len);
        return {};
    }

    static Status check_capacity(int64 value, const char* name) {
        if (value >= 0 && value <= kMaxExtent) return {};
        return invalid(
            text(name, " is ", value, "; allowed are 0 to ", kMaxExtent, ", 0 for all tokens"));
    }

    Status read_output() {
        DenseProblem& p = problem_;
        if (given_.o.rank == 0) {
            // The dtype may be given without the rest.
            const DType dtype = given_.o.dtype != FATTN_DTYPE_DEFAULT
                                    ? static_cast<DType>(given_.o.dtype)
                                    : p.q.dtype;
            FATTN_RETURN_IF_ERROR(default_layout(
                {p.q.shape[0], p.num_q_heads, p.q.shape[2], p.head_dim_v}, dtype, "o", &p.o));
        } else {
            FATTN_RETURN_IF_ERROR(read_layout(given_.o, "o", &p.o));
            FATTN_RETURN_IF_ERROR(check_output_shape(p.o, "o"));
            if (p.o.dtype == DType::kDefault) p.o.dtype = p.q.dtype;
        }
        FATTN_RETURN_IF_ERROR(check_result_dtype(p.o, "o", p.q.dtype));
        return check_no_self_overlap(p.o, "o");
    }

    Status check_output_shape(const TensorLayout& layout, const char* name) const {
        const DenseProblem& p = problem_;
        FATTN_RETURN_IF_ERROR(check_extent(layout, name, 0, p.q.shape[0], "the batch of q"));
        FATTN_RETURN_IF_ERROR(check_extent(layout, name, 1, p.num_q_heads, "the heads of q"));
        FATTN_RETURN_IF_ERROR(check_extent(layout, name, 2, p.q.shape[2], "the tokens of q"));
        return check_extent(layout, name, 3, p.head_dim_v, "the head dim of v");
    }

    Status read_scores() {
        DenseProblem& p = problem_;
        p.scale = has(FATTN_DENSE_HAS_SCALE) ? given_.scale
                                             : 1.0f / std::sqrt(static_cast<float>(p.head_dim));
        if (!std::isfinite(p.scale)) {
            return invalid(text("scale is ", p.scale, "; it must be finite"));
        }
        if (has(FATTN_DENSE_HAS_SOFTCAP)) {
            p.softcap = given_.softcap;
            if (!(std::isfinite(p.softcap) && p.softcap > 0)) {
                return invalid(text("softcap is ", p.softcap, "; it must be finite and above 0"));
            }
        }
        if (has(FATTN_DENSE_HAS_DROPOUT)) {
            p.dropout_p = given_.dropout_p;
            if (!(p.dropout_p >= 0 && p.dropout_p < 1)) {
                return invalid(
                    text("dropout_p is ", p.dropout_p, "; allowed are 0 to 1, 1 excluded"));
            }
        }
        if (given_.weights > FATTN_WEIGHTS_SIGMOID) {
            return invalid(
                text("weights is ", given_.weights, "; allowed are 0 (softmax) and 1 (sigmoid)"));
        }
        p.weights = static_cast<Weights>(given_.weights);
        p.sigmoid_bias = given_.sigmoid_bias;
        if (!std::isfinite(p.sigmoid_bias)) {
            return invalid(text("sigmoid_bias is ", p.sigmoid_bias, "; it must be finite"));
        }
        if (p.weights == Weights::kSoftmax && p.sigmoid_bias != 0) {
            return invalid(
                text("sigmoid_bias is ", p.sigmoid_bias, "; with softmax weights it must be 0"));
        }
        p.has_alibi = has(FATTN_DENSE_HAS_ALIBI);
        p.has_sink = has(FATTN_DENSE_HAS_SINK);
        if (p.weights == Weights::kSigmoid && p.has_sink) {
            return invalid(
                "flags hold FATTN_DENSE_HAS_SINK with sigmoid weights; a sink needs the "
                "normaliser of softmax");
        }
        return {};
    }

    Status read_predicate() {
        DenseProblem& p = problem_;
        p.window_left = -1;
        p.window_right = -1;
        if (has(FATTN_DENSE_HAS_WINDOW)) {
            FATTN_RETURN_IF_ERROR(check_window(given_.window_left, "window_left"));
            FATTN_RETURN_IF_ERROR(check_window(given_.window_right, "window_right"));
            p.window_left = min_of(given_.window_left, kFarAway);
            p.window_right = min_of(given_.window_right, kFarAway);
        }
        if (has(FATTN_DENSE_CAUSAL)) p.window_right = 0;
        if (given_.attention_chunk < 0) {
            return invalid(text("attention_chunk is ", given_.attention_chunk,
                                "; allowed are positive lengths, and 0 for none"));
        }
        p.attention_chunk = min_of(given_.attention_chunk, kFarAway);
        if (given_.causal_alignment > FATTN_ALIGNMENT_TOP_LEFT) {
            return invalid(text("causal_alignment is ", given_.causal_alignment,
                                "; allowed are 0 (bottom right) and 1 (top left)"));
        }
        p.alignment = static_cast<Alignment>(given_.causal_alignment);
        return {};
    }

    static Status check_window(int64 value, const char* name) {
        if (value >= -1) return {};
        return invalid(text(name, " is ", value, "; allowed are lengths from 0, and -1 for open"));
    }

    Status read_score_tensors() {
        DenseProblem& p = problem_;
        p.has_bias = has(FATTN_DENSE_HAS_BIAS);
        if (p.has_bias) {
            FATTN_RETURN_IF_ERROR(read_layout(given_.bias, "bias", &p.bias));
            if (p.bias.dtype != DType::kF32 && p.bias.dtype != p.q.dtype) {
                return invalid(text("bias.dtype is ", p.bias.dtype, allowed_dtypes(p.q.dtype)));
            }
            FATTN_RETURN_IF_ERROR(expand_scores(p.bias, "bias"));
        }
        p.has_mask = has(FATTN_DENSE_HAS_MASK);
        if (p.has_mask) {
            FATTN_RETURN_IF_ERROR(read_layout(given_.mask, "mask", &p.mask));
            if (p.mask.dtype != DType::kU8 && p.mask.dtype != DType::kBit) {
                return invalid(text("mask.dtype is ", p.mask.dtype, "; allowed are u8 and bit"));
            }
            FATTN_RETURN_IF_ERROR(expand_scores(p.mask, "mask"));
        }
        return {};
    }

    /// [B or 1, Hq or 1, Lq, Lk] to [B, Hq, Lq, Lk] with strides 0.
    Status expand_scores(TensorLayout& layout, const char* name) const {
        const DenseProblem& p = problem_;
        const int64 full[2] = {p.batch, p.num_q_heads};
        const char* meaning[2] = {p.varlen ? "the number of sequences, or 1" : "the batch, or 1",
                                  "the heads of q, or 1"};
        for (int axis = 0; axis < 2; ++axis) {
            if (layout.shape[axis] == 1 && full[axis] != 1) {
                layout.shape[axis] = full[axis];
                layout.strides[axis] = 0;
            }
            FATTN_RETURN_IF_ERROR(check_extent(layout, name, axis, full[axis], meaning[axis]));
        }
        FATTN_RETURN_IF_ERROR(check_extent(
            layout, name, 2, p.q_len, p.varlen ? "the longest query sequence" : "the tokens of q"));
        FATTN_RETURN_IF_ERROR(
            check_extent(layout, name, 3, p.kv_len,
                         p.varlen || p.paged ? "the longest key sequence" : "the tokens of k"));
        return check_size(layout, name);
    }

    Status read_gradients() {
        DenseProblem& p = problem_;
        if (!p.backward) return {};
        if (given_.d_o.rank == 0) {
            p.d_o = p.o;
        } else {
            FATTN_RETURN_IF_ERROR(read_layout(given_.d_o, "d_o", &p.d_o));
            FATTN_RETURN_IF_ERROR(check_output_shape(p.d_o, "d_o"));
            if (p.d_o.dtype == DType::kDefault) p.d_o.dtype = p.o.dtype;
            FATTN_RETURN_IF_ERROR(check_result_dtype(p.d_o, "d_o", p.q.dtype));
        }
        FATTN_RETURN_IF_ERROR(read_gradient(given_.d_q, p.q, {"d_q", "q"}, p.q.dtype, &p.d_q));
        FATTN_RETURN_IF_ERROR(read_gradient(given_.d_k, p.k, {"d_k", "k"}, p.q.dtype, &p.d_k));
        FATTN_RETURN_IF_ERROR(read_gradient(given_.d_v, p.v, {"d_v", "v"}, p.q.dtype, &p.d_v));
        if (!p.has_bias) return {};

        const int64* shape = given_.bias.shape;
        if (given_.d_bias.rank == 0) {
            p.d_bias = contiguous(shape[0], shape[1], shape[2], shape[3], DType::kF32);
            return {};
        }
        FATTN_RETURN_IF_ERROR(read_layout(given_.d_bias, "d_bias", &p.d_bias));
        for (int axis = 0; axis < 4; ++axis) {
            FATTN_RETURN_IF_ERROR(
                check_extent(p.d_bias, "d_bias", axis, shape[axis], "as in bias"));
        }
        if (p.d_bias.dtype == DType::kDefault) p.d_bias.dtype = DType::kF32;
        if (p.d_bias.dtype != DType::kF32) {
            return invalid(text("d_bias.dtype is ", p.d_bias.dtype, "; allowed is f32"));
        }
        return check_no_self_overlap(p.d_bias, "d_bias");
    }

    Status read_pointer_alignment() {
        const uint32 alignment = given_.pointer_alignment;
        if (alignment != 0 &&
            (!std::has_single_bit(alignment) || alignment > kMaxPointerAlignment)) {
            return invalid(text("pointer_alignment is ", alignment,
                                "; allowed are powers of two up to ", kMaxPointerAlignment,
                                ", and 0 for one element"));
        }
        out_->pointer_alignment = max_of(alignment, 1u);
        return {};
    }

    const fattn_dense_problem& given_;
    DenseProblem& problem_;
    CheckedDense* out_;
};

}  // namespace

Status check_dense_problem(const fattn_dense_problem& given, CheckedDense* out) {
    *out = CheckedDense{};
    return Checker(given, out).run();
}

}  // namespace fattn::api
