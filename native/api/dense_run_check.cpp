// Checks the data of dense runs before anything is written; see dense_check.h.
#include "api/dense_check.h"
#include "backend/text.h"

namespace fattn::api {
namespace {

constexpr uint32 kKnownArgsFlags = 2 * static_cast<uint32>(FATTN_DENSE_ARGS_ACCUMULATE) - 1;
/// Keeps sums of positions within 63 bits.
constexpr int64 kMaxPositionOffset = int64{1} << 40;

Status check_args_flags(uint32 flags, bool on_host) {
    if (const uint32 unknown = flags & ~kKnownArgsFlags; unknown != 0) {
        return unsupported(text("args->flags hold unknown bits (", unknown,
                                "); this library knows ", kKnownArgsFlags));
    }
    if ((flags & FATTN_DENSE_ARGS_ACCUMULATE) != 0) {
        return unsupported(
            "args->flags hold FATTN_DENSE_ARGS_ACCUMULATE, which is reserved for a "
            "later version; outputs are overwritten");
    }
    if (on_host && flags != 0) {
        return invalid(text("args->flags is ", flags,
                            "; FATTN_DENSE_ARGS_LENGTHS_ON_DEVICE and "
                            "FATTN_DENSE_ARGS_VALIDATE_ON_DEVICE are for CUDA plans, on the CPU "
                            "allowed is 0"));
    }
    return {};
}

Status check_position_offset(int64 value, const char* name) {
    if (value >= -kMaxPositionOffset && value <= kMaxPositionOffset) return {};
    return invalid(text(name, " is ", value, "; allowed are ", -kMaxPositionOffset, " to ",
                        kMaxPositionOffset));
}

/// [num_seqs + 1] starts: 0 first, never falling, at most num_tokens, no sequence longer than the
/// plan's longest.
Status check_cu_seqlens(const char* name, const int32* starts, int64 num_seqs, int64 num_tokens,
                        int64 longest) {
    if (starts[0] != 0) return invalid(text(name, "[0] is ", starts[0], "; it must be 0"));
    for (int64 i = 0; i < num_seqs; ++i) {
        const int64 length = int64{starts[i + 1]} - starts[i];
        if (length < 0) {
            return invalid(text(name, "[", i + 1, "] is ", starts[i + 1], "; it must be at least ",
                                starts[i], ", the start before it"));
        }
        if (starts[i + 1] > num_tokens) {
            return invalid(text(name, "[", i + 1, "] is ", starts[i + 1], "; it must be at most ",
                                num_tokens, ", the packed tokens"));
        }
        if (length > longest) {
            return invalid(text(name, " gives sequence ", i, " a length of ", length,
                                "; the plan was made for at most ", longest));
        }
    }
    return {};
}

/// starts_k may be null, where the keys are not packed.
Status check_kv_len(const DenseProblem& p, const int32* lengths, const int32* starts_k) {
    for (int64 b = 0; b < p.batch; ++b) {
        int64 capacity = p.kv_len;
        if (starts_k != nullptr) capacity = int64{starts_k[b + 1]} - starts_k[b];
        if (lengths[b] < 0 || lengths[b] > capacity) {
            return invalid(
                text("args->kv_len[", b, "] is ", lengths[b], "; allowed are 0 to ", capacity));
        }
    }
    return {};
}

/// Every page that holds one of the keys of its sequence.
Status check_block_table(const DenseProblem& p, const int32* table, const int32* lengths) {
    for (int64 b = 0; b < p.batch; ++b) {
        const int32* pages = table + b * p.max_pages_per_seq;
        const int64 num_pages = ceil_div<int64>(lengths[b], p.page_size);
        for (int64 i = 0; i < num_pages; ++i) {
            if (pages[i] < 0 || pages[i] >= p.num_pages) {
                return invalid(text("args->block_table[", b, "][", i, "] is ", pages[i],
                                    "; allowed are 0 to ", p.num_pages - 1, " for the ", lengths[b],
                                    " keys of this sequence"));
            }
        }
    }
    return {};
}

/// Contents of the lengths of a run, null where they are absent or not looked at.
struct ReadLengths {
    const int32* starts_q = nullptr;
    const int32* starts_k = nullptr;
    const int32* kv_len = nullptr;
};

/// Reads the lengths where they can be read, and checks them.
template <class Args>
Status check_lengths(const DenseProblem& p, const Args& args, RunMemoryChecker* memory,
                     ReadLengths* read) {
    const char* const q_name = "args->cu_seqlens_q";
    const char* const k_name = "args->cu_seqlens_k";
    FATTN_RETURN_IF_ERROR(memory->lengths(q_name, args.cu_seqlens_q, p.batch + 1, &read->starts_q));
    FATTN_RETURN_IF_ERROR(memory->lengths(k_name, args.cu_seqlens_k, p.batch + 1, &read->starts_k));
    FATTN_RETURN_IF_ERROR(memory->lengths("args->kv_len", args.kv_len, p.batch, &read->kv_len));
    if (read->starts_q != nullptr) {
        FATTN_RETURN_IF_ERROR(
            check_cu_seqlens(q_name, read->starts_q, p.batch, p.q.shape[2], p.q_len));
    }
    if (read->starts_k != nullptr) {
        FATTN_RETURN_IF_ERROR(
            check_cu_seqlens(k_name, read->starts_k, p.batch, p.k.shape[2], p.kv_len));
    }
    return read->kv_len == nullptr ? Status() : check_kv_len(p, read->kv_len, read->starts_k);
}

/// What forward and backward have in common: inputs of the scores, lengths and positions.
template <class Args>
Status check_common(const CheckedDense& plan, const Args& args, RunMemoryChecker* memory,
                    ReadLengths* lengths) {
    const DenseProblem& p = plan.problem;
    FATTN_RETURN_IF_ERROR(check_args_flags(args.flags, memory->on_host()));
    const bool lengths_on_device = (args.flags & FATTN_DENSE_ARGS_LENGTHS_ON_DEVICE) != 0;
    memory->set_indices(!memory->on_host() && !lengths_on_device && (p.varlen || p.has_kv_len),
                        (args.flags & FATTN_DENSE_ARGS_VALIDATE_ON_DEVICE) != 0);
    if (args.program_parameters != nullptr || args.program_parameter_bytes != 0) {
        return unsupported(
            "args->program_parameters is given; programs are reserved for a later "
            "version");
    }
    FATTN_RETURN_IF_ERROR(check_position_offset(args.q_position_offset, "args->q_position_offset"));
    FATTN_RETURN_IF_ERROR(check_position_offset(args.k_position_offset, "args->k_position_offset"));

    FATTN_RETURN_IF_ERROR(memory->need("args->q", args.q, p.q, Role::kInput));
    FATTN_RETURN_IF_ERROR(memory->need("args->k", args.k, p.k, Role::kInput));
    FATTN_RETURN_IF_ERROR(memory->need("args->v", args.v, p.v, Role::kInput));
    FATTN_RETURN_IF_ERROR(p.has_bias ? memory->need("args->bias", args.bias, p.bias, Role::kInput)
                                     : reject("args->bias", args.bias,
                                              "the plan was made without FATTN_DENSE_HAS_BIAS"));
    FATTN_RETURN_IF_ERROR(p.has_mask ? memory->need("args->mask", args.mask, p.mask, Role::kInput)
                                     : reject("args->mask", args.mask,
                                              "the plan was made without FATTN_DENSE_HAS_MASK"));
    FATTN_RETURN_IF_ERROR(p.has_alibi ? memory->need_array("args->alibi_slopes", args.alibi_slopes,
                                                           p.num_q_heads, Role::kInput)
                                      : reject("args->alibi_slopes", args.alibi_slopes,
                                               "the plan was made without FATTN_DENSE_HAS_ALIBI"));
    FATTN_RETURN_IF_ERROR(p.has_sink ? memory->need_array("args->sink_logits", args.sink_logits,
                                                          p.num_q_heads, Role::kInput)
                                     : reject("args->sink_logits", args.sink_logits,
                                              "the plan was made without FATTN_DENSE_HAS_SINK"));

    const char* no_varlen = "the plan was made without FATTN_DENSE_VARLEN";
    if (p.varlen) {
        FATTN_RETURN_IF_ERROR(
            memory->need_array("args->cu_seqlens_q", args.cu_seqlens_q, p.batch + 1, Role::kInput));
    } else {
        FATTN_RETURN_IF_ERROR(reject("args->cu_seqlens_q", args.cu_seqlens_q, no_varlen));
    }
    if (p.varlen && !p.paged) {
        FATTN_RETURN_IF_ERROR(
            memory->need_array("args->cu_seqlens_k", args.cu_seqlens_k, p.batch + 1, Role::kInput));
    } else {
        FATTN_RETURN_IF_ERROR(
            reject("args->cu_seqlens_k", args.cu_seqlens_k,
                   p.paged ? "the keys are paged, kv_len gives their lengths" : no_varlen));
    }
    FATTN_RETURN_IF_ERROR(
        p.has_kv_len ? memory->need_array("args->kv_len", args.kv_len, p.batch, Role::kInput)
                     : reject("args->kv_len", args.kv_len,
                              "the plan was made without FATTN_DENSE_HAS_KV_LEN"));
    return check_lengths(p, args, memory, lengths);
}

/// Elements of lse: one for every query row.
int64 num_rows(const DenseProblem& p) { return p.q.shape[0] * p.q.shape[1] * p.q.shape[2]; }

}  // namespace

Status check_dense_forward(const CheckedDense& plan, const fattn_dense_forward_args& given,
                           RunMemoryChecker* memory, DenseForwardArgs* out) {
    const DenseProblem& p = plan.problem;
    ReadLengths lengths;
    FATTN_RETURN_IF_ERROR(check_common(plan, given, memory, &lengths));
    if (given.k_scale != nullptr || given.v_scale != nullptr) {
        return unsupported(
            "args->k_scale or v_scale is given; quantised caches are reserved for a "
            "later version");
    }
    if (p.paged) {
        FATTN_RETURN_IF_ERROR(memory->need_array("args->block_table", given.block_table,
                                                 p.batch * p.max_pages_per_seq, Role::kInput));
        const int32* pages = nullptr;
        FATTN_RETURN_IF_ERROR(memory->indices("args->block_table", given.block_table,
                                              p.batch * p.max_pages_per_seq, &pages));
        if (pages != nullptr && lengths.kv_len != nullptr) {
            FATTN_RETURN_IF_ERROR(check_block_table(p, pages, lengths.kv_len));
        }
    } else {
        FATTN_RETURN_IF_ERROR(reject("args->block_table", given.block_table,
                                     "the plan was made without FATTN_DENSE_PAGED"));
    }
    FATTN_RETURN_IF_ERROR(memory->need("args->o", given.o, p.o, Role::kOutput));
    if (p.weights == Weights::kSigmoid) {
        FATTN_RETURN_IF_ERROR(reject("args->lse", given.lse, "sigmoid weights have no LSE"));
    }
    FATTN_RETURN_IF_ERROR(memory->may_array("args->lse", given.lse, num_rows(p), Role::kOutput));

    *out = {.q = address_of(given.q),
            .k = address_of(given.k),
            .v = address_of(given.v),
            .o = address_of(given.o),
            .lse = given.lse,
            .bias = p.has_bias ? address_of(given.bias) : nullptr,
            .mask = p.has_mask ? address_of(given.mask) : nullptr,
            .alibi_slopes = given.alibi_slopes,
            .sink_logits = given.sink_logits,
            .cu_seqlens_q = given.cu_seqlens_q,
            .cu_seqlens_k = given.cu_seqlens_k,
            .kv_len = given.kv_len,
            .block_table = given.block_table,
            .dropout_seed = given.dropout_seed,
            .dropout_offset = given.dropout_offset,
            .q_position_offset = given.q_position_offset,
            .k_position_offset = given.k_position_offset};
    return {};
}

Status check_dense_backward(const CheckedDense& plan, const fattn_dense_backward_args& given,
                            RunMemoryChecker* memory, DenseBackwardArgs* out) {
    const DenseProblem& p = plan.problem;
    if (!p.backward) {
        return invalid(
            "a backward run was asked for; the plan was made without "
            "FATTN_DENSE_BACKWARD");
    }
    ReadLengths lengths;
    FATTN_RETURN_IF_ERROR(check_common(plan, given, memory, &lengths));
    if (p.weights == Weights::kSoftmax) {
        FATTN_RETURN_IF_ERROR(memory->need("args->o", given.o, p.o, Role::kInput));
        FATTN_RETURN_IF_ERROR(
            memory->need_array("args->lse", given.lse, num_rows(p), Role::kInput));
    } else {
        FATTN_RETURN_IF_ERROR(reject("args->d_lse", given.d_lse, "sigmoid weights have no LSE"));
    }
    FATTN_RETURN_IF_ERROR(memory->need("args->d_o", given.d_o, p.d_o, Role::kInput));
    FATTN_RETURN_IF_ERROR(memory->may_array("args->d_lse", given.d_lse, num_rows(p), Role::kInput));

    FATTN_RETURN_IF_ERROR(memory->may("args->d_q", given.d_q, p.d_q, Role::kOutput));
    FATTN_RETURN_IF_ERROR(memory->may("args->d_k", given.d_k, p.d_k, Role::kOutput));
    FATTN_RETURN_IF_ERROR(memory->may("args->d_v", given.d_v, p.d_v, Role::kOutput));
    FATTN_RETURN_IF_ERROR(p.has_bias
                              ? memory->may("args->d_bias", given.d_bias, p.d_bias, Role::kOutput)
                              : reject("args->d_bias", given.d_bias,
                                       "the plan was made without FATTN_DENSE_HAS_BIAS"));
    FATTN_RETURN_IF_ERROR(p.has_sink ? memory->may_array("args->d_sink_logits", given.d_sink_logits,
                                                         p.num_q_heads, Role::kOutput)
                                     : reject("args->d_sink_logits", given.d_sink_logits,
                                              "the plan was made without FATTN_DENSE_HAS_SINK"));

    *out = {.q = address_of(given.q),
            .k = address_of(given.k),
            .v = address_of(given.v),
            .o = address_of(given.o),
            .lse = given.lse,
            .d_o = address_of(given.d_o),
            .d_lse = given.d_lse,
            .bias = p.has_bias ? address_of(given.bias) : nullptr,
            .mask = p.has_mask ? address_of(given.mask) : nullptr,
            .alibi_slopes = given.alibi_slopes,
            .sink_logits = given.sink_logits,
            .cu_seqlens_q = given.cu_seqlens_q,
            .cu_seqlens_k = given.cu_seqlens_k,
            .kv_len = given.kv_len,
            .d_q = given.d_q,
            .d_k = given.d_k,
            .d_v = given.d_v,
            .d_bias = given.d_bias,
            .d_sink_logits = given.d_sink_logits,
            .dropout_seed = given.dropout_seed,
            .dropout_offset = given.dropout_offset,
            .q_position_offset = given.q_position_offset,
            .k_position_offset = given.k_position_offset};
    return {};
}

}  // namespace fattn::api
