// What lanes of a warp do together against what the definitions say, lane by lane.
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "test/device.h"

namespace fattn::vgpu::test {
namespace {

using Lanes = std::vector<uint32_t>;  // one word a lane

struct WarpMade {
    Lanes d, e;
    std::optional<Fault> fault;
};

// Lane i has %a, %b, %c and its number %t; `body` makes %d and %e, which begin as 0.
WarpMade run(const std::string& body, const Lanes& a, const Lanes& b = Lanes(32, 0),
             const Lanes& c = Lanes(32, 0)) {
    std::string text = R"(.version 8.4
.target sm_90
.address_size 64
.visible .entry run(.param .u64 in, .param .u64 out) {
    .reg .b32 %a, %b, %c, %d, %e, %t; .reg .pred %p, %s; .reg .b64 %x, %y, %o, %w;
    ld.param.u64 %x, [in]; ld.param.u64 %y, [out];
    mov.u32 %t, %tid.x; mul.wide.u32 %o, %t, 4;
    add.u64 %x, %x, %o; add.u64 %y, %y, %o;
    ld.global.b32 %a, [%x]; ld.global.b32 %b, [%x+128]; ld.global.b32 %c, [%x+256];
    mov.u32 %d, 0; mov.u32 %e, 0; setp.ne.u32 %p, %t, %t;
)" + body + "\n    st.global.b32 [%y], %d; st.global.b32 [%y+128], %e;\n    ret;\n}\n";
    Lanes in = a;
    in.insert(in.end(), b.begin(), b.end());
    in.insert(in.end(), c.begin(), c.end());
    Memory memory;
    Kernel kernel(memory, text);
    const uint64_t out = memory.allocate(256);
    WarpMade made;
    made.fault = kernel.run(memory, {1}, {32}, Arguments().add(memory.upload(in)).add(out)).fault;
    const auto words = memory.download<uint32_t>(out);
    made.d.assign(words.begin(), words.begin() + 32);
    made.e.assign(words.begin() + 32, words.end());
    return made;
}

Lanes random_lanes(std::mt19937& random, uint32_t below) {
    Lanes made(32);
    for (uint32_t& x : made) x = static_cast<uint32_t>(random() % below);
    return made;
}

// In segments of `width` lanes, as __shfl_sync and its kin define it; -1: out of the segment.
int shuffle_source(const std::string& mode, int lane, int amount, int width) {
    const int first = lane / width * width, end = first + width;
    const int from = mode == "up"     ? lane - amount
                     : mode == "down" ? lane + amount
                     : mode == "bfly" ? lane ^ amount
                                      : first + amount % width;
    return from < first || from >= end ? -1 : from;
}

TEST(WarpOps, ShufflesReadTheLaneThatTheirModeNames) {
    std::mt19937 random(1);
    for (const std::string mode : {"up", "down", "bfly", "idx"}) {
        for (const uint32_t width : {32u, 16u, 8u, 4u, 2u, 1u}) {
            const Lanes a = random_lanes(random, ~0u), amounts = random_lanes(random, 32);
            // Lanes above 31 do not exist for .bfly with amounts beyond the segment either.
            const uint32_t control = (32 - width) << 8 | (mode == "up" ? 0 : 31);
            const WarpMade made =
                run("shfl.sync." + mode + ".b32 %d|%p, %a, %b, %c, -1; selp.b32 %e, 1, 0, %p;", a,
                    amounts, Lanes(32, control));
            ASSERT_FALSE(made.fault) << made.fault->text();
            for (int lane = 0; lane < 32; ++lane) {
                const auto l = static_cast<size_t>(lane);
                int from = shuffle_source(mode, lane, static_cast<int>(amounts[l]),
                                          static_cast<int>(width));
                // A butterfly may reach down into a segment below: only its upper end is checked.
                if (mode == "bfly" && (lane ^ static_cast<int>(amounts[l])) < lane)
                    from = lane ^ static_cast<int>(amounts[l]);
                EXPECT_EQ(made.d[l], a[static_cast<size_t>(from < 0 ? lane : from)])
                    << mode << " width " << width << " lane " << lane << " by " << amounts[l];
                EXPECT_EQ(made.e[l], from >= 0) << mode << " width " << width << " lane " << lane;
            }
        }
    }
}

TEST(WarpOps, WhatIdleLanesWouldGiveIsUndefined) {
    const std::string half =
        "setp.ge.u32 %s, %t, 16; @%s bra DONE; "
        "shfl.sync.idx.b32 %d, %a, %b, 31, 0xffff; DONE:";
    EXPECT_FALSE(run(half, Lanes(32, 5), Lanes(32, 15)).fault);
    const WarpMade made = run(half, Lanes(32, 5), Lanes(32, 16));
    ASSERT_TRUE(made.fault);
    EXPECT_EQ(made.fault->kind, FaultKind::kUninitialised) << made.fault->text();
}

TEST(WarpOps, VotesCountTheLanesNamed) {
    std::mt19937 random(2);
    std::vector<Lanes> tries = {Lanes(32, 0), Lanes(32, 1)};
    for (int i = 0; i < 6; ++i) tries.push_back(random_lanes(random, 2));
    // Lanes from 12 on vote apart from the others, once through a negated predicate.
    for (const Lanes& votes : tries) {
        for (const std::string mode : {"all", "any", "uni", "ballot"}) {
            const bool word = mode == "ballot";
            const auto vote = [&](const char* predicate, const char* members) {
                const std::string type = word ? ".b32 %d, " : ".pred %p, ";
                return "vote.sync." + mode + type + predicate + ", " + members + ";" +
                       (word ? "" : " selp.b32 %d, 1, 0, %p;");
            };
            const WarpMade made = run(
                "setp.ne.u32 %s, %a, 0; setp.lt.u32 %p, %t, 12; @%p bra LOW; " +
                    vote("!%s", "0xfffff000") + " bra DONE; LOW: " + vote("%s", "0xfff") + " DONE:",
                votes);
            ASSERT_FALSE(made.fault) << made.fault->text();
            for (uint32_t lane = 0; lane < 32; ++lane) {
                const uint32_t begin = lane < 12 ? 0 : 12, end = lane < 12 ? 12 : 32;
                uint32_t ballot = 0, yes = 0;
                for (uint32_t i = begin; i < end; ++i) {
                    const bool holds = (votes[i] != 0) == (lane < 12);
                    ballot |= uint32_t{holds} << i;
                    yes += holds;
                }
                const uint32_t expected = mode == "all"   ? yes == end - begin
                                          : mode == "any" ? yes > 0
                                          : mode == "uni" ? yes == 0 || yes == end - begin
                                                          : ballot;
                EXPECT_EQ(made.d[lane], expected) << mode << " lane " << lane;
            }
        }
    }
}

TEST(WarpOps, MatchesFindLanesWithTheSameValue) {
    std::mt19937 random(3);
    for (const bool wide : {false, true}) {
        for (const uint32_t values : {1u, 2u, 5u, 40u}) {
            const Lanes a = random_lanes(random, values);
            const std::string load = wide ? "mov.b64 %w, {7, %a}; " : "";
            const std::string from = wide ? ".b64" : ".b32", with = wide ? "%w" : "%a";
            const WarpMade any = run(load + "match.any.sync" + from + " %d, " + with + ", -1;", a);
            const WarpMade all = run(
                load + "match.all.sync" + from + " %d|%p, " + with + ", -1; selp.b32 %e, 1, 0, %p;",
                a);
            ASSERT_FALSE(any.fault) << any.fault->text();
            ASSERT_FALSE(all.fault) << all.fault->text();
            std::map<uint32_t, uint32_t> holders;
            for (uint32_t lane = 0; lane < 32; ++lane) holders[a[lane]] |= 1u << lane;
            for (uint32_t lane = 0; lane < 32; ++lane) {
                EXPECT_EQ(any.d[lane], holders[a[lane]]);
                EXPECT_EQ(all.d[lane], holders.size() == 1 ? ~0u : 0);
                EXPECT_EQ(all.e[lane], holders.size() == 1);
            }
        }
    }
}

TEST(WarpOps, ReductionsTakeTheLanesNamed) {
    std::mt19937 random(4);
    const std::string apart = "setp.lt.u32 %p, %t, 7; @%p bra LOW; redux.sync";
    for (const std::string form : {".add.u32", ".add.s32", ".min.u32", ".min.s32", ".max.u32",
                                   ".max.s32", ".and.b32", ".or.b32", ".xor.b32"}) {
        const Lanes a = random_lanes(random, ~0u);
        const WarpMade made = run(apart + form + " %d, %a, 0xffffff80; bra DONE; LOW: redux.sync" +
                                      form + " %d, %a, 0x7f; DONE:",
                                  a);
        ASSERT_FALSE(made.fault) << made.fault->text();
        for (uint32_t lane = 0; lane < 32; ++lane) {
            const bool is_signed = form.ends_with("s32");
            const auto value = [&](uint32_t i) {
                return is_signed ? int64_t{static_cast<int32_t>(a[i])} : int64_t{a[i]};
            };
            const uint32_t begin = lane < 7 ? 0 : 7, end = lane < 7 ? 7 : 32;
            int64_t expected = value(begin);
            for (uint32_t i = begin + 1; i < end; ++i) {
                if (form.starts_with(".add")) expected += value(i);
                if (form.starts_with(".min") && value(i) < expected) expected = value(i);
                if (form.starts_with(".max") && value(i) > expected) expected = value(i);
                if (form.starts_with(".and")) expected &= value(i);
                if (form.starts_with(".or")) expected |= value(i);
                if (form.starts_with(".xor")) expected ^= value(i);
            }
            EXPECT_EQ(made.d[lane], static_cast<uint32_t>(expected)) << form << " lane " << lane;
        }
    }
}

TEST(WarpOps, OneLaneIsElectedOfThoseNamed) {
    const WarpMade made =
        run("setp.lt.u32 %s, %t, 11; @%s bra LOW; elect.sync %d|%p, 0xfffff800; "
            "bra DONE; LOW: elect.sync %d|%p, 0x7ff; DONE: selp.b32 %e, 1, 0, %p;",
            Lanes(32, 0));
    ASSERT_FALSE(made.fault) << made.fault->text();
    for (const auto& [begin, end] : {std::pair{0u, 11u}, std::pair{11u, 32u}}) {
        uint32_t leaders = 0;
        for (uint32_t lane = begin; lane < end; ++lane) {
            EXPECT_EQ(made.d[lane], made.d[begin]);
            EXPECT_EQ(made.e[lane], made.d[begin] == lane);
            leaders += made.e[lane];
        }
        EXPECT_EQ(leaders, 1u);
    }
}

TEST(WarpOps, ActiveLanesAreThoseOfThePath) {
    const WarpMade made =
        run("and.b32 %e, %t, 2; setp.ne.u32 %s, %e, 0; @%s bra ODD; activemask.b32 "
            "%d; bra DONE; ODD: activemask.b32 %d; DONE:",
            Lanes(32, 0));
    ASSERT_FALSE(made.fault) << made.fault->text();
    for (uint32_t lane = 0; lane < 32; ++lane)
        EXPECT_EQ(made.d[lane], lane & 2 ? 0xccccccccu : 0x33333333u);
}

TEST(WarpOps, MatricesAreTransposedInRegisters) {
    std::mt19937 random(5);
    const Lanes a = random_lanes(random, ~0u);
    const WarpMade made = run("movmatrix.sync.aligned.m8n8.trans.b16 %d, %a;", a);
    ASSERT_FALSE(made.fault) << made.fault->text();
    // Lane 4 r + c / 2 holds (r, c) in half c % 2.
    const auto at = [](const Lanes& lanes, uint32_t r, uint32_t c) {
        return lanes[4 * r + c / 2] >> 16 * (c % 2) & 0xffff;
    };
    for (uint32_t r = 0; r < 8; ++r) {
        for (uint32_t c = 0; c < 8; ++c) EXPECT_EQ(at(made.d, r, c), at(a, c, r)) << r << " " << c;
    }
}

}  // namespace
}  // namespace fattn::vgpu::test
