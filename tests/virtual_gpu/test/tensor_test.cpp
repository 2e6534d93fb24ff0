// Bulk tensor copies against a walk over every element of the box: sizes, dimensions, swizzles,
// edges of the tensor, strides, reductions.
#include <gtest/gtest.h>

#include <random>

#include "gpu/tensor_map.h"
#include "test/device.h"
#include "test/pattern.h"

namespace fattn::vgpu::test {
namespace {

constexpr uint32_t kElementBytes[] = {1, 2, 4, 4, 8, 8, 2, 4, 8, 2};
constexpr uint8_t kU8 = 0, kU16 = 1, kU32 = 2, kU64 = 4, kF16 = 6, kF32 = 7, kBf16 = 9;

struct Tensor {
    uint8_t type = kU8;
    std::vector<uint32_t> dims;  // innermost first
    std::vector<uint32_t> box;
    std::vector<uint32_t> steps = {};  // empty: ones
    uint32_t swizzle = 0;
    bool nan = false;
    uint32_t pad = 0;  // bytes between rows

    uint32_t rank() const { return static_cast<uint32_t>(dims.size()); }
    uint32_t size() const { return kElementBytes[type]; }
    uint32_t step(uint32_t axis) const { return steps.empty() ? 1 : steps[axis]; }
    uint32_t extent(uint32_t axis) const {
        return axis == 0 ? box[0] : (box[axis] + step(axis) - 1) / step(axis);
    }
    uint64_t stride(uint32_t axis) const {  // bytes
        uint64_t bytes = axis == 0 ? size() : (uint64_t{dims[0]} * size() + pad + 15) / 16 * 16;
        for (uint32_t i = 1; i < axis; ++i) bytes *= dims[i];
        return bytes;
    }
    uint64_t tensor_bytes() const { return stride(rank() - 1) * dims.back(); }
    uint32_t box_bytes() const {
        uint32_t bytes = size();
        for (uint32_t axis = 0; axis < rank(); ++axis) bytes *= extent(axis);
        return bytes;
    }
    TensorMapLayout map(uint64_t address) const {
        TensorMapLayout made{};
        made.magic = kTensorMapMagic;
        made.data_type = type;
        made.rank = static_cast<uint8_t>(rank());
        made.swizzle = static_cast<uint8_t>(swizzle);
        made.nan_fill = nan;
        made.address = address;
        for (uint32_t axis = 0; axis < rank(); ++axis) {
            made.dims[axis] = dims[axis];
            made.box[axis] = static_cast<uint16_t>(box[axis]);
            made.element_strides[axis] = step(axis);
            if (axis > 0) made.strides[axis - 1] = stride(axis);
        }
        return made;
    }
};

// For each element of the box where it lies in shared memory, from the box's begin, and in the
// tensor: -1 outside. `shared` is the address of the box.
template <class F>
void each_element(const Tensor& tensor, const std::vector<int>& at, uint32_t shared, F f) {
    const uint32_t count = tensor.box_bytes() / tensor.size();
    for (uint32_t i = 0; i < count; ++i) {
        uint32_t rest = i;
        int64_t offset = 0;
        bool inside = true;
        for (uint32_t axis = 0; axis < tensor.rank(); ++axis) {
            const uint32_t index = rest % tensor.extent(axis);
            rest /= tensor.extent(axis);
            const int64_t place = at[axis] + int64_t{index} * (axis == 0 ? 1 : tensor.step(axis));
            inside = inside && place >= 0 && place < tensor.dims[axis];
            offset += place * static_cast<int64_t>(tensor.stride(axis));
        }
        // Of each line of 128 bytes, the chunk's number is combined with the line's.
        const uint32_t plain = shared + i * tensor.size();
        const uint32_t line = plain / 128, chunk = plain / 16 % 8, span = 1u << tensor.swizzle;
        const uint32_t there = line * 128 + (chunk ^ (line % span)) * 16 + plain % 16;
        f(there - shared, inside ? offset : -1);
    }
}

std::string coordinates(uint32_t rank) {
    std::string made = "{";
    for (uint32_t i = 0; i < rank; ++i) made += (i ? ", %c" : "%c") + std::to_string(i);
    return made + "}";
}

// One warp: the box lies at byte `shared` of shared memory. What runs is either a load, after which
// all of it goes to `bytes`, or a store of what `bytes` held.
std::string text_of(const Tensor& tensor, const std::string& copy, bool loads, uint32_t shared) {
    const std::string bytes = std::to_string(tensor.box_bytes());
    const std::string move_loop = std::string(R"(
    mov.u32 %i, %tid.x; shl.b32 %i, %i, 4;
LOOP:
    setp.ge.u32 %w, %i, )") + bytes +
                                  R"(; @%w bra DONE;
    add.u32 %r, %s, %i; cvt.u64.u32 %o, %i; add.u64 %o, %o, %q;
    )" +
                                  (loads ? "ld.shared.v4.b32 {%v0, %v1, %v2, %v3}, [%r]; "
                                           "st.global.v4.b32 [%o], {%v0, %v1, %v2, %v3};"
                                         : "ld.global.v4.b32 {%v0, %v1, %v2, %v3}, [%o]; "
                                           "st.shared.v4.b32 [%r], {%v0, %v1, %v2, %v3};") +
                                  R"(
    add.u32 %i, %i, 512; bra LOOP;
DONE:
)";
    std::string text = R"(.version 8.4
.target sm_90
.address_size 64
.extern .shared .align 1024 .b8 box[];
.shared .align 8 .b64 full;
.visible .entry run(.param .align 64 .b8 map[128], .param .u64 bytes,
                    .param .u32 at0, .param .u32 at1, .param .u32 at2, .param .u32 at3,
                    .param .u32 at4) {
    .reg .b32 %c<5>, %s, %f, %t, %i, %r, %v<4>; .reg .b64 %q, %m, %o; .reg .pred %p, %w;
    ld.param.u64 %q, [bytes]; mov.b64 %m, map; cvta.param.u64 %m, %m;
    ld.param.u32 %c0, [at0]; ld.param.u32 %c1, [at1]; ld.param.u32 %c2, [at2];
    ld.param.u32 %c3, [at3]; ld.param.u32 %c4, [at4];
    mov.u32 %s, box; add.u32 %s, %s, )" +
                       std::to_string(shared) + R"(; mov.u32 %f, full; mov.u32 %t, %tid.x;
    setp.ne.u32 %p, %t, 0;
)";
    if (loads) {
        text += R"(
    @%p bra WAIT;
    mbarrier.init.shared.b64 [%f], 1; fence.mbarrier_init.release.cluster;
    mbarrier.arrive.expect_tx.shared.b64 _, [%f], )" +
                bytes + ";\n    " + copy + R"(
