// What lanes, warps and blocks do together: shuffles, votes, matrices in shared memory, barriers,
// clusters.
#include "cases/probes.h"

namespace fattn::vgpu {
namespace {

struct Lanes {
    std::string name;
    std::string body;  // has %a0 to %a3 and the thread's number %t; makes %d0 to %d3
    uint32_t below[4] = {0, 0, 0, 0};  // of the inputs; 0: any word
    uint32_t threads = 32;
    uint32_t cluster = 1;  // blocks
};

// `run(in, out)`: thread i has the words from 16 i on of both. `room` is 8 KB of shared memory, at
// %s.
std::string lanes_text(const Lanes& lanes) {
    return R"(.version 8.4
.target sm_90
.address_size 64
.shared .align 128 .b8 room[8192];
.shared .align 8 .b64 barriers[8];
.visible .entry run(.param .u64 in, .param .u64 out))" +
           (lanes.cluster > 1 ? " .reqnctapercluster " + std::to_string(lanes.cluster) + ", 1, 1"
                              : std::string()) +
           R"( {
    .reg .b32 %a<4>, %d<4>, %t, %s, %m, %i, %j, %r<8>; .reg .b64 %x, %y, %o, %q, %u<4>; .reg .pred %p, %w, %z;
    ld.param.u64 %x, [in]; ld.param.u64 %y, [out]; mov.u32 %t, %tid.x; mov.u32 %s, room;
    mov.u32 %m, barriers; mov.u32 %i, %ctaid.x; mov.u32 %j, %ntid.x; mad.lo.u32 %i, %i, %j, %t;
    mul.wide.u32 %o, %i, 16; add.u64 %q, %x, %o; add.u64 %y, %y, %o;
    ld.global.v4.b32 {%a0, %a1, %a2, %a3}, [%q];
    mov.u32 %d0, 0; mov.u32 %d1, 0; mov.u32 %d2, 0; mov.u32 %d3, 0; setp.ne.u32 %p, %t, %t;
)" + lanes.body +
           "\n    st.global.v4.b32 [%y], {%d0, %d1, %d2, %d3};\n    ret;\n}\n";
}

void add_lanes_probe(std::vector<Probe>& probes, const Lanes& lanes) {
    Probe made;
    made.name = "lanes." + lanes.name;
    made.text = lanes_text(lanes);
    made.grid[0] = lanes.cluster;
    made.block[0] = lanes.threads;
    Draw draw(made.name);
    const size_t threads = size_t{lanes.threads} * lanes.cluster;
    std::vector<uint32_t> in;
    for (size_t i = 0; i < threads; ++i) {
        for (const uint32_t below : lanes.below)
            in.push_back(below == 0 ? draw.word() : draw.below(below));
    }
    made.buffers = {in, std::vector<uint32_t>(4 * threads, 0)};
    made.take_buffer(0);
    made.take_buffer(1);
    probes.push_back(made);
}

