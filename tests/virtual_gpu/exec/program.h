// Decoded code of one entry: operations with their handlers, rows of registers and constants. Made
// by the decoder, run by warps.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "exec/rmw.h"
#include "gpu/module.h"

namespace fattn::vgpu {

class Warp;
struct Op;

// A row is where the 32 lanes of a register or constant lie, counted in units of 64 bytes: a
// predicate and 16-bit values take one unit, 32-bit values two, 64-bit values four, 128-bit values
// eight. Bit 31 chooses the constants.
using Row = uint32_t;
inline constexpr Row kNoRow = 0xffffffff;
inline constexpr Row kConstantBit = 0x80000000;
inline constexpr uint32_t kUnitBytes = 64;

enum class Step : uint8_t {
    kNext,    // go on with the next operation
    kJumped,  // the path's pc has been set
    kWait,  // the path is blocked; pc still names this operation, which is run again when something
            // has changed
    kParked,  // the path has been taken off the warp's list of paths that can run
    kEnded,   // the path has ended
};

using Handler = Step (*)(Warp&, const Op&, uint32_t mask);

struct Op {
    Handler run = nullptr;
    const Row* rows = nullptr;  // destinations, then sources
    uint8_t num_dst = 0;
    uint8_t num_src = 0;
    bool propagates = true;  // a destination is defined where all sources are
    bool guard_negated = false;
    bool is_branch = false;
    bool ends_path = false;  // exit, trap: control does not go on behind it, unless guarded
    bool kills = true;  // an unguarded execution gives every lane of every destination a new value
    bool is_wgmma = false;
    bool touches_wgmma = false;  // has registers that some wgmma has, and is none
    bool back_edge = false;      // a branch whose target does not lie behind it
    uint32_t first_row = 0;      // of rows, in Program::rows
    Row guard = kNoRow;
    uint32_t target = 0;
    uint32_t join =
        0;  // where lanes that a branch parts meet again; num_ops when only their end is common
    int64_t offset = 0;  // of an address
    uint64_t aux = 0;    // what else the handler wants to know
    uint64_t aux2 = 0;

    Row dst(uint32_t i) const { return rows[i]; }
    Row src(uint32_t i) const { return rows[num_dst + i]; }
};

struct OpInfo {
    std::string text;
    std::string kind;  // under which statistics count it
    uint32_t line = 0;
    uint32_t source_file = 0;
    uint32_t source_line = 0;
    uint32_t flops = 0;            // of a tensor instruction, by the warp
    std::optional<Rmw> reduction;  // what an atomic or a bulk reduction computes
};

enum class Special : uint8_t {
    kTidX,
    kTidY,
    kTidZ,
    kNtidX,
    kNtidY,
    kNtidZ,
    kCtaidX,
    kCtaidY,
    kCtaidZ,
    kNctaidX,
    kNctaidY,
    kNctaidZ,
    kLaneid,
    kWarpid,
    kNwarpid,
    kLanemaskEq,
    kLanemaskLt,
    kLanemaskLe,
    kLanemaskGt,
    kLanemaskGe,
    kSmid,
    kNsmid,
    kGridid,
    kDynamicSmem,
    kTotalSmem,
    kClusteridX,
    kClusteridY,
    kClusteridZ,
    kNclusteridX,
    kNclusteridY,
    kNclusteridZ,
    kClusterCtaidX,
    kClusterCtaidY,
    kClusterCtaidZ,
    kClusterNctaidX,
    kClusterNctaidY,
    kClusterNctaidZ,
    kClusterCtarank,
    kClusterNctarank,
    kIsExplicitCluster,
    kAggregateSmem,
    kWorkspaceHigh,  // the address of what cooperative launches have for barriers of the grid
    kWorkspaceLow,
};

// A register that a warp fills once, when it starts.
struct SpecialRow {
    Special what;
    Row row;
    uint8_t bytes;  // of a lane: 1 is a predicate
};

struct Program {
    struct AddressConstant {
        uint32_t unit;      // of the constant row
        uint32_t variable;  // of Module::variables()
        uint64_t addend;
    };

    std::vector<Op> ops;
    std::vector<OpInfo> infos;  // one for each op
    std::vector<Row> rows;
    std::vector<uint8_t> row_bytes;          // of a lane, for each of them; 1 is a predicate
    std::vector<uint64_t> constants;         // units of 8 words
    std::vector<uint32_t> constant_defined;  // all ones, one for each unit
    std::vector<AddressConstant> addresses;  // constants that Module::place_variables fills
    std::vector<SpecialRow> specials;
    std::vector<Row> wgmma_rows;  // registers of wgmma, which share their rows with no others
    std::vector<std::string> source_files;
    uint32_t register_units = 0;
    uint32_t static_shared_bytes = 0;
    uint32_t dynamic_shared_offset = 0;
    uint32_t local_bytes = 0;
    uint32_t parameter_bytes = 0;

    uint32_t num_ops() const { return static_cast<uint32_t>(ops.size()); }
    uint32_t index_of(const Op& op) const { return static_cast<uint32_t>(&op - ops.data()); }
};

}  // namespace fattn::vgpu
