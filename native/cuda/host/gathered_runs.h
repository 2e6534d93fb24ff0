// Turns a problem with a pattern into keys, parameters, grids and workspace of the gathered
// kernels: plain arithmetic, no driver; called by the kernels of the sparse families.
#pragma once

#include <string>

#include "backend/status.h"
#include "core/problem.h"
#include "cuda/device/gathered_params.h"
#include "cuda/device/softmax_backward_params.h"

namespace fattn::cuda {

/// The translation unit that holds the kernel which inverts permutations, and its symbol.
constexpr const char* kBlockSelectUnit = "block_select";
constexpr const char* kInvertKernel = "block_select_invert";

/// The forward and the two backward kernels of a problem's element type and head dims.
struct GatheredKeys {
    DType dtype;
    int32 head_dim;   // one of kGatheredHeadDims
    int32 warp_rows;  // of the forward: 16 or 32

    ForwardTile forward_tile() const;
    BackwardTile backward_tile(Side side) const;
    /// The kernels' symbols, and the translation units that hold them.
    std::string forward_unit() const;
    std::string forward_name() const;
    std::string backward_unit() const;
    std::string backward_name(Side side) const;
};

GatheredKeys gathered_keys(const DenseProblem& problem);

/// What a plan knows of a run: the tensors, the pattern without the pointers of a run, and how rows
/// are numbered.
struct GatheredProblem {
    DenseProblem dense;
    GatheredPattern pattern;
    RowNumbers queries;
    RowNumbers keys;  // tiles of keys, additional ones included; num_groups is set by a run
};

/// The keys of runs on a device: 32 rows a warp where tiles are blocks, so that most of them are
/// full, and where there is a round of blocks, whose warps are half as many.
GatheredKeys gathered_keys(const GatheredProblem& problem, int32 num_multiprocessors);

/// Rows in the order of their positions, as S2 and permuted blocks have them. heads_alike: query
/// heads of a key head see the same keys, and share tiles where queries are few.
GatheredProblem gathered_by_position(const DenseProblem& dense, const GatheredPattern& pattern,
                                     bool heads_alike);

/// Rows in patches of a grid: pattern has those of queries, of_keys those of keys. Tiles of both
/// have been found to be no more than a grid of blocks holds.
GatheredProblem gathered_by_patch(const DenseProblem& dense, const GatheredPattern& pattern,
                                  const GatheredPattern& of_keys);

/// Patches of all dilation groups. Short groups have some without tokens, so there may be more of
/// them than tokens.
int64 num_patches(const GridBoxes& boxes);

/// Patches of a pattern's grid, and how many there are along the axes of a group.
void set_patches(const int32 (&patch)[PatchGrid::kAxes], GridBoxes* boxes);

/// Not ok with the reason when no key computes the problem.
Status supports_gathered(const GatheredProblem& problem);

struct GatheredForwardLaunch {
    GatheredForwardParams params;
    uint32 num_blocks;
};

GatheredForwardLaunch gathered_forward_launch(const GatheredProblem& problem,
                                              const GatheredPattern& pattern,
                                              const DenseForwardArgs& args);

struct InvertLaunch {
    InvertParams params;
    uint32 num_blocks;
};

/// The inverse of a permutation [rows, length].
InvertLaunch invert_launch(const int32* permutation, int32* inverse, int64 rows, int64 length);

struct GatheredBackwardLaunch {
    GatheredBackwardParams params;
    uint32 num_blocks;
};

struct GatheredBackwardRun {
    BackwardRowsParams rows;
    uint32 num_term_blocks;
    GatheredBackwardLaunch d_q;
    GatheredBackwardLaunch d_k_d_v;
};

/// terms: terms_bytes(), 8 for each query row.
/// pattern: as queries walk it; of_keys: as keys do.
GatheredBackwardRun gathered_backward_run(const GatheredProblem& problem,
                                          const GatheredPattern& pattern,
                                          const GatheredPattern& of_keys,
                                          const DenseBackwardArgs& args, RowTerms* terms);
uint64 terms_bytes(const DenseProblem& problem);

}  // namespace fattn::cuda
