/* The functions of all families: what a caller makes plans with and runs them by. */
#ifndef FUSED_ATTENTION_OPERATIONS_H
#define FUSED_ATTENTION_OPERATIONS_H

#include "fused_attention/block_pattern.h"
#include "fused_attention/dense.h"
#include "fused_attention/device.h"
#include "fused_attention/lightning.h"
#include "fused_attention/neighborhood.h"
#include "fused_attention/permuted_block.h"
#include "fused_attention/run.h"
#include "fused_attention/s2.h"
#include "fused_attention/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Makes a plan for dense attention, with a reference for the caller. Checks everything that does
 * not need the data.
 * Errors: INVALID_ARGUMENT for NULL, shapes, strides, types or values that fit no problem;
 * UNSUPPORTED for unknown flags, what is reserved, the backward pass of a paged cache.
 * Cost: a few microseconds and memory proportional to the heads, whatever the lengths.
 */
FATTN_API fattn_status fattn_dense_plan(fattn_device* device, const fattn_dense_problem* problem,
                                        fattn_plan** plan);

/**
 * FATTN_STATUS_OK when fattn_dense_plan would succeed; otherwise its status, the reason in
 * fattn_last_error.
 * Errors: those of fattn_dense_plan.
 */
FATTN_API fattn_status fattn_supports_dense(fattn_device* device,
                                            const fattn_dense_problem* problem);

/**
 * Dense attention, forward: O = softmax(s) V over the visible keys, LSE = log sum exp(s), with the
 * scores s of fattn_dense_problem. Tensors as the plan's layouts; outputs are overwritten, and must
 * meet neither each other nor an input. run may be NULL.
 * Errors: INVALID_ARGUMENT for NULL, a plan of another family, a missing, unexpected, misaligned or
 * overlapping tensor, index contents (cu_seqlens, kv_len, block_table) that leave the tensors;
 * UNSUPPORTED for what is reserved; WORKSPACE_TOO_SMALL; CANCELLED.
 * Bounds: error at most twice that of a plain evaluation in f32 (with weights and results stored in
 * the dtype of q) against double precision. The same bits for any number of threads and for a batch
 * entry alone. 4 D operations a visible pair; memory as fattn_plan_workspace says; allocates
 * nothing once the device's pool is warm.
 * Source: Dao et al. 2022, arXiv:2205.14135, algorithm 1, with the scores between matrix products
 * on packed tiles; Milakov and Gimelshein 2018, arXiv:1805.02867, algorithm 3, for the running
 * state.
 */
FATTN_API fattn_status fattn_dense_forward(fattn_plan* plan, const fattn_dense_forward_args* args,
                                           const fattn_run* run);

/**
 * Dense attention, backward: recomputes the weights P = exp(s - LSE) from q, k and lse; with D =
 * sum over the head dim of dO O, minus dLSE: dV = P^T dO, dS = P (dO V^T - D), dQ = scale dS K, dK
 * = scale dS^T Q. o and lse are the forward run's. A NULL gradient is skipped. run may be NULL.
 * Errors: as fattn_dense_forward; also INVALID_ARGUMENT for a plan made without
 * FATTN_DENSE_BACKWARD.
 * Bounds: error at most three times that of a plain evaluation in f32 against double precision. The
 * same bits on every run and for any number of threads. 10 D operations a visible pair.
 * Source: Dao et al. 2022, arXiv:2205.14135, algorithm 4; keys outside, queries inside, dQ summed
 * in f32 in an order that the lengths fix.
 */
FATTN_API fattn_status fattn_dense_backward(fattn_plan* plan, const fattn_dense_backward_args* args,
                                            const fattn_run* run);

/**
 * Makes a plan for neighborhood attention. A token x of an axis with dilation d sees keys y of its
 * own group, y mod d = x mod d, in a window of kernel_size tokens of the group around x. stride
 * queries share the window of their middle one (their last one on a causal axis). An even window
 * has one more key before the query than behind it. At the ends of an axis the window is shifted so
 * that it keeps its size; on a causal axis it ends with the query and is cut at the start. A key is
 * seen when every axis sees it. Needed: 1 <= stride <= kernel_size and
 * kernel_size * dilation <= grid.
 */