void add_exchanges(std::vector<Probe>& probes) {
    const auto add = [&](const Lanes& lanes) { add_lanes_probe(probes, lanes); };
    for (const std::string mode : {"up", "down", "bfly", "idx"}) {
        // Any clamp and mask of segments, and lanes that do not exist.
        const std::string body = "shfl.sync." + mode +
                                 ".b32 %d0|%p, %a0, %a1, %a2, -1; selp.b32 %d1, 1, 0, %p; "
                                 "shfl.sync." +
                                 mode + ".b32 %d2|%p, %a0, %a3, 0x1f, -1; selp.b32 %d3, 1, 0, %p;";
        add({.name = "shfl." + mode, .body = body, .below = {0, 32, 0x2000, 32}});
        add({.name = "shfl." + mode + ".beyond", .body = body, .below = {0, 0, 0, 0}});
        add({.name = "shfl." + mode + ".segments",
             .body = "shfl.sync." + mode +
                     ".b32 %d0|%p, %a0, %a1, 0x1807, -1; selp.b32 %d1, 1, 0, %p; shfl.sync." +
                     mode + ".b32 %d2|%p, %a0, %a1, 0x1c1f, -1; selp.b32 %d3, 1, 0, %p;",
             .below = {0, 40, 0, 0}});
    }
    for (const uint32_t values : {1u, 2u, 3u}) {
        add({.name = "votes." + std::to_string(values),
             .body =
                 "setp.eq.u32 %w, %a0, 0; vote.sync.ballot.b32 %d0, %w, -1; "
                 "vote.sync.all.pred %p, %w, -1; selp.b32 %d1, 1, 0, %p; vote.sync.any.pred %p, "
                 "%w, -1; @%p or.b32 %d1, %d1, 2; vote.sync.uni.pred %p, %w, -1; @%p or.b32 "
                 "%d1, %d1, 4; activemask.b32 %d2;",
             .below = {values, 0, 0, 0}});
        add({.name = "match." + std::to_string(values),
             .body =
                 "match.any.sync.b32 %d0, %a0, -1; match.all.sync.b32 %d1|%p, %a0, -1; selp.b32 "
                 "%d2, 1, 0, %p; mov.b64 %u0, {%a0, %a1}; match.any.sync.b64 %d3, %u0, -1;",
             .below = {values, 2, 0, 0}});
    }
    for (const std::string op : {"add.u32", "add.s32", "min.u32", "min.s32", "max.u32", "max.s32",
                                 "and.b32", "or.b32", "xor.b32"})
        add({.name = "redux." + op,
             .body = "redux.sync." + op +
                     " %d0, %a0, -1; setp.lt.u32 %p, %t, 13; @%p bra LOW; "
                     "redux.sync." +
                     op + " %d1, %a1, 0xffffe000; bra DONE; LOW: redux.sync." + op +
                     " %d1, %a2, 0x1fff; DONE:"});
    add({.name = "elect",
         .body = "elect.sync %d0|%p, -1; selp.b32 %d1, 1, 0, %p; setp.lt.u32 %w, %t, 11; @%w bra "
                 "LOW; elect.sync %d2|%p, 0xfffff800; bra DONE; LOW: elect.sync %d2|%p, 0x7ff; "
                 "DONE: selp.b32 %d3, 1, 0, %p;"});
    add({.name = "movmatrix", .body = "movmatrix.sync.aligned.m8n8.trans.b16 %d0, %a0;"});
    for (const std::string type : {"u32", "s32"}) {
        // By zero and by minus one, of the lowest number too.
        add({.name = "division." + type,
             .body = "setp.lt.u32 %w, %t, 8; @%w mov.u32 %a0, 0x80000000; div." + type +
                     " %d0, %a0, %a1; rem." + type + " %d1, %a0, %a1; neg.s32 %a2, %a1; div." +
                     type + " %d2, %a0, %a2; rem." + type + " %d3, %a0, %a2;",
             .below = {0, 2, 0, 0}});
    }
    for (const std::string type : {"u64", "s64"}) {
        add({.name = "division." + type,
             .body = "setp.lt.u32 %w, %t, 8; mov.b64 %u0, {%a0, %a2}; @%w mov.b64 %u0, "
                     "0x8000000000000000; cvt.u64.u32 %u1, %a1; neg.s64 %u1, %u1; div." +
                     type + " %u2, %u0, %u1; mov.b64 {%d0, %d1}, %u2; rem." + type +
                     " %u2, %u0, %u1; mov.b64 {%d2, %d3}, %u2;",
             .below = {0, 2, 0, 0}});
    }
    add({.name = "masks",
         .body = "mov.u32 %d0, %lanemask_lt; mov.u32 %d1, %lanemask_ge; mov.u32 %d2, %lanemask_eq; "
                 "mov.u32 %d3, %total_smem_size;"});
}