WAIT:
    bar.sync 0;
TEST:
    mbarrier.try_wait.parity.shared.b64 %w, [%f], 0; @!%w bra TEST;
)" + move_loop;
    } else {
        text += move_loop + R"(
    fence.proxy.async.shared::cta; bar.sync 0;
    @%p bra END;
    )" + copy + R"(
    cp.async.bulk.commit_group; cp.async.bulk.wait_group 0;
END:
)";
    }
    return text + "    ret;\n}\n";
}

struct Ran {
    LaunchResult result;
    std::vector<uint8_t> tensor, box;
};

Ran run_copy(const Tensor& tensor, const std::vector<int>& at, const std::string& copy, bool loads,
             uint32_t shared, const std::vector<uint8_t>& contents, const std::vector<uint8_t>& box,
             const LaunchOptions& options) {
    Memory memory;
    Kernel kernel(memory, text_of(tensor, copy, loads, shared));
    const uint64_t global = memory.upload(contents), bytes = memory.upload(box);
    Arguments arguments;
    arguments.add(tensor.map(global)).add(bytes);
    for (uint32_t axis = 0; axis < 5; ++axis) arguments.add(axis < at.size() ? at[axis] : 0);
    Ran made;
    made.result = kernel.run(memory, {1}, {32}, arguments, shared + tensor.box_bytes(), options);
    made.tensor = memory.download<uint8_t>(global);
    made.box = memory.download<uint8_t>(bytes);
    return made;
}

std::vector<uint8_t> random_bytes(size_t count, uint32_t seed) {
    std::mt19937 random(seed);
    std::vector<uint8_t> made(count);
    for (uint8_t& byte : made) byte = static_cast<uint8_t>(random());
    return made;
}

