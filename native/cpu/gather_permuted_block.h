// The lists of permuted block-sparse attention, from the permutation and the block mask of a run;
// made for each run by the CPU kernel, asked by the gathered loops.
#pragma once

#include <vector>

#include "core/permuted_block.h"
#include "cpu/gatherer.h"
#include "cpu/head_runs.h"

namespace fattn::cpu {

/// Forward: a share is one or more query blocks of one segment. Its slots are the kept blocks of
/// other segments and then, with causality, the kept tokens of its own segment in their own order,
/// so that what a query sees of them is a prefix. No bits are needed unless more than two query
/// blocks, or two that keep only parts of their segment, keep different blocks.
///
/// Backward: the keys of a segment come once in their own order for the queries of the segment, and
/// once block by block for the queries of others.
class PermutedBlockGatherer final : public Gatherer {
  public:
    /// What a plan decides once.
    struct Geometry {
        explicit Geometry(const PermutedBlockProblem& problem);

        std::vector<HeadRun> units;  // heads of a forward share: a run where heads share, or one
        int64 num_segments;
        int64 first_query_block;        // counted from position 0
        int64 query_blocks_of_segment;  // of a complete one
        int64 key_blocks_of_segment;
        int64 query_blocks_of_share;  // at most
        int64 key_blocks_of_tile;     // of the backward, at most
    };

    /// Keeps references to all; permutation [B, Hq, Lk] and block_mask [B, Hq, nQ, nK] may be null,
    /// see core/permuted_block.h.
    PermutedBlockGatherer(const PermutedBlockProblem& problem, const Geometry& geometry,
                          const int32* permutation, const uint8* block_mask);

    GatherCapacity forward_capacity() const override;
    int64 num_forward_shares() const override;
    GatheredShare forward_share(int64 index, const GatherBuffer& buffer) const override;

    GatherCapacity backward_capacity() const override;
    int64 num_equal_heads(int64 entry, int64 head) const override;
    int64 num_key_tiles(int64 entry, int64 head, KeyChunk chunk) const override;
    GatheredTile key_tile(int64 entry, int64 head, KeyChunk chunk, int64 tile,
                          const GatherBuffer& buffer) const override;

  private:
    /// Half-open.
    struct Span {
        int64 begin;
        int64 end;

        constexpr int64 size() const { return end - begin; }
    };
    /// The selection of one head.
    struct Selection {
        const int32* tokens;  // of the slots; null: the slots themselves
        const uint8* mask;    // [nQ, nK]; null: all kept
    };
    enum class KeptBy : uint8;
    struct ForwardLists;

    Selection selection_of(int64 entry, int64 head) const;
    bool keeps(const Selection& selection, int64 query_block, int64 key_block) const {
        return selection.mask == nullptr ||
               selection.mask[query_block * num_key_blocks_ + key_block] != 0;
    }
    bool some_keep(const Selection& selection, Span query_blocks, int64 key_block) const;
    bool all_keep(const Selection& selection, Span query_blocks, Span key_blocks) const;
    void append_block(const Selection& selection, int64 key_block, int32* tokens,
                      int64* num_slots) const;

    int64 num_groups() const;
    Span query_blocks_of_group(int64 group) const;
    Span queries_of(int64 query_block) const;
    Span key_blocks_of(int64 segment) const;
    Span slots_of(Span key_blocks) const;
    /// Query blocks of [segment, end of the segments before last), cut to those that exist.
    Span query_blocks_in(Span segments) const;
    /// Fills block_of_token[token - first slot] for the tokens of a segment.
    void invert(const Selection& selection, int64 segment, int32* block_of_token) const;

    GatheredTile pair_tile(const Selection& selection, const ForwardLists& lists,
                           const GatherBuffer& buffer) const;
    void append_own(const Selection& selection, ForwardLists& lists,
                    const GatherBuffer& buffer) const;
    int64 fill_bits(const Selection& selection, const ForwardLists& lists, int64 query_block,
                    const GatherBuffer& buffer, uint64* bits) const;

    Span segments_of(KeyChunk chunk) const;
    int64 own_tiles(int64 segment) const;
    int64 tiles_of(int64 segment) const;
    GatheredTile own_tile(const Selection& selection, int64 segment, int64 index,
                          const GatherBuffer& buffer) const;
    GatheredTile blocks_tile(const Selection& selection, int64 segment, int64 index,
                             const GatherBuffer& buffer) const;

    const PermutedBlockProblem& problem_;
    const Geometry& geometry_;
    const int32* permutation_;
    const uint8* block_mask_;
    const int64 num_key_blocks_;
    const int64 num_query_blocks_;
};

}  // namespace fattn::cpu