FATTN_API fattn_status fattn_neighborhood_plan(fattn_device* device,
                                               const fattn_neighborhood_problem* problem,
                                               fattn_plan** plan);

/** FATTN_STATUS_OK when fattn_neighborhood_plan would succeed; otherwise its status, the reason in
 * fattn_last_error. */
FATTN_API fattn_status fattn_supports_neighborhood(fattn_device* device,
                                                   const fattn_neighborhood_problem* problem);

/** Neighborhood attention, forward. run may be NULL. */
FATTN_API fattn_status fattn_neighborhood_forward(fattn_plan* plan,
                                                  const fattn_neighborhood_forward_args* args,
                                                  const fattn_run* run);

/** Neighborhood attention, backward: recomputes the weights from q, k and lse. run may be NULL. */
FATTN_API fattn_status fattn_neighborhood_backward(fattn_plan* plan,
                                                   const fattn_neighborhood_backward_args* args,
                                                   const fattn_run* run);

/** Makes a plan for S2 attention. Checks everything that does not need the data. */
FATTN_API fattn_status fattn_s2_plan(fattn_device* device, const fattn_s2_problem* problem,
                                     fattn_plan** plan);

/** FATTN_STATUS_OK when fattn_s2_plan would succeed; otherwise its status, the reason in
 * fattn_last_error. */
FATTN_API fattn_status fattn_supports_s2(fattn_device* device, const fattn_s2_problem* problem);

/** S2 attention, forward. run may be NULL. */
FATTN_API fattn_status fattn_s2_forward(fattn_plan* plan, const fattn_s2_forward_args* args,
                                        const fattn_run* run);

/** S2 attention, backward: recomputes the weights from q, k and lse. run may be NULL. */
FATTN_API fattn_status fattn_s2_backward(fattn_plan* plan, const fattn_s2_backward_args* args,
                                         const fattn_run* run);

/** Which part of the context the heads of an S2 plan see together. */
FATTN_API fattn_status fattn_s2_coverage_of(fattn_plan* plan, fattn_s2_coverage* coverage);

/**
 * Which key blocks of a key head some query at position first_position or later may see, also past
 * the plan's last query (FATTN_S2_NON_CAUSAL: up to the last key): what a cache has to keep once
 * all earlier queries are done. needed has ceil(Lk / block_size) bytes, 1 for a needed block, else
 * 0; num_bytes is its size.
 */
FATTN_API fattn_status fattn_s2_needed_blocks(fattn_plan* plan, int64_t k_head,
                                              int64_t first_position, uint8_t* needed,
                                              uint64_t num_bytes);

/**
 * Writes a published pattern as a mask of kept blocks, [H, nQ, nK] of 0 and 1 with nQ = ceil(q_len
 * / block_size) and nK = ceil(kv_len / block_size): the form that permuted block attention takes.
 * num_bytes is the size of mask and must be at least that many.
 */
FATTN_API fattn_status fattn_block_pattern_mask(const fattn_block_pattern* pattern, uint8_t* mask,
                                                uint64_t num_bytes);

/** Makes a plan for permuted block-sparse attention. */
FATTN_API fattn_status fattn_permuted_block_plan(fattn_device* device,
                                                 const fattn_permuted_block_problem* problem,
                                                 fattn_plan** plan);

/** FATTN_STATUS_OK when fattn_permuted_block_plan would succeed; otherwise its status, the reason
 * in fattn_last_error. */
FATTN_API fattn_status fattn_supports_permuted_block(fattn_device* device,
                                                     const fattn_permuted_block_problem* problem);

