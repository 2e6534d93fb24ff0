// atom and red of many threads on one word: what they return and leave must be what some order of
// them gives.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <functional>
#include <random>

#include "test/device.h"

namespace fattn::vgpu::test {
namespace {

constexpr uint32_t kThreads = 64, kBlocks = 3;

// Every thread reads 16 bytes of `in`, its operands %a and %b of `bits` bits; `body` works on [%g],
// in device memory, or [%s], in shared memory, which holds `first` and is copied to `shared` by
// thread 0 of block 0; what %d holds goes to out.
std::string text_of(const std::string& body, uint32_t bits) {
    const std::string b = std::to_string(bits);
    return R"(.version 8.4
.target sm_90
.address_size 64
.shared .align 8 .b8 word[8];
.visible .entry run(.param .u64 in, .param .u64 word_at, .param .u64 first, .param .u64 out, .param .u64 shared) {
    .reg .b32 %t, %n, %c, %s; .reg .b64 %i, %g, %q, %o, %x, %h; .reg .pred %p;
    .reg .b)" +
           b + " %a, %b, %d, %v;\n" + R"(
    ld.param.u64 %i, [in]; ld.param.u64 %g, [word_at]; ld.param.u64 %q, [out];
    ld.param.u64 %x, [first]; ld.param.u64 %h, [shared];
    mov.u32 %t, %tid.x; mov.u32 %n, %ntid.x; mov.u32 %c, %ctaid.x; mad.lo.u32 %n, %c, %n, %t;
    mul.wide.u32 %o, %n, 16; add.u64 %i, %i, %o; mul.wide.u32 %o, %n, 8; add.u64 %q, %q, %o;
    ld.global.b)" +
           b + " %a, [%i]; ld.global.b" + b + " %b, [%i+8]; mov.u32 %s, word;\n" + R"(
    setp.eq.u32 %p, %t, 0;
    @%p st.shared.b64 [%s], %x;
    bar.sync 0;
    ld.global.b)" +
           b + " %d, [%i];\n    " + body + "\n    st.global.b" + b + R"( [%q], %d;
    bar.sync 0;
    or.b32 %n, %c, %t; setp.eq.u32 %p, %n, 0;
    @%p ld.shared.b64 %x, [%s];
    @%p st.global.b64 [%h], %x;
    ret;
}
)";
}

struct Operands {
    uint64_t a, b;
};

struct Made {
    std::vector<uint64_t> old;  // of every thread
    uint64_t device, shared;    // what the word held at the end; of block 0's
};

Made run(const std::string& body, uint32_t bits, uint64_t first,
         const std::vector<Operands>& operands, uint32_t blocks) {
    Memory memory;
    Kernel kernel(memory, text_of(body, bits));
    const uint64_t word = memory.upload(std::vector<uint64_t>{first});
    const uint64_t out = memory.upload(std::vector<uint64_t>(operands.size(), 0));
    const uint64_t shared = memory.allocate(8);
    const LaunchResult result = kernel.run(
        memory, {blocks}, {kThreads},
        Arguments().add(memory.upload(operands)).add(word).add(first).add(out).add(shared));
    EXPECT_FALSE(result.fault) << body << "\n" << result.fault->text();
    return {memory.download<uint64_t>(out), memory.download<uint64_t>(word)[0],
            memory.download<uint64_t>(shared)[0]};
}

using Apply = std::function<uint64_t(uint64_t old, uint64_t a, uint64_t b)>;

// Threads whose returned value is what the word holds take their turn, those that change nothing
// first. Whether all get theirs, and the word ends as `last`.
bool some_order_gives(const Apply& apply, uint64_t first, const std::vector<Operands>& operands,
                      const std::vector<uint64_t>& old, uint64_t last, uint64_t bits_mask) {
    uint64_t word = first & bits_mask;
    std::vector<bool> done(operands.size(), false);
    for (size_t turn = 0; turn < operands.size(); ++turn) {
        size_t next = operands.size();
        for (size_t i = 0; i < operands.size(); ++i) {
            if (done[i] || (old[i] & bits_mask) != word) continue;
            next = i;
            if ((apply(word, operands[i].a, operands[i].b) & bits_mask) == word) break;
        }
        if (next == operands.size()) return false;
        done[next] = true;
        word = apply(word, operands[next].a, operands[next].b) & bits_mask;
    }
    return word == (last & bits_mask);
}

