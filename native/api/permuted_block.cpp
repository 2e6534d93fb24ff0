// Permuted block-sparse attention at the C boundary: makes plans, selects, runs them.
#include "api/permuted_block.h"

namespace fattn::api {
namespace {

Status check_problem(fattn_device* device, const fattn_permuted_block_problem* given,
                     CheckedPermutedBlock* out) {
    if (device == nullptr) return invalid("device is NULL");
    fattn_permuted_block_problem problem;
    FATTN_RETURN_IF_ERROR(read_growing(given, "problem", "fattn_permuted_block_problem", &problem));
    FATTN_RETURN_IF_ERROR(check_permuted_block_problem(problem, out));
    return device->backend->supports(out->problem);
}

Status make_plan(fattn_device* device, const fattn_permuted_block_problem* given,
                 fattn_plan** out) {
    if (out == nullptr) return invalid("plan is NULL; a place for the handle is needed");
    *out = nullptr;
    CheckedPermutedBlock checked;
    FATTN_RETURN_IF_ERROR(check_problem(device, given, &checked));
    std::unique_ptr<PermutedBlockKernel> kernel;
    FATTN_RETURN_IF_ERROR(device->backend->make_permuted_block(checked.problem, &kernel));
    *out = new fattn_plan(device, std::make_unique<PermutedBlockBody>(checked, std::move(kernel)));
    return {};
}

template <class Given, class Checked>
using PermutedBlockKind = RunKind<PermutedBlockBody, Given, Checked>;

constexpr PermutedBlockKind<fattn_permuted_block_select_args, PermutedBlockSelectArgs> kSelect{
    "fattn_permuted_block_select_args", check_permuted_block_select, &PermutedBlockKernel::select};
constexpr PermutedBlockKind<fattn_permuted_block_gate_args, BlockGateArgs> kGate{
    "fattn_permuted_block_gate_args", check_permuted_block_gate, &PermutedBlockKernel::gate};
constexpr PermutedBlockKind<fattn_permuted_block_forward_args, PermutedBlockForwardArgs>
    kPermutedBlockForward{"fattn_permuted_block_forward_args", check_permuted_block_forward,
                          &PermutedBlockKernel::forward};
constexpr PermutedBlockKind<fattn_permuted_block_backward_args, PermutedBlockBackwardArgs>
    kPermutedBlockBackward{"fattn_permuted_block_backward_args", check_permuted_block_backward,
                           &PermutedBlockKernel::backward};

/// The plan's body and what a caller asks about: every block kept where nothing is given.
Status read_selection(const fattn_plan* handle, const fattn_permuted_block_selection* given,
                      const PermutedBlockBody** body, BlockSelection* out) {
    if (handle == nullptr) return invalid("plan is NULL");
    FATTN_RETURN_IF_ERROR(body_of(*handle, body));
    *out = {};
    if (given == nullptr) return {};
    fattn_permuted_block_selection selection;
    FATTN_RETURN_IF_ERROR(
        read_growing(given, "selection", "fattn_permuted_block_selection", &selection));
    if (selection.flags != 0) {
        return unsupported(
            text("selection->flags is ", selection.flags, "; this library knows none"));
    }
    *out = {selection.permutation, selection.block_mask};
    return check_selection((*body)->checked.problem, out->permutation, out->block_mask);
}

Status write_stats(const fattn_plan* plan, const fattn_permuted_block_selection* given,
                   fattn_schedule_stats* out) {
    const PermutedBlockBody* body = nullptr;
    BlockSelection selection;
    FATTN_RETURN_IF_ERROR(read_selection(plan, given, &body, &selection));
    return write_schedule_stats(body->plan.stats(selection), out);
}

Status write_tiles(const fattn_plan* plan, const fattn_permuted_block_selection* given,
                   const TileMapRequest& request) {
    const PermutedBlockBody* body = nullptr;
    BlockSelection selection;
    FATTN_RETURN_IF_ERROR(read_selection(plan, given, &body, &selection));
    ScheduleStats sizes{};
    sizes.num_q_tiles = body->checked.problem.num_query_blocks();
    sizes.num_kv_tiles = body->checked.problem.num_key_blocks();
    FATTN_RETURN_IF_ERROR(check_tile_map(*body, sizes, request));
    body->plan.write_tiles(selection, request.batch, request.head, request.tiles);
    return {};
}

}  // namespace
}  // namespace fattn::api

using fattn::api::guarded;
using fattn::api::run_plan;

fattn_status fattn_permuted_block_plan(fattn_device* device,
                                       const fattn_permuted_block_problem* problem,
                                       fattn_plan** plan) {
    return guarded([&] { return fattn::api::make_plan(device, problem, plan); });
}

fattn_status fattn_supports_permuted_block(fattn_device* device,
                                           const fattn_permuted_block_problem* problem) {
    return guarded([&] {
        fattn::api::CheckedPermutedBlock checked;
        return fattn::api::check_problem(device, problem, &checked);
    });
}

fattn_status fattn_permuted_block_select(fattn_plan* plan,
                                         const fattn_permuted_block_select_args* args,
                                         const fattn_run* run) {
    return guarded([&] { return run_plan(fattn::api::kSelect, plan, args, run); });
}

fattn_status fattn_permuted_block_gate(fattn_plan* plan, const fattn_permuted_block_gate_args* args,
                                       const fattn_run* run) {
    return guarded([&] { return run_plan(fattn::api::kGate, plan, args, run); });
}

fattn_status fattn_permuted_block_forward(fattn_plan* plan,
                                          const fattn_permuted_block_forward_args* args,
                                          const fattn_run* run) {
    return guarded([&] { return run_plan(fattn::api::kPermutedBlockForward, plan, args, run); });
}

fattn_status fattn_permuted_block_backward(fattn_plan* plan,
                                           const fattn_permuted_block_backward_args* args,
                                           const fattn_run* run) {
    return guarded([&] { return run_plan(fattn::api::kPermutedBlockBackward, plan, args, run); });
}

fattn_status fattn_permuted_block_stats(fattn_plan* plan,
                                        const fattn_permuted_block_selection* selection,
                                        fattn_schedule_stats* stats) {
    return guarded([&] { return fattn::api::write_stats(plan, selection, stats); });
}

fattn_status fattn_permuted_block_tiles(fattn_plan* plan,
                                        const fattn_permuted_block_selection* selection,
                                        int64_t batch, int64_t head, uint8_t* tiles,
                                        uint64_t num_bytes) {
    return guarded([&] {
        return fattn::api::write_tiles(plan, selection, {batch, head, tiles, num_bytes});
    });
}