std::string load_text(uint32_t rank) {
    return "cp.async.bulk.tensor." + std::to_string(rank) +
           "d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%s], [%m, " +
           coordinates(rank) + "], [%f];";
}
std::string store_text(uint32_t rank) {
    return "cp.async.bulk.tensor." + std::to_string(rank) +
           "d.global.shared::cta.tile.bulk_group [%m, " + coordinates(rank) + "], [%s];";
}

struct Copy {
    Tensor tensor;
    std::vector<int> at;
    uint32_t shared = 0;
};

const std::vector<Copy>& copies() {
    static const std::vector<Copy> made = {
        {{.type = kU8, .dims = {64}, .box = {32}}, {16}},
        {{.type = kU32, .dims = {50}, .box = {16}}, {40}, 128},
        {{.type = kU16, .dims = {24, 9}, .box = {16, 4}, .pad = 16}, {8, 3}},
        {{.type = kF32, .dims = {24, 9}, .box = {8, 4}, .nan = true}, {-4, 7}},
        {{.type = kU16, .dims = {16, 20}, .box = {16, 16}, .swizzle = 1}, {0, 2}, 128},
        {{.type = kBf16, .dims = {40, 20}, .box = {32, 12}, .swizzle = 2, .nan = true},
         {24, -5},
         384},
        {{.type = kF16, .dims = {80, 20}, .box = {64, 16}, .swizzle = 3}, {-8, 9}, 1024},
        {{.type = kU64, .dims = {20, 8}, .box = {16, 8}, .swizzle = 3}, {6, 1}, 640},
        {{.type = kU8, .dims = {160, 6, 4}, .box = {128, 4, 3}, .swizzle = 3}, {48, 4, 2}},
        {{.type = kU16, .dims = {24, 9, 7}, .box = {8, 6, 5}, .steps = {1, 2, 3}}, {8, 1, -1}},
        {{.type = kF32, .dims = {8, 4, 3, 5}, .box = {8, 3, 2, 4}}, {-4, 2, 2, -1}},
        {{.type = kU16, .dims = {16, 4, 3, 5, 4}, .box = {8, 2, 4, 3, 4}, .steps = {1, 1, 2, 1, 3}},
         {8, -1, 0, 3, 1}},
    };
    return made;
}

TEST(TensorCopies, LoadsPutEveryElementWhereTheBoxHasIt) {
    uint32_t seed = 1;
    for (const Copy& one : copies()) {
        const Tensor& tensor = one.tensor;
        const auto contents = random_bytes(tensor.tensor_bytes(), seed++);
        std::vector<uint8_t> expected(tensor.box_bytes());
        each_element(tensor, one.at, one.shared, [&](uint32_t there, int64_t from) {
            for (uint32_t byte = 0; byte < tensor.size(); ++byte) {
                const uint8_t outside = !tensor.nan ? 0 : byte % 2 ? 0x7f : 0xf7;
                expected[there + byte] =
                    from < 0 ? outside : contents[static_cast<size_t>(from) + byte];
            }
        });
        for (const Asynchrony when : {Asynchrony::kEarly, Asynchrony::kLate, Asynchrony::kSeeded}) {
            LaunchOptions options;
            options.asynchrony = when;
            const Ran ran =
                run_copy(tensor, one.at, load_text(tensor.rank()), true, one.shared, contents,
                         std::vector<uint8_t>(tensor.box_bytes(), 0), options);
            ASSERT_FALSE(ran.result.fault) << ran.result.fault->text();
            EXPECT_EQ(ran.box, expected) << "copy " << &one - copies().data();
        }
    }
}

TEST(TensorCopies, StoresWriteWhatLiesInsideAndNothingElse) {
    uint32_t seed = 100;
    for (const Copy& one : copies()) {
        const Tensor& tensor = one.tensor;
        std::vector<int> at = one.at;  // what is stored begins inside
        for (int& coordinate : at) coordinate = std::max(coordinate, 0);
        const auto contents = random_bytes(tensor.tensor_bytes(), seed++);
        const auto box = random_bytes(tensor.box_bytes(), seed++);
        std::vector<uint8_t> expected = contents;
        each_element(tensor, at, one.shared, [&](uint32_t there, int64_t to) {
            for (uint32_t byte = 0; to >= 0 && byte < tensor.size(); ++byte)
                expected[static_cast<size_t>(to) + byte] = box[there + byte];
        });
        for (const Asynchrony when : {Asynchrony::kEarly, Asynchrony::kLate, Asynchrony::kSeeded}) {
            LaunchOptions options;
            options.asynchrony = when;
            const Ran ran = run_copy(tensor, at, store_text(tensor.rank()), false, one.shared,
                                     contents, box, options);
            ASSERT_FALSE(ran.result.fault) << ran.result.fault->text();
            EXPECT_EQ(ran.tensor, expected) << "copy " << &one - copies().data();
        }
    }
}