struct AtomicCase {
    const char* form;  // .add.u32
    uint32_t bits;
    uint64_t first;
    uint64_t operand_mask;
    Apply apply;
};

int64_t sign_extended(uint64_t value, uint32_t bits) {
    return static_cast<int64_t>(value << (64 - bits)) >> (64 - bits);
}

std::vector<AtomicCase> cases() {
    const auto add = [](uint64_t old, uint64_t a, uint64_t) { return old + a; };
    const auto smaller = [](uint64_t old, uint64_t a, uint64_t) { return old < a ? old : a; };
    const auto larger = [](uint64_t old, uint64_t a, uint64_t) { return old > a ? old : a; };
    const auto by_sign = [](uint32_t bits, bool larger_one) -> Apply {
        return [=](uint64_t old, uint64_t a, uint64_t) {
            return (sign_extended(old, bits) > sign_extended(a, bits)) == larger_one ? old : a;
        };
    };
    const uint64_t all = ~uint64_t{0}, low = 0xffffffff;
    return {
        {".add.u32", 32, 5, low, add},
        {".add.s32", 32, 5, low, add},
        {".add.u64", 64, 5, all, add},
        {".min.u32", 32, 0x80000000, low, smaller},
        {".max.u32", 32, 0x40000000, low, larger},
        {".min.s32", 32, 100, low, by_sign(32, false)},
        {".max.s32", 32, 0x80000000, low, by_sign(32, true)},
        {".min.u64", 64, all >> 1, all, smaller},
        {".max.u64", 64, 9, all, larger},
        {".min.s64", 64, 9, all, by_sign(64, false)},
        {".max.s64", 64, all, all, by_sign(64, true)},
        {".and.b32", 32, low, low, [](uint64_t old, uint64_t a, uint64_t) { return old & a; }},
        {".or.b32", 32, 0, low, [](uint64_t old, uint64_t a, uint64_t) { return old | a; }},
        {".xor.b32", 32, 3, low, [](uint64_t old, uint64_t a, uint64_t) { return old ^ a; }},
        {".xor.b64", 64, 3, all, [](uint64_t old, uint64_t a, uint64_t) { return old ^ a; }},
        {".inc.u32", 32, 2, 0,  // the operand is 11: 0 to 11, then 0 again
         [](uint64_t old, uint64_t, uint64_t) { return old >= 11 ? 0 : old + 1; }},
        {".dec.u32", 32, 40, 0,
         [](uint64_t old, uint64_t, uint64_t) { return old == 0 || old > 11 ? 11 : old - 1; }},
        {".exch.b32", 32, 1, low, [](uint64_t, uint64_t a, uint64_t) { return a; }},
        {".exch.b64", 64, 1, all, [](uint64_t, uint64_t a, uint64_t) { return a; }},
    };
}

TEST(Atomics, ReturnAndLeaveWhatSomeOrderGives) {
    std::mt19937_64 random(1);
    for (const AtomicCase& one : cases()) {
        std::vector<Operands> operands(kThreads * kBlocks);
        for (Operands& o : operands) o = {one.operand_mask ? random() & one.operand_mask : 11, 0};
        const uint64_t mask = one.bits == 64 ? ~uint64_t{0} : 0xffffffff;
        const std::string form = one.form;
        const Made device =
            run("atom.global" + form + " %d, [%g], %a;", one.bits, one.first, operands, kBlocks);
        EXPECT_TRUE(
            some_order_gives(one.apply, one.first, operands, device.old, device.device, mask))
            << "atom.global" << form;
        operands.resize(kThreads);
        const Made shared =
            run("atom.shared" + form + " %d, [%s], %a;", one.bits, one.first, operands, 1);
        EXPECT_TRUE(
            some_order_gives(one.apply, one.first, operands, shared.old, shared.shared, mask))
            << "atom.shared" << form;
        if (form.starts_with(".exch")) continue;
        const Made reduced =
            run("red.global" + form + " [%g], %a;", one.bits, one.first, operands, 1);
        // Without what came before, the order of all but .inc and .dec, whose operands are equal,
        // does not matter.
        uint64_t last = one.first;
        for (const Operands& o : operands) last = one.apply(last, o.a, 0) & mask;
        EXPECT_EQ(reduced.device & mask, last) << "red.global" << form;
    }
}