void add_matrices(std::vector<Probe>& probes) {
    const auto add = [&](const Lanes& lanes) { add_lanes_probe(probes, lanes); };
    // Lane l's row is the 16 bytes that lane 7 l mod 32 has stored.
    const std::string fill =
        "shl.b32 %r0, %t, 4; add.u32 %r0, %r0, %s; st.shared.v4.b32 [%r0], {%a0, %a1, %a2, %a3}; "
        "bar.warp.sync -1; mul.lo.u32 %r1, %t, 7; and.b32 %r1, %r1, 31; shl.b32 %r1, %r1, 4; "
        "add.u32 %r1, %r1, %s; ";
    const char* registers[] = {"{%d0}", "{%d0, %d1}", "{%d0, %d1, %d2, %d3}"};
    const char* sources[] = {"{%a0}", "{%a0, %a1}", "{%a0, %a1, %a2, %a3}"};
    for (const std::string trans : {"", ".trans"}) {
        for (uint32_t i = 0; i < 3; ++i) {
            const std::string number = std::to_string(1u << i);
            add({.name = "ldmatrix.x" + number + trans,
                 .body = fill + "ldmatrix.sync.aligned.m8n8.x" + number + trans + ".shared.b16 " +
                         registers[i] + ", [%r1];"});
            add({.name = "stmatrix.x" + number + trans,
                 .body = fill + "bar.warp.sync -1; stmatrix.sync.aligned.m8n8.x" + number + trans +
                         ".shared.b16 [%r1], " + sources[i] +
                         "; bar.warp.sync -1; ld.shared.v4.b32 {%d0, %d1, %d2, %d3}, [%r0];"});
        }
    }
    // The bytes of the source that are copied, the rest zeros.
    const struct {
        const char* form;
        uint32_t bytes;
    } copies[] = {{"ca", 4}, {"ca", 8}, {"ca", 16}, {"cg", 16}};
    for (const auto& [form, bytes] : copies) {
        const std::string size = std::to_string(bytes);
        add({.name = std::string("cp.async.") + form + "." + size,
             .body = "shl.b32 %r0, %t, 4; add.u32 %r0, %r0, %s; mov.u32 %r1, -1; "
                     "st.shared.v4.b32 [%r0], {%r1, %r1, %r1, %r1}; bar.warp.sync -1; cp.async." +
                     std::string(form) + ".shared.global [%r0], [%q], " + size +
                     ", %a3; cp.async.commit_group; cp.async.wait_group 0; "
                     "ld.shared.v4.b32 {%d0, %d1, %d2, %d3}, [%r0];",
             .below = {0, 0, 0, bytes + 1}});
    }
}