TEST(TensorCopies, ReductionsCombineEveryElement) {
    const Tensor words = {.type = kU32, .dims = {20, 6}, .box = {8, 4}};
    const auto as_bytes = [](const auto& values) {
        std::vector<uint8_t> bytes(values.size() * sizeof(values[0]));
        std::memcpy(bytes.data(), values.data(), bytes.size());
        return bytes;
    };
    const std::vector<int> at = {16, 3};
    struct Case {
        const char* name;
        uint32_t (*f)(uint32_t, uint32_t);
    };
    for (const Case& one :
         {Case{"add", [](uint32_t a, uint32_t b) { return a + b; }},
          Case{"min", [](uint32_t a, uint32_t b) { return std::min(a, b); }},
          Case{"max", [](uint32_t a, uint32_t b) { return std::max(a, b); }},
          Case{"inc", [](uint32_t a, uint32_t b) { return a >= b ? 0 : a + 1; }},
          Case{"dec", [](uint32_t a, uint32_t b) { return a == 0 || a > b ? b : a - 1; }},
          Case{"and", [](uint32_t a, uint32_t b) { return a & b; }},
          Case{"or", [](uint32_t a, uint32_t b) { return a | b; }},
          Case{"xor", [](uint32_t a, uint32_t b) { return a ^ b; }}}) {
        std::mt19937 random(3);
        std::vector<uint32_t> contents(words.tensor_bytes() / 4), box(words.box_bytes() / 4);
        for (uint32_t& word : contents) word = static_cast<uint32_t>(random());
        for (uint32_t& word : box) word = static_cast<uint32_t>(random());
        std::vector<uint32_t> expected = contents;
        each_element(words, at, 0, [&](uint32_t there, int64_t to) {
            if (to < 0) return;
            uint32_t& word = expected[static_cast<size_t>(to) / 4];
            word = one.f(word, box[there / 4]);
        });
        const Ran ran = run_copy(words, at,
                                 std::string("cp.reduce.async.bulk.tensor.2d.global.shared::cta.") +
                                     one.name + ".tile.bulk_group [%m, {%c0, %c1}], [%s];",
                                 false, 0, as_bytes(contents), as_bytes(box), {});
        ASSERT_FALSE(ran.result.fault) << ran.result.fault->text();
        EXPECT_EQ(ran.tensor, as_bytes(expected)) << one.name;
    }
    // Sums of small numbers are exact in f32.
    const Tensor floats = {.type = kF32, .dims = {20, 6}, .box = {8, 4}};
    std::vector<float> contents(floats.tensor_bytes() / 4), box(floats.box_bytes() / 4);
    for (size_t i = 0; i < contents.size(); ++i) contents[i] = static_cast<float>(i) / 4;
    for (size_t i = 0; i < box.size(); ++i) box[i] = static_cast<float>(i) - 7;
    std::vector<float> expected = contents;
    each_element(floats, at, 0, [&](uint32_t there, int64_t to) {
        if (to >= 0) expected[static_cast<size_t>(to) / 4] += box[there / 4];
    });
    const Ran ran = run_copy(floats, at,
                             "cp.reduce.async.bulk.tensor.2d.global.shared::cta.add.tile"
                             ".bulk_group [%m, {%c0, %c1}], [%s];",
                             false, 0, as_bytes(contents), as_bytes(box), {});
    ASSERT_FALSE(ran.result.fault) << ran.result.fault->text();
    EXPECT_EQ(ran.tensor, as_bytes(expected));
}