TEST(Atomics, CompareAndSwapReplacesWhatItExpects) {
    // Thread i expects i and puts i + 1: from 0 they may all succeed, one after the other, or not;
    // whoever saw its own number did.
    for (const uint32_t bits : {16u, 32u, 64u}) {
        const std::string b = std::to_string(bits);
        std::vector<Operands> operands;
        for (uint64_t i = 0; i < kThreads; ++i) operands.push_back({i, i + 1});
        const Apply apply = [](uint64_t old, uint64_t a, uint64_t put) {
            return old == a ? put : old;
        };
        const uint64_t mask = bits == 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1;
        const Made made = run("atom.global.cas.b" + b + " %d, [%g], %a, %b;", bits, 0, operands, 1);
        EXPECT_TRUE(some_order_gives(apply, 0, operands, made.old, made.device, mask)) << bits;
        EXPECT_GT(made.device & mask, 0u) << bits;
    }
}

// Small whole numbers: sums are exact in any order and every format.
TEST(Atomics, FloatsAreAdded) {
    const auto f16 = [](uint32_t n) -> uint64_t {  // 0 to 64
        if (n == 0) return 0;
        const auto top = static_cast<uint32_t>(std::bit_width(n)) - 1;
        return (15 + top) << 10 | (n << (10 - top) & 0x3ff);
    };
    const auto bf16 = [](uint32_t n) -> uint64_t {
        return std::bit_cast<uint32_t>(static_cast<float>(n)) >> 16;
    };
    const auto f32 = [](uint32_t n) -> uint64_t {
        return std::bit_cast<uint32_t>(static_cast<float>(n));
    };
    const auto f64 = [](uint32_t n) { return std::bit_cast<uint64_t>(static_cast<double>(n)); };
    struct Format {
        const char* form;
        uint32_t bits;
        std::function<uint64_t(uint32_t)> value;
        bool pair;
    };
    const std::vector<Format> formats = {
        {".add.f32", 32, f32, false},        {".add.f64", 64, f64, false},
        {".add.noftz.f16", 16, f16, false},  {".add.noftz.bf16", 16, bf16, false},
        {".add.noftz.f16x2", 32, f16, true}, {".add.noftz.bf16x2", 32, bf16, true},
    };
    for (const Format& format : formats) {
        // 64 threads: every third adds 2 to the low half and 1 to the high one.
        std::vector<Operands> operands;
        uint32_t low = 3, high = 1;
        const auto both = [&](uint32_t l, uint32_t h) {
            return format.value(l) | (format.pair ? format.value(h) << 16 : 0);
        };
        const uint64_t first = both(low, high);
        for (uint32_t i = 0; i < kThreads; ++i) {
            operands.push_back({i % 3 == 0 ? both(2, 1) : both(0, 1), 0});
            low += i % 3 == 0 ? 2 : 0;
            high += 1;
        }
        const Made made = run(std::string("red.global") + format.form + " [%g], %a;", format.bits,
                              first, operands, 1);
        EXPECT_EQ(made.device, both(low, high)) << format.form;
        const Made shared = run(std::string("atom.shared") + format.form + " %d, [%s], %a;",
                                format.bits, first, operands, 1);
        EXPECT_EQ(shared.shared, both(low, high)) << format.form;
    }
}