void add_barriers(std::vector<Probe>& probes) {
    const auto add = [&](const Lanes& lanes) { add_lanes_probe(probes, lanes); };
    for (const uint32_t values : {1u, 2u, 200u}) {
        add({.name = "bar.red." + std::to_string(values),
             .body =
                 "setp.eq.u32 %w, %a0, 0; bar.red.popc.u32 %d0, 0, %w; bar.red.and.pred %p, 0, "
                 "%w; selp.b32 %d1, 1, 0, %p; bar.red.or.pred %p, 0, %w; @%p or.b32 %d1, %d1, 2; "
                 "setp.lt.u32 %z, %t, 64; @!%z bra DONE; bar.red.popc.u32 %d2, 1, 64, !%w; DONE:",
             .below = {values, 0, 0, 0},
             .threads = 128});
    }
    // Counts of arrivals in states, phases by state and by parity.
    const std::string begin = "setp.ne.u32 %z, %t, 0; @%z bra DONE; ";
    const auto waits = [](const std::string& register_name, uint32_t bit, uint32_t parity) {
        return "mbarrier.test_wait.parity.shared.b64 %p, [%m], " + std::to_string(parity) +
               "; selp.b32 %i, " + std::to_string(1u << bit) + ", 0, %p; or.b32 " + register_name +
               ", " + register_name + ", %i; ";
    };
    add({.name = "mbarrier.arrivals",
         .body =
             begin + "mbarrier.init.shared.b64 [%m], 5; " + waits("%d3", 0, 0) +
             waits("%d3", 1, 1) +
             "mbarrier.arrive.shared.b64 %u0, [%m]; mbarrier.pending_count.b64 %d0, %u0; "
             "mbarrier.arrive.shared.b64 %u1, [%m], 2; mbarrier.pending_count.b64 %d1, %u1; "
             "mbarrier.arrive.noComplete.shared.b64 %u2, [%m], 1; mbarrier.pending_count.b64 "
             "%d2, %u2; mbarrier.test_wait.shared.b64 %p, [%m], %u0; selp.b32 %i, 4, 0, %p; "
             "or.b32 %d3, %d3, %i; mbarrier.arrive.shared.b64 %u3, [%m]; "
             "mbarrier.pending_count.b64 %i, %u3; shl.b32 %i, %i, 8; or.b32 %d3, %d3, %i; "
             "mbarrier.test_wait.shared.b64 %p, [%m], %u0; selp.b32 %i, 8, 0, %p; or.b32 %d3, "
             "%d3, %i; " +
             waits("%d3", 4, 0) + waits("%d3", 5, 1) +
             "mbarrier.arrive.shared.b64 %u1, [%m]; mbarrier.pending_count.b64 %i, %u1; shl.b32 "
             "%i, %i, 16; or.b32 %d3, %d3, %i; DONE:"});
    add({.name = "mbarrier.drop",
         .body =
             begin +
             "mbarrier.init.shared.b64 [%m], 4; mbarrier.arrive_drop.shared.b64 %u0, "
             "[%m]; mbarrier.pending_count.b64 %d0, %u0; mbarrier.arrive.shared.b64 "
             "%u1, [%m], 3; mbarrier.pending_count.b64 %d1, %u1; " +
             waits("%d3", 0, 0) +
             "mbarrier.arrive.shared.b64 %u2, [%m]; mbarrier.pending_count.b64 %d2, %u2; "
             "mbarrier.arrive_drop.shared.b64 %u3, [%m], 2; " +
             waits("%d3", 1, 1) +
             "mbarrier.arrive.shared.b64 %u0, [%m]; mbarrier.pending_count.b64 %i, %u0; shl.b32 "
             "%i, %i, 8; or.b32 %d3, %d3, %i; " +
             waits("%d3", 2, 0) + "DONE:"});
    add({.name = "mbarrier.bytes",
         .body = begin +
                 "mbarrier.init.shared.b64 [%m], 2; "
                 "mbarrier.expect_tx.relaxed.cta.shared.b64 [%m], 48; "
                 "mbarrier.arrive.shared.b64 %u0, [%m]; mbarrier.arrive.shared.b64 %u1, "
                 "[%m]; mbarrier.pending_count.b64 %d0, %u0; mbarrier.pending_count.b64 "
                 "%d1, %u1; " +
                 waits("%d3", 0, 0) + "mbarrier.complete_tx.relaxed.cta.shared.b64 [%m], 16; " +
                 waits("%d3", 1, 0) + "mbarrier.complete_tx.relaxed.cta.shared.b64 [%m], 32; " +
                 waits("%d3", 2, 0) + waits("%d3", 3, 1) + "DONE:"});
    // Blocks of a cluster read each other's shared memory, add to it, and count arrivals.
    add({.name = "cluster",
         .body = "shl.b32 %r0, %t, 2; add.u32 %r0, %r0, %s; st.shared.b32 [%r0], %a0; mov.u32 %r7, "
                 "%cluster_ctarank; add.u32 %r1, %r7, 1; and.b32 %r1, %r1, 3; "
                 "mapa.shared::cluster.u32 %r2, %r0, %r1; barrier.cluster.arrive.release; "
                 "barrier.cluster.wait.acquire; ld.shared::cluster.b32 %d0, [%r2]; "
                 "barrier.cluster.arrive.release; barrier.cluster.wait.acquire; "
                 "atom.shared::cluster.add.u32 %r3, [%r2], %a1; barrier.cluster.arrive.release; "
                 "barrier.cluster.wait.acquire; ld.shared.b32 %d1, [%r0]; mov.u32 %d2, "
                 "%cluster_nctarank; shl.b32 %r7, %r7, 8; or.b32 %d2, %d2, %r7; "
                 "barrier.cluster.arrive.release; barrier.cluster.wait.acquire;",
         .threads = 64,
         .cluster = 4});
}

}  // namespace

void add_lanes(std::vector<Probe>& probes) {
    add_exchanges(probes);
    add_matrices(probes);
    add_barriers(probes);
}

}  // namespace fattn::vgpu
