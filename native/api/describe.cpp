// The library's own view of the public header: every struct and field with its place; read by
// bindings and their tests.
#include <cstddef>

#include "api/growing.h"

namespace {

// FIELDS(X) lists the fields of one struct in order; each list below is used for the table and for
// a proof that the fields fill the struct without holes.
// clang-format off
#define FATTN_HEADER(X) X(struct_size) X(flags)

#define FATTN_FIELDS_fattn_layout(X) X(shape) X(strides) X(dtype) X(rank)
#define FATTN_FIELDS_fattn_run(X) \
    FATTN_HEADER(X) X(max_threads) X(reserved) X(stream) X(workspace) X(workspace_bytes) \
    X(cancel)

#define FATTN_FIELDS_fattn_dense_problem(X) \
    FATTN_HEADER(X) X(q) X(k) X(v) X(o) X(bias) X(mask) X(d_o) X(d_q) X(d_k) X(d_v) X(d_bias) \
    X(scale) X(softcap) X(sigmoid_bias) X(dropout_p) X(window_left) X(window_right) \
    X(attention_chunk) X(causal_alignment) X(weights) X(pointer_alignment) X(reserved) \
    X(num_seqs) X(max_q_len) X(max_kv_len) X(max_pages_per_seq) X(k_scale) X(v_scale) \
    X(score_program) X(mask_program)
#define FATTN_FIELDS_fattn_dense_forward_args(X) \
    FATTN_HEADER(X) X(q) X(k) X(v) X(o) X(lse) X(bias) X(mask) X(alibi_slopes) X(sink_logits) \
    X(cu_seqlens_q) X(cu_seqlens_k) X(kv_len) X(block_table) X(k_scale) X(v_scale) \
    X(dropout_seed) X(dropout_offset) X(q_position_offset) X(k_position_offset) \
    X(program_parameters) X(program_parameter_bytes)
#define FATTN_FIELDS_fattn_dense_backward_args(X) \
    FATTN_HEADER(X) X(q) X(k) X(v) X(o) X(lse) X(d_o) X(d_lse) X(bias) X(mask) X(alibi_slopes) \
    X(sink_logits) X(cu_seqlens_q) X(cu_seqlens_k) X(kv_len) X(d_q) X(d_k) X(d_v) X(d_bias) \
    X(d_sink_logits) X(dropout_seed) X(dropout_offset) X(q_position_offset) X(k_position_offset) \
    X(program_parameters) X(program_parameter_bytes)

#define FATTN_FIELDS_fattn_neighborhood_problem(X) \
    FATTN_HEADER(X) X(q) X(k) X(v) X(o) X(additional_k) X(additional_v) X(d_o) X(d_q) X(d_k) \
    X(d_v) X(grid) X(kernel_size) X(stride) X(dilation) X(causal) X(num_axes) X(scale) \
    X(pointer_alignment) X(d_additional_k) X(d_additional_v)
#define FATTN_FIELDS_fattn_neighborhood_forward_args(X) \
    FATTN_HEADER(X) X(q) X(k) X(v) X(o) X(lse) X(additional_k) X(additional_v)
#define FATTN_FIELDS_fattn_neighborhood_backward_args(X) \
    FATTN_HEADER(X) X(q) X(k) X(v) X(o) X(lse) X(d_o) X(d_lse) X(additional_k) X(additional_v) \
    X(d_q) X(d_k) X(d_v) X(d_additional_k) X(d_additional_v)

#define FATTN_FIELDS_fattn_lightning_problem(X) \
    FATTN_HEADER(X) X(q) X(k) X(v) X(o) X(d_o) X(d_q) X(d_k) X(d_v) X(scale) X(feature_map) \
    X(pointer_alignment) X(reserved)
#define FATTN_FIELDS_fattn_lightning_forward_args(X) \
    FATTN_HEADER(X) X(q) X(k) X(v) X(o) X(slopes) X(initial_state) X(final_state)
#define FATTN_FIELDS_fattn_lightning_backward_args(X) \
    FATTN_HEADER(X) X(q) X(k) X(v) X(slopes) X(initial_state) X(d_o) X(d_final_state) X(d_q) \
    X(d_k) X(d_v) X(d_initial_state)

#define FATTN_FIELDS_fattn_permuted_block_problem(X) \
    FATTN_HEADER(X) X(q) X(k) X(v) X(o) X(d_o) X(d_q) X(d_k) X(d_v) X(block_size) X(segment_size) \
    X(max_blocks) X(coverage) X(scale) X(pointer_alignment) X(reserved) X(query_block)
#define FATTN_FIELDS_fattn_permuted_block_selection(X) \
    FATTN_HEADER(X) X(permutation) X(block_mask)
#define FATTN_FIELDS_fattn_permuted_block_forward_args(X) \
    FATTN_HEADER(X) X(q) X(k) X(v) X(o) X(lse) X(permutation) X(block_mask)
#define FATTN_FIELDS_fattn_permuted_block_select_args(X) \
    FATTN_HEADER(X) X(q) X(k) X(permutation) X(block_mask) X(coverage)
#define FATTN_FIELDS_fattn_permuted_block_gate_args(X) \
    FATTN_HEADER(X) X(q) X(k) X(scores) X(block_mask) X(top_k) X(threshold) X(gate)
#define FATTN_FIELDS_fattn_permuted_block_backward_args(X) \
    FATTN_HEADER(X) X(q) X(k) X(v) X(o) X(lse) X(d_o) X(d_lse) X(permutation) X(block_mask) \
    X(d_q) X(d_k) X(d_v)

#define FATTN_FIELDS_fattn_s2_problem(X) \
    FATTN_HEADER(X) X(q) X(k) X(v) X(o) X(d_o) X(d_q) X(d_k) X(d_v) X(block_size) X(local_blocks) \
    X(vertical_stride) X(head_offset) X(dense_heads) X(scale) X(pointer_alignment)
#define FATTN_FIELDS_fattn_s2_forward_args(X) FATTN_HEADER(X) X(q) X(k) X(v) X(o) X(lse) \
    X(q_position_offset) X(k_position_offset)
#define FATTN_FIELDS_fattn_s2_backward_args(X) \
    FATTN_HEADER(X) X(q) X(k) X(v) X(o) X(lse) X(d_o) X(d_lse) X(d_q) X(d_k) X(d_v) \
    X(q_position_offset) X(k_position_offset)
#define FATTN_FIELDS_fattn_s2_coverage(X) \
    FATTN_HEADER(X) X(allowed_blocks) X(unseen_blocks) X(num_shards) X(unseen_shards)

#define FATTN_FIELDS_fattn_block_pattern(X) \
    FATTN_HEADER(X) X(kind) X(reserved) X(num_heads) X(q_len) X(kv_len) X(block_size) \
    X(sink_blocks) X(window_blocks) X(stride_blocks) X(summary_blocks) X(random_blocks) X(seed) \
    X(head_windows) X(head_streaming)

#define FATTN_FIELDS_fattn_merge_args(X) \
    FATTN_HEADER(X) X(part) X(o_layout) X(num_parts) X(o_parts) X(lse_parts) X(o) X(lse)

#define FATTN_FIELDS_fattn_cache_append_args(X) \
    FATTN_HEADER(X) X(tokens_layout) X(pages_layout) X(tokens) X(pages) X(slots)

#define FATTN_FIELDS_fattn_device_options(X) FATTN_HEADER(X) X(cpu_target) X(num_threads)
#define FATTN_FIELDS_fattn_device_description(X) \
    FATTN_HEADER(X) X(kind) X(index) X(cpu_target) X(cpu_targets_available) X(cpu_targets_built) \
    X(num_threads) X(name) X(reason) X(architecture) X(num_multiprocessors) X(memory_bytes) \
    X(shared_bytes_per_block) X(l2_bytes) X(uuid)
#define FATTN_FIELDS_fattn_cuda_description(X) \
    FATTN_HEADER(X) X(driver_version) X(num_devices) X(nvrtc_version) X(num_images) \
    X(num_cache_entries) X(reserved) X(cache_bytes) X(driver) X(nvrtc) X(cache) X(image_targets) \
    X(ptx_pack)
#define FATTN_FIELDS_fattn_compile_args(X) \
    FATTN_HEADER(X) X(source) X(source_name) X(options) X(num_options) X(header_names) \
    X(header_texts) X(num_headers) X(expressions) X(num_expressions) X(target) X(log) X(log_bytes)
#define FATTN_FIELDS_fattn_module_description(X) \
    FATTN_HEADER(X) X(target) X(ptx) X(cubin) X(cubin_bytes) X(from_cache) X(nvrtc_version)
#define FATTN_FIELDS_fattn_kernel_description(X) \
    FATTN_HEADER(X) X(registers) X(static_shared_bytes) X(local_bytes) X(max_threads_per_block) \
    X(num_parameters) X(reserved)
#define FATTN_FIELDS_fattn_launch_args(X) \
    FATTN_HEADER(X) X(grid) X(block) X(cluster) X(dynamic_shared_bytes) X(arguments) \
    X(argument_bytes) X(num_arguments)
#define FATTN_FIELDS_fattn_plan_description(X) \
    FATTN_HEADER(X) X(family) X(device_kind) X(forward_workspace_bytes) \
    X(backward_workspace_bytes) X(forward_flops) X(backward_flops) X(forward_kernel) \
    X(backward_kernel) X(forward_device_workspace_bytes) X(backward_device_workspace_bytes)
#define FATTN_FIELDS_fattn_schedule_stats(X) \
    FATTN_HEADER(X) X(tile_q) X(tile_kv) X(num_q_tiles) X(num_kv_tiles) X(full_tiles) \
    X(partial_tiles) X(skipped_tiles) X(needed_pairs) X(visited_pairs)
#define FATTN_FIELDS_fattn_abi_entry(X) X(structure) X(field) X(offset) X(size)
#define FATTN_FIELDS_fattn_abi_description(X) \
    X(struct_size) X(abi_version) X(library_version) X(entries) X(num_entries)

#define FATTN_STRUCTS(X) \
    X(fattn_layout) X(fattn_run) X(fattn_dense_problem) X(fattn_dense_forward_args) \
    X(fattn_dense_backward_args) X(fattn_neighborhood_problem) X(fattn_neighborhood_forward_args) \
    X(fattn_neighborhood_backward_args) X(fattn_lightning_problem) \
    X(fattn_lightning_forward_args) X(fattn_lightning_backward_args) \
    X(fattn_permuted_block_problem) X(fattn_permuted_block_select_args) \
    X(fattn_permuted_block_gate_args) X(fattn_permuted_block_selection) \
    X(fattn_permuted_block_forward_args) X(fattn_permuted_block_backward_args) \
    X(fattn_s2_problem) X(fattn_s2_forward_args) \
    X(fattn_s2_backward_args) X(fattn_s2_coverage) X(fattn_block_pattern) X(fattn_merge_args) \
    X(fattn_cache_append_args) \
    X(fattn_device_options) X(fattn_device_description) X(fattn_cuda_description) \
    X(fattn_compile_args) X(fattn_module_description) X(fattn_kernel_description) \
    X(fattn_launch_args) \
    X(fattn_plan_description) X(fattn_schedule_stats) \
    X(fattn_abi_entry) X(fattn_abi_description)
// clang-format on

template <class Struct>
struct Fields;

#define FATTN_ENTRY(field) {kName, #field, offsetof(Self, field), sizeof(Self::field)},
#define FATTN_PLUS_SIZE(field) +sizeof(Self::field)
#define FATTN_DEFINE_FIELDS(type)                                                         \
    template <>                                                                           \
    struct Fields<type> {                                                                 \
        using Self = type;                                                                \
        static constexpr const char* kName = #type;                                       \
        static constexpr fattn_abi_entry kEntries[] = {{kName, nullptr, 0, sizeof(Self)}, \
                                                       FATTN_FIELDS_##type(FATTN_ENTRY)}; \
        static_assert(sizeof(Self) == 0 FATTN_FIELDS_##type(FATTN_PLUS_SIZE),             \
                      #type " has padding, or a field is missing from its list");         \
    };
FATTN_STRUCTS(FATTN_DEFINE_FIELDS)

/// One after the other, the entries of all structs.
#define FATTN_PLUS_ENTRIES(type) +std::size(Fields<type>::kEntries)
constexpr std::size_t kNumEntries = 0 FATTN_STRUCTS(FATTN_PLUS_ENTRIES);

struct Table {
    fattn_abi_entry entries[kNumEntries];
};

constexpr Table make_table() {
    Table table{};
    std::size_t n = 0;
#define FATTN_COPY_ENTRIES(type) \
    for (const fattn_abi_entry& entry : Fields<type>::kEntries) table.entries[n++] = entry;
    FATTN_STRUCTS(FATTN_COPY_ENTRIES)
    return table;
}

constexpr Table kTable = make_table();

}  // namespace

fattn_status fattn_abi_describe(fattn_abi_description* description) {
    return fattn::api::guarded([&] {
        const fattn_abi_description value{.struct_size = 0,
                                          .abi_version = FATTN_ABI_VERSION,
                                          .library_version = FATTN_VERSION,
                                          .entries = kTable.entries,
                                          .num_entries = kNumEntries};
        return fattn::api::write_growing(value, "description", "fattn_abi_description",
                                         description);
    });
}