// What a map or its use may not be, each found when the copy is issued.
TEST(TensorCopies, WhatIsNotAllowedIsNamed) {
    const Tensor good = {.type = kU16, .dims = {64, 32}, .box = {64, 8}, .swizzle = 3};
    const auto kind_of = [&](const Tensor& tensor, const std::string& copy, uint32_t shared,
                             const std::vector<int>& at = {0, 0}) {
        const Ran ran =
            run_copy(tensor, at, copy, true, shared, std::vector<uint8_t>(good.tensor_bytes()),
                     std::vector<uint8_t>(tensor.box_bytes()), {});
        EXPECT_TRUE(ran.result.fault) << copy;
        return ran.result.fault ? ran.result.fault->kind : Kind::kTrap;
    };
    EXPECT_EQ(kind_of(good, load_text(2), 64), Kind::kMisaligned);
    EXPECT_EQ(kind_of(good, load_text(3), 0), Kind::kIllegal);
    // The map says more rows than the memory has.
    Tensor large = good;
    large.dims = {64, 64};
    EXPECT_EQ(kind_of(large, load_text(2), 0, {0, 40}), Kind::kOutOfBounds);
    Tensor wide = good;
    wide.box = {128, 4};
    EXPECT_EQ(kind_of(wide, load_text(2), 0), Kind::kIllegal);
    EXPECT_EQ(kind_of(good, load_text(2), 0, {4, 0}), Kind::kIllegal);
    EXPECT_EQ(kind_of(good, store_text(2), 0, {0, -1}), Kind::kIllegal);
}

// A grid that writes device memory with plain stores and copies it in bulk afterwards.
TEST(TensorCopies, PlainStoresNeedAProxyFenceBeforeBulkLoads) {
    const Pattern pattern = {
        "stores, then a bulk load",
        "sm_90",
        ".shared .align 16 .b8 row[128]; .shared .align 8 .b64 full;",
        R"(
    mov.u32 %r1, row; mov.u32 %r2, full; setp.ne.u32 %p1, %t, 0;
    mul.wide.u32 %u1, %t, 4; add.u64 %u1, %u1, %g; add.u32 %r3, %t, 5; st.global.b32 [%u1], %r3;
    fence.proxy.async.global;
    @%p1 bra READY;
    mbarrier.init.shared.b64 [%r2], 1; fence.mbarrier_init.release.cluster;
READY:
    bar.sync 0;
    @%p1 bra WAIT;
    mbarrier.arrive.expect_tx.shared.b64 _, [%r2], 128;
    cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%g], 128, [%r2];
WAIT:
    mbarrier.try_wait.parity.shared.b64 %p2, [%r2], 0; @!%p2 bra WAIT;
    shl.b32 %r4, %t, 2; add.u32 %r4, %r4, %r1; ld.shared.b32 %d, [%r4];
)",
        {1},
        {32},
        [](uint32_t, uint32_t t) { return t + 5; },
        {{"fence.proxy.async.global;", {Kind::kMissingProxyFence}},
         {"fence.proxy.async.global;=>fence.proxy.async.shared::cta;", {Kind::kMissingProxyFence}},
         {"5; st.global.b32 [%u1], %r3;\n    fence.proxy.async.global;=>5;\n"
          "    fence.proxy.async.global; st.global.b32 [%u1], %r3;",
          {Kind::kMissingProxyFence}}}};
    check(pattern);
}

// Who sees a flag that was published behind a bulk store reads what the store wrote; a flag behind
// the wait for the read alone promises nothing.
TEST(TensorCopies, AFlagBehindABulkStoreNeedsTheWholeWait) {
    const Pattern pattern = {"a bulk store and a flag",
                             "sm_90",
                             ".shared .align 16 .b8 row[128];",
                             R"(
    mov.u32 %r1, row; shl.b32 %r2, %t, 2; add.u32 %r2, %r2, %r1; setp.ne.u32 %p1, %t, 0;
    setp.ne.u32 %p3, %c, 0;
    @%p3 bra READER;
    add.u32 %r3, %t, 9; st.shared.b32 [%r2], %r3; fence.proxy.async.shared::cta;
    bar.sync 0;
    @%p1 bra END;
    cp.async.bulk.global.shared::cta.bulk_group [%g], [%r1], 128;
    cp.async.bulk.commit_group; cp.async.bulk.wait_group 0;
    mov.u32 %r4, 1; st.release.gpu.global.b32 [%g+256], %r4;
    bra END;
READER:
    ld.acquire.gpu.global.b32 %r5, [%g+256]; setp.eq.u32 %p2, %r5, 0; @%p2 bra READER;
    mul.wide.u32 %u1, %t, 4; add.u64 %u1, %u1, %g; ld.global.b32 %d, [%u1];
END:
)",
                             {2},
                             {32},
                             [](uint32_t c, uint32_t t) { return c ? t + 9 : 0; },
                             {{"wait_group 0;=>wait_group.read 0;", {Kind::kInFlight}},
                              {"cp.async.bulk.commit_group;", {Kind::kInFlight}},
                              {"st.release=>st.relaxed", {Kind::kRace, Kind::kInFlight}}}};
    check(pattern);
}

