// Permuted block-sparse attention at the C boundary: makes plans, selects, runs them.
#include "api/permuted_block.h"

#include "api/growing.h"
#include "api/run_check.h"

namespace fattn::api {
namespace {

Status check_problem(fattn_device* device, const fattn_permuted_block_problem* given,
                     CheckedPermutedBlock* out) {
    if (device == nullptr) return invalid("device is NULL");
    fattn_permuted_block_problem problem;
    FATTN_RETURN_IF_ERROR(read_growing(given, "problem", "fattn_permuted_block_problem", &problem));
    return check_permuted_block_problem(problem, out);
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

/// How one kind of run reads, checks and does its arguments.
template <class Given, class Checked>
struct Operation {
    const char* type;
    Status (*check)(const CheckedPermutedBlock&, const Given&, RunMemoryChecker*, Checked*);
    Status (PermutedBlockKernel::*run)(const Checked&, const RunOptions&) const;
};

template <class Given, class Checked>
Status run_operation(const Operation<Given, Checked>& operation, fattn_plan* handle,
                     const Given* given, const fattn_run* run) {
    if (handle == nullptr) return invalid("plan is NULL");
    const Reference plan(handle);  // a release during the run is safe
    const PermutedBlockBody* body = nullptr;
    Given args;
    RunOptions options;
    Checked checked;
    FATTN_RETURN_IF_ERROR(body_of(*plan, &body));
    FATTN_RETURN_IF_ERROR(read_growing(given, "args", operation.type, &args));
    FATTN_RETURN_IF_ERROR(read_cpu_run(run, &options));
    RunMemoryChecker memory(body->checked.dense.pointer_alignment);
    FATTN_RETURN_IF_ERROR(operation.check(body->checked, args, &memory, &checked));
    memory.add_workspace(options.workspace, options.workspace_bytes);
    FATTN_RETURN_IF_ERROR(memory.check_overlaps());
    return (*body->blocks.*operation.run)(checked, options);
}

using Forward = FamilyKernel<PermutedBlockForwardArgs, PermutedBlockBackwardArgs>;

constexpr Operation<fattn_permuted_block_select_args, PermutedBlockSelectArgs> kSelect{
    "fattn_permuted_block_select_args", check_permuted_block_select, &PermutedBlockKernel::select};
constexpr Operation<fattn_permuted_block_gate_args, BlockGateArgs> kGate{
    "fattn_permuted_block_gate_args", check_permuted_block_gate, &PermutedBlockKernel::gate};
constexpr Operation<fattn_permuted_block_forward_args, PermutedBlockForwardArgs> kForward{
    "fattn_permuted_block_forward_args", check_permuted_block_forward, &Forward::forward};
constexpr Operation<fattn_permuted_block_backward_args, PermutedBlockBackwardArgs> kBackward{
    "fattn_permuted_block_backward_args", check_permuted_block_backward, &Forward::backward};

Status write_stats(fattn_plan* handle, const BlockSelection& selection, fattn_schedule_stats* out) {
    if (handle == nullptr) return invalid("plan is NULL");
    const PermutedBlockBody* body = nullptr;
    FATTN_RETURN_IF_ERROR(body_of(*handle, &body));
    FATTN_RETURN_IF_ERROR(
        check_selection(body->checked.problem, selection.permutation, selection.block_mask));
    return write_schedule_stats(body->plan.stats(selection), out);
}

Status write_tiles(fattn_plan* handle, const BlockSelection& selection,
                   const TileMapRequest& request) {
    if (handle == nullptr) return invalid("plan is NULL");
    const PermutedBlockBody* body = nullptr;
    FATTN_RETURN_IF_ERROR(body_of(*handle, &body));
    ScheduleStats sizes{};
    sizes.num_q_tiles = body->checked.problem.num_query_blocks();
    sizes.num_kv_tiles = body->checked.problem.num_key_blocks();
    FATTN_RETURN_IF_ERROR(check_tile_map(*body, sizes, request));
    FATTN_RETURN_IF_ERROR(
        check_selection(body->checked.problem, selection.permutation, selection.block_mask));
    body->plan.write_tiles(selection, request.batch, request.head, request.tiles);
    return {};
}

}  // namespace
}  // namespace fattn::api

using fattn::api::guarded;
using fattn::api::run_operation;

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
    return guarded([&] { return run_operation(fattn::api::kSelect, plan, args, run); });
}

fattn_status fattn_permuted_block_gate(fattn_plan* plan, const fattn_permuted_block_gate_args* args,
                                       const fattn_run* run) {
    return guarded([&] { return run_operation(fattn::api::kGate, plan, args, run); });
}

fattn_status fattn_permuted_block_forward(fattn_plan* plan,
                                          const fattn_permuted_block_forward_args* args,
                                          const fattn_run* run) {
    return guarded([&] { return run_operation(fattn::api::kForward, plan, args, run); });
}

fattn_status fattn_permuted_block_backward(fattn_plan* plan,
                                           const fattn_permuted_block_backward_args* args,
                                           const fattn_run* run) {
    return guarded([&] { return run_operation(fattn::api::kBackward, plan, args, run); });
}

fattn_status fattn_permuted_block_stats(fattn_plan* plan, const int32_t* permutation,
                                        const uint8_t* block_mask, fattn_schedule_stats* stats) {
    return guarded([&] { return fattn::api::write_stats(plan, {permutation, block_mask}, stats); });
}

fattn_status fattn_permuted_block_tiles(fattn_plan* plan, const int32_t* permutation,
                                        const uint8_t* block_mask, int64_t batch, int64_t head,
                                        uint8_t* tiles, uint64_t num_bytes) {
    return guarded([&] {
        return fattn::api::write_tiles(plan, {permutation, block_mask},
                                       {batch, head, tiles, num_bytes});
    });
}