TEST(Atomics, VectorsAreAddedElementByElement) {
    Memory memory;
    Kernel kernel(memory, R"(.version 8.4
.target sm_90
.address_size 64
.visible .entry run(.param .u64 at) {
    .reg .b64 %g; .reg .f32 %f<4>; .reg .b32 %t; .reg .b16 %h<2>;
    ld.param.u64 %g, [at];
    mov.u32 %t, %tid.x;
    cvt.rn.f32.u32 %f0, %t; add.f32 %f1, %f0, 0f3F800000; neg.f32 %f2, %f0; mov.f32 %f3, 0f40000000;
    red.global.add.v4.f32 [%g], {%f0, %f1, %f2, %f3};
    mov.b16 %h0, 0x3c00; mov.b16 %h1, 0x4000;
    red.global.add.noftz.v2.f16 [%g+16], {%h0, %h1};
    red.global.add.v2.f32 [%g+24], {%f3, %f0};
    ret;
}
)");
    const uint64_t at = memory.upload(std::vector<uint32_t>(8, 0));
    const LaunchResult result = kernel.run(memory, {1}, {32}, Arguments().add(at));
    ASSERT_FALSE(result.fault) << result.fault->text();
    const auto words = memory.download<uint32_t>(at);
    const auto value = [&](size_t i) { return std::bit_cast<float>(words[i]); };
    EXPECT_EQ(value(0), 496.0f);
    EXPECT_EQ(value(1), 528.0f);
    EXPECT_EQ(value(2), -496.0f);
    EXPECT_EQ(value(3), 64.0f);
    EXPECT_EQ(words[4], 0x54005000u);  // 64 and 32 in f16
    EXPECT_EQ(value(6), 64.0f);
    EXPECT_EQ(value(7), 496.0f);
}

// One thread after the other takes what the one before left: four elements, or 16 bytes at once.
TEST(Atomics, WideOnesReturnWhatWasThere) {
    Memory memory;
    Kernel kernel(memory, R"(.version 8.4
.target sm_90
.address_size 64
.visible .entry run(.param .u64 at, .param .u64 out) {
    .reg .b64 %g, %q, %o, %u<5>; .reg .f32 %f<6>; .reg .b32 %t, %r<5>; .reg .b128 %w<4>; .reg .pred %p;
    ld.param.u64 %g, [at]; ld.param.u64 %q, [out];
    mov.u32 %t, %tid.x; mul.wide.u32 %o, %t, 16; add.u64 %q, %q, %o;
    mov.f32 %f0, 0f3F800000; mov.f32 %f1, 0f40000000;
    atom.global.add.v2.f32 {%f2, %f3}, [%g], {%f0, %f1};
    st.global.v2.f32 [%q], {%f2, %f3};
    cvt.u64.u32 %u0, %t; add.u64 %u1, %u0, 100;
    mov.b128 %w0, {%u0, %u1};
    add.u64 %u2, %u0, 1; add.u64 %u3, %u1, 1;
    mov.b128 %w1, {%u2, %u3};
    atom.global.cas.b128 %w2, [%g+16], %w0, %w1;
    mov.b128 {%u2, %u3}, %w2;
    st.global.u64 [%q+8], %u3;
    setp.ne.u32 %p, %t, 31; @%p bra DONE;
    atom.global.exch.b128 %w3, [%g+16], %w0;
DONE:
    ret;
}
)");
    const uint64_t at = memory.upload(std::vector<uint64_t>{0, 0, 0, 100});
    const uint64_t out = memory.allocate(32 * 16);
    const LaunchResult result = kernel.run(memory, {1}, {32}, Arguments().add(at).add(out));
    ASSERT_FALSE(result.fault) << result.fault->text();
    const auto value = [](uint64_t bits, uint32_t shift) {
        return std::bit_cast<float>(static_cast<uint32_t>(bits >> shift));
    };
    const auto got = memory.download<uint64_t>(out);
    for (uint32_t t = 0; t < 32; ++t) {
        EXPECT_EQ(value(got[2 * t], 0), static_cast<float>(t));
        EXPECT_EQ(value(got[2 * t], 32), static_cast<float>(2 * t));
        EXPECT_EQ(got[2 * t + 1], 100u + t);
    }
    const auto left = memory.download<uint64_t>(at);
    EXPECT_EQ(value(left[0], 0), 32.0f);
    EXPECT_EQ(left[2], 31u);
    EXPECT_EQ(left[3], 131u);
}

}  // namespace
}  // namespace fattn::vgpu::test