// Blocks add to one row in turn and at once: reductions do not mind each other.
TEST(TensorCopies, ReductionsOfManyBlocksMayMeet) {
    const Pattern pattern = {
        "reductions",
        "sm_90",
        ".shared .align 16 .b8 row[128];",
        R"(
    mov.u32 %r1, row; shl.b32 %r2, %t, 2; add.u32 %r2, %r2, %r1; setp.ne.u32 %p1, %t, 0;
    add.u32 %r3, %t, %c; st.shared.b32 [%r2], %r3; fence.proxy.async.shared::cta;
    bar.sync 0;
    @%p1 bra SUM;
    cp.reduce.async.bulk.global.shared::cta.bulk_group.add.u32 [%g], [%r1], 128;
    cp.async.bulk.commit_group; cp.async.bulk.wait_group 0;
    atom.release.gpu.global.add.u32 %r6, [%g+256], 1;
SUM:
    setp.ne.u32 %p2, %c, 3; @%p2 bra END;
READ:
    ld.acquire.gpu.global.b32 %r5, [%g+256]; setp.ne.u32 %p2, %r5, 4; @%p2 bra READ;
    mul.wide.u32 %u1, %t, 4; add.u64 %u1, %u1, %g; ld.global.b32 %d, [%u1];
END:
)",
        {4},
        {32},
        [](uint32_t c, uint32_t t) { return c == 3 ? 4 * t + 6 : 0; },
        {{"cp.reduce.async.bulk.global.shared::cta.bulk_group.add.u32=>cp.async.bulk.global"
          ".shared::cta.bulk_group",
          {Kind::kInFlight, Kind::kRace}},
         {"fence.proxy.async.shared::cta;", {Kind::kMissingProxyFence}},
         {"wait_group 0;=>wait_group.read 0;", {Kind::kInFlight}}}};
    check(pattern);
}

TEST(TensorCopies, ABlockThatEndsWaitsForWhatIsCopiedIntoIt) {
    const Pattern pattern = {"a load and an end",
                             "sm_90",
                             ".shared .align 16 .b8 row[128]; .shared .align 8 .b64 full;",
                             R"(
    mov.u32 %r1, row; mov.u32 %r2, full;
    setp.ne.u32 %p1, %t, 0; @%p1 bra END;
    mbarrier.init.shared.b64 [%r2], 1; fence.mbarrier_init.release.cluster;
    mbarrier.arrive.expect_tx.shared.b64 _, [%r2], 128;
    cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%g], 128, [%r2];
WAIT:
    mbarrier.try_wait.parity.shared.b64 %p2, [%r2], 0; @!%p2 bra WAIT;
END:
)",
                             {1},
                             {32},
                             [](uint32_t, uint32_t) { return 0u; },
                             {{"mbarrier.try_wait.parity.shared.b64 %p2, [%r2], 0; @!%p2 bra WAIT;",
                               {Kind::kInFlight}}}};
    check(pattern);
}