/**
 * Chooses slots and blocks from the data: the last min(block_size, Lq) queries say how important
 * each key is, keys are sorted inside segments, pooled queries meet pooled keys of other (with
 * causality: earlier) segments, and each row keeps the shortest run of highest weights that reaches
 * coverage. Takes the workspace of a forward run. run may be NULL.
 */
FATTN_API fattn_status fattn_permuted_block_select(fattn_plan* plan,
                                                   const fattn_permuted_block_select_args* args,
                                                   const fattn_run* run);

/** Chooses blocks by a gate. Takes the workspace of a forward run. run may be NULL. */
FATTN_API fattn_status fattn_permuted_block_gate(fattn_plan* plan,
                                                 const fattn_permuted_block_gate_args* args,
                                                 const fattn_run* run);

/** Attention over a selection, forward. The index contents are checked first. run may be NULL. */
FATTN_API fattn_status fattn_permuted_block_forward(fattn_plan* plan,
                                                    const fattn_permuted_block_forward_args* args,
                                                    const fattn_run* run);

/** The gradient of fattn_permuted_block_forward, the selection being held fixed. run may be NULL.
 */
FATTN_API fattn_status fattn_permuted_block_backward(fattn_plan* plan,
                                                     const fattn_permuted_block_backward_args* args,
                                                     const fattn_run* run);

/**
 * Sums over what a run with this selection visits, in tiles of query_block queries and block_size
 * slots; of its own segment a tile visits the tokens up to its last query's position. (With
 * query_block 1 that is what the query sees, although a run computes neighbouring queries
 * together.) fattn_plan_schedule_stats counts for every block kept, and so does selection NULL.
 */
FATTN_API fattn_status fattn_permuted_block_stats(fattn_plan* plan,
                                                  const fattn_permuted_block_selection* selection,
                                                  fattn_schedule_stats* stats);

/** Tile map of one batch entry and query head for this selection, [nQ, nK] bytes of
 * fattn_tile_values; see fattn_permuted_block_stats and fattn_plan_schedule_tiles. */
FATTN_API fattn_status fattn_permuted_block_tiles(fattn_plan* plan,
                                                  const fattn_permuted_block_selection* selection,
                                                  int64_t batch, int64_t head, uint8_t* tiles,
                                                  uint64_t num_bytes);

/**
 * Makes a plan for linear attention. Checks everything that does not need the data. The plan has no
 * schedule: fattn_plan_schedule_stats and _tiles are FATTN_STATUS_UNSUPPORTED.
 */
FATTN_API fattn_status fattn_lightning_plan(fattn_device* device,
                                            const fattn_lightning_problem* problem,
                                            fattn_plan** plan);

/** FATTN_STATUS_OK when fattn_lightning_plan would succeed; otherwise its status, the reason in
 * fattn_last_error. */
FATTN_API fattn_status fattn_supports_lightning(fattn_device* device,
                                                const fattn_lightning_problem* problem);

/** Linear attention, forward: time proportional to the tokens, memory independent of them, but for
 * FATTN_LIGHTNING_NON_CAUSAL, where each thread keeps the f32 results of a sixteenth of the tokens
 * (of 1024 tokens at least). run may be NULL. */
FATTN_API fattn_status fattn_lightning_forward(fattn_plan* plan,
                                               const fattn_lightning_forward_args* args,
                                               const fattn_run* run);

/** One token of a recurrence, in a causal plan of one token: updates the state in final_state and
 * writes o. run may be NULL. */
FATTN_API fattn_status fattn_lightning_step(fattn_plan* plan,
                                            const fattn_lightning_forward_args* args,
                                            const fattn_run* run);

/** Linear attention, backward: recomputes states from q, k and v. Slopes have no gradient. run may
 * be NULL. */
FATTN_API fattn_status fattn_lightning_backward(fattn_plan* plan,
                                                const fattn_lightning_backward_args* args,
                                                const fattn_run* run);

#ifdef __cplusplus
}
#endif

#endif /* FUSED_ATTENTION_OPERATIONS_H */
