// Checks linear attention problems before a plan is made, and the data of their runs before
// anything is written; see lightning_check.h. Tensors and scale follow the rules of dense
// attention.
#include "api/lightning_check.h"

#include <cmath>
#include <limits>

#include "api/softmax_base.h"
#include "api/tensor_check.h"
#include "backend/text.h"

namespace fattn::api {
namespace {

static_assert(FATTN_FEATURE_MAP_IDENTITY == static_cast<fattn_feature_map>(FeatureMap::kIdentity));
static_assert(FATTN_FEATURE_MAP_ELU_PLUS_ONE ==
              static_cast<fattn_feature_map>(FeatureMap::kEluPlusOne));
static_assert(FATTN_FEATURE_MAP_RELU == static_cast<fattn_feature_map>(FeatureMap::kRelu));
static_assert(FATTN_FEATURE_MAP_SOFTMAX == static_cast<fattn_feature_map>(FeatureMap::kSoftmax));
static_assert(FATTN_FEATURE_MAP_TAYLOR2 == static_cast<fattn_feature_map>(FeatureMap::kTaylor2));

constexpr FamilyFlags kLightningFlags = {
    .known = 2 * static_cast<uint32>(FATTN_LIGHTNING_NORMALIZE) - 1,
    .has_scale = FATTN_LIGHTNING_HAS_SCALE,
    .has_scale_name = "FATTN_LIGHTNING_HAS_SCALE",
    .backward = FATTN_LIGHTNING_BACKWARD,
    .backward_name = "FATTN_LIGHTNING_BACKWARD",
};

/// The states of all heads, of some segments each, are counted in bytes of 63 bits.
Status check_state(const LightningProblem& p) {
    constexpr int64 kMost = std::numeric_limits<int64>::max() / 1024;
    int64 elements = p.state_rows() * p.state_columns();
    if (!__builtin_mul_overflow(elements, max_of<int64>(p.batch, 1), &elements) &&
        !__builtin_mul_overflow(elements, max_of<int64>(p.num_q_heads, 1), &elements) &&
        elements <= kMost) {
        return {};
    }
    return invalid(text("batch ", p.batch, " and heads ", p.num_q_heads, " with states of ",
                        p.state_rows(), " x ", p.state_columns(), " come to more than the allowed ",
                        kMost, " elements"));
}

int64 state_elements(const LightningProblem& p) {
    return p.batch * p.num_q_heads * p.state_rows() * p.state_columns();
}

constexpr const char* kNoInitialState =
    "the plan was made without FATTN_LIGHTNING_HAS_INITIAL_STATE";

/// What all runs have in common but the initial state.
template <class Args>
Status check_inputs(const CheckedLightning& plan, const Args& args, RunMemoryChecker* memory) {
    const LightningProblem& p = plan.problem;
    if (args.flags != 0) {
        return unsupported(text("args->flags is ", args.flags, "; this library knows none"));
    }
    FATTN_RETURN_IF_ERROR(memory->need("args->q", args.q, p.q, Role::kInput));
    FATTN_RETURN_IF_ERROR(memory->need("args->k", args.k, p.k, Role::kInput));
    FATTN_RETURN_IF_ERROR(memory->need("args->v", args.v, p.v, Role::kInput));
    FATTN_RETURN_IF_ERROR(
        memory->need_array("args->slopes", args.slopes, p.num_q_heads, Role::kInput));
    // Device memory is not looked at: wrong slopes give wrong results.
    for (int64 h = 0; memory->on_host() && h < p.num_q_heads; ++h) {
        if (!(std::isfinite(args.slopes[h]) && args.slopes[h] >= 0)) {
            return invalid(text("args->slopes[", h, "] is ", args.slopes[h],
                                "; it must be finite and at least 0"));
        }
    }
    return {};
}

template <class Args>
Status check_initial_state(const CheckedLightning& plan, const Args& args,
                           RunMemoryChecker* memory) {
    const LightningProblem& p = plan.problem;
    return p.has_initial_state ? memory->need_array("args->initial_state", args.initial_state,
                                                    state_elements(p), Role::kInput)
                               : reject("args->initial_state", args.initial_state, kNoInitialState);
}

LightningForwardArgs forward_args(const fattn_lightning_forward_args& given) {
    return {.q = address_of(given.q),
            .k = address_of(given.k),
            .v = address_of(given.v),
            .o = address_of(given.o),
            .slopes = given.slopes,
            .initial_state = given.initial_state,
            .final_state = given.final_state};
}

}  // namespace

Status check_lightning_problem(const fattn_lightning_problem& given, CheckedLightning* out) {
    CheckedDense base;
    FATTN_RETURN_IF_ERROR(check_softmax_base(given, kLightningFlags, &base));
    if (given.reserved != 0) {
        return unsupported(text("reserved is ", given.reserved, "; allowed is 0"));
    }
    const DenseProblem& d = base.problem;
    FATTN_RETURN_IF_ERROR(check_extent(d.k, "k", 2, d.q_len, "the tokens of q"));
    FATTN_RETURN_IF_ERROR(check_extent(d.v, "v", 1, d.num_k_heads, "the heads of k"));
    if (given.feature_map > FATTN_FEATURE_MAP_TAYLOR2) {
        return invalid(text("feature_map is ", given.feature_map, "; allowed are the values 0 to ",
                            static_cast<uint32>(FATTN_FEATURE_MAP_TAYLOR2),
                            " of fattn_feature_map"));
    }
    const auto has = [&](uint32 flag) { return (given.flags & flag) != 0; };
    *out =
        CheckedLightning{.problem = {.q = d.q,
                                     .k = d.k,
                                     .v = d.v,
                                     .o = d.o,
                                     .d_o = d.d_o,
                                     .d_q = d.d_q,
                                     .d_k = d.d_k,
                                     .d_v = d.d_v,
                                     .batch = d.batch,
                                     .num_q_heads = d.num_q_heads,
                                     .num_kv_heads = d.num_k_heads,
                                     .len = d.q_len,
                                     .head_dim = d.head_dim,
                                     .head_dim_v = d.head_dim_v,
                                     .scale = has(FATTN_LIGHTNING_HAS_SCALE) ? given.scale : 1.0F,
                                     .map = static_cast<FeatureMap>(given.feature_map),
                                     .causal = !has(FATTN_LIGHTNING_NON_CAUSAL),
                                     .normalize = has(FATTN_LIGHTNING_NORMALIZE),
                                     .has_initial_state = has(FATTN_LIGHTNING_HAS_INITIAL_STATE),
                                     .backward = d.backward},
                         .pointer_alignment = base.pointer_alignment};
    const LightningProblem& p = out->problem;
    if (p.map == FeatureMap::kTaylor2 && p.head_dim > kMaxTaylorHeadDim) {
        return unsupported(text("q.shape[3] (head dim) is ", p.head_dim,
                                " with FATTN_FEATURE_MAP_TAYLOR2, whose state grows with its "
                                "square; allowed are 1 to ",
                                kMaxTaylorHeadDim));
    }
    return check_state(p);
}

Status check_lightning_forward(const CheckedLightning& plan,
                               const fattn_lightning_forward_args& given, RunMemoryChecker* memory,
                               LightningForwardArgs* out) {
    const LightningProblem& p = plan.problem;
    FATTN_RETURN_IF_ERROR(check_inputs(plan, given, memory));
    FATTN_RETURN_IF_ERROR(check_initial_state(plan, given, memory));
    FATTN_RETURN_IF_ERROR(memory->need("args->o", given.o, p.o, Role::kOutput));
    FATTN_RETURN_IF_ERROR(memory->may_array("args->final_state", given.final_state,
                                            state_elements(p), Role::kOutput));
    *out = forward_args(given);
    return {};
}

Status check_lightning_step(const CheckedLightning& plan, const fattn_lightning_forward_args& given,
                            RunMemoryChecker* memory, LightningForwardArgs* out) {
    const LightningProblem& p = plan.problem;
    if (p.len != 1) {
        return invalid(
            text("a step was asked for; the plan has ", p.len, " tokens, a step takes 1"));
    }
    if (!p.causal) {
        return invalid(
            "a step was asked for; the plan was made with FATTN_LIGHTNING_NON_CAUSAL, and a step "
            "sees no later token");
    }
    FATTN_RETURN_IF_ERROR(check_inputs(plan, given, memory));
    FATTN_RETURN_IF_ERROR(reject("args->initial_state", given.initial_state,
                                 "a step reads and writes the state in final_state"));
    FATTN_RETURN_IF_ERROR(memory->need("args->o", given.o, p.o, Role::kOutput));
    FATTN_RETURN_IF_ERROR(memory->need_array("args->final_state", given.final_state,
                                             state_elements(p), Role::kOutput));
    *out = forward_args(given);
    out->initial_state = given.final_state;
    return {};
}

Status check_lightning_backward(const CheckedLightning& plan,
                                const fattn_lightning_backward_args& given,
                                RunMemoryChecker* memory, LightningBackwardArgs* out) {
    const LightningProblem& p = plan.problem;
    if (!p.backward) {
        return invalid(
            "a backward run was asked for; the plan was made without FATTN_LIGHTNING_BACKWARD");
    }
    FATTN_RETURN_IF_ERROR(check_inputs(plan, given, memory));
    FATTN_RETURN_IF_ERROR(check_initial_state(plan, given, memory));
    FATTN_RETURN_IF_ERROR(memory->need("args->d_o", given.d_o, p.d_o, Role::kInput));
    FATTN_RETURN_IF_ERROR(memory->may_array("args->d_final_state", given.d_final_state,
                                            state_elements(p), Role::kInput));
    FATTN_RETURN_IF_ERROR(memory->may("args->d_q", given.d_q, p.d_q, Role::kOutput));
    FATTN_RETURN_IF_ERROR(memory->may("args->d_k", given.d_k, p.d_k, Role::kOutput));
    FATTN_RETURN_IF_ERROR(memory->may("args->d_v", given.d_v, p.d_v, Role::kOutput));
    FATTN_RETURN_IF_ERROR(
        p.has_initial_state
            ? memory->may_array("args->d_initial_state", given.d_initial_state, state_elements(p),
                                Role::kOutput)
            : reject("args->d_initial_state", given.d_initial_state, kNoInitialState));
    *out = {.q = address_of(given.q),
            .k = address_of(given.k),
            .v = address_of(given.v),
            .slopes = given.slopes,
            .initial_state = given.initial_state,
            .d_o = address_of(given.d_o),
            .d_final_state = given.d_final_state,
            .d_q = given.d_q,
            .d_k = given.d_k,
            .d_v = given.d_v,
            .d_initial_state = given.d_initial_state};
    return {};
}

}  // namespace fattn::api