// A warp takes a map from its parameters, changes where its tensor lies, and copies by it.
constexpr const char* kChangedMap = R"(.version 8.4
.target sm_90a
.address_size 64
.shared .align 128 .b8 changed[128];
.shared .align 128 .b8 row[64];
.shared .align 8 .b64 full;
.visible .entry run(.param .align 64 .b8 map[128], .param .u64 array, .param .u64 place,
                    .param .u64 out) {
    .reg .b32 %t, %r, %s, %f, %b, %d; .reg .b64 %m, %g, %q, %o, %x; .reg .pred %p, %w;
    mov.b64 %m, map; cvta.param.u64 %m, %m;
    ld.param.u64 %g, [array]; ld.param.u64 %q, [place]; ld.param.u64 %o, [out];
    mov.u32 %t, %tid.x; mov.u32 %s, changed; mov.u32 %f, full; mov.u32 %b, row;
    setp.ne.u32 %p, %t, 0;
    mul.wide.u32 %x, %t, 4; add.u64 %m, %m, %x; ld.b32 %d, [%m];
    shl.b32 %r, %t, 2; add.u32 %r, %r, %s; st.shared.b32 [%r], %d;
    bar.warp.sync -1;
    @%p bra SKIP;
    tensormap.replace.tile.global_address.shared::cta.b1024.b64 [%s], %g;
    tensormap.replace.tile.global_dim.shared::cta.b1024.b32 [%s], 0, 20;
    tensormap.replace.tile.elemtype.shared::cta.b1024.b32 [%s], 2;
    tensormap.replace.tile.rank.shared::cta.b1024.b32 [%s], 0;
    tensormap.replace.tile.box_dim.shared::cta.b1024.b32 [%s], 0, 16;
    mbarrier.init.shared.b64 [%f], 1; fence.mbarrier_init.release.cluster;
SKIP:
    bar.warp.sync 0xffffffff;
    tensormap.cp_fenceproxy.global.shared::cta.tensormap::generic.release.gpu.sync.aligned [%q], [%s], 128;
    @%p bra WAIT;
    fence.proxy.tensormap::generic.acquire.gpu [%q], 128;
    mbarrier.arrive.expect_tx.shared.b64 _, [%f], 64; mov.u32 %r, 8;
    cp.async.bulk.tensor.1d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%b], [%q, {%r}], [%f];
WAIT:
    bar.sync 0;
TEST:
    mbarrier.try_wait.parity.shared.b64 %w, [%f], 0; @!%w bra TEST;
    setp.ge.u32 %w, %t, 16; @%w bra END;
    add.u64 %o, %o, %x; shl.b32 %r, %t, 2; add.u32 %r, %r, %b; ld.shared.b32 %d, [%r];
    st.global.b32 [%o], %d;
END:
    ret;
}
)";

TEST(TensorMaps, AChangedMapIsUsedBehindItsFences) {
    const Tensor other = {.type = kBf16, .dims = {64, 4}, .box = {8, 2}};
    std::vector<uint32_t> array(20);
    for (uint32_t i = 0; i < array.size(); ++i) array[i] = 70 + i;
    const auto run = [&](const std::string& text, std::vector<uint32_t>& got) {
        Memory memory;
        Kernel kernel(memory, text);
        const uint64_t out = memory.allocate(64);
        const LaunchResult result = kernel.run(memory, {1}, {32},
                                               Arguments()
                                                   .add(other.map(memory.allocate(1024)))
                                                   .add(memory.upload(array))
                                                   .add(memory.allocate(128))
                                                   .add(out));
        got = memory.download<uint32_t>(out);
        return result.fault;
    };
    std::vector<uint32_t> got;
    const auto fault = run(kChangedMap, got);
    ASSERT_FALSE(fault) << fault->text();
    // The box begins at element 8 of 20: four of its sixteen elements lie outside.
    for (uint32_t i = 0; i < 16; ++i) EXPECT_EQ(got[i], i < 12 ? 78 + i : 0);

    const auto kind_of = [&](const std::string& removal) {
        const auto found = run(without(kChangedMap, removal), got);
        EXPECT_TRUE(found) << removal;
        return found ? found->kind : Kind::kTrap;
    };
    EXPECT_EQ(kind_of("fence.proxy.tensormap::generic.acquire.gpu [%q], 128;"),
              Kind::kMissingProxyFence);
    EXPECT_EQ(kind_of("tensormap.cp_fenceproxy.global.shared::cta.tensormap::generic.release.gpu"
                      ".sync.aligned [%q], [%s], 128;=>ld.shared.b32 %d, [%r]; add.u64 %x, %x, %q;"
                      " st.global.b32 [%x], %d; bar.warp.sync -1;"),
              Kind::kMissingProxyFence);
    EXPECT_EQ(kind_of("bar.warp.sync -1;"), Kind::kRace);
    EXPECT_EQ(kind_of("tensormap.replace.tile.box_dim.shared::cta.b1024.b32 [%s], 0, 16;=>"
                      "tensormap.replace.tile.box_dim.shared::cta.b1024.b32 [%s], 0, 300;"),
              Kind::kIllegal);
    EXPECT_EQ(kind_of("tensormap.replace.tile.rank.shared::cta.b1024.b32 [%s], 0;"),
              Kind::kIllegal);
}

}  // namespace
}  // namespace fattn::vgpu::test
