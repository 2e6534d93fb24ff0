// Boxes of tensor maps: what fills what lies outside, rows shorter than a swizzle's span, element
// strides, types that flush or round, stores and reductions.
#include <bit>
#include <cstring>

#include "cases/probes.h"

namespace fattn::vgpu {
namespace {

constexpr uint32_t kAreaBytes = 8192;  // of shared memory around a box
constexpr uint32_t kTensorElementBytes[] = {1, 2, 4, 4, 8, 8, 2, 4, 8, 2, 4, 4, 4};
constexpr const char* kTensorTypeNames[] = {"u8",      "u16",  "u32",     "s32", "u64",
                                            "s64",     "f16",  "f32",     "f64", "bf16",
                                            "f32_ftz", "tf32", "tf32_ftz"};
constexpr uint32_t kTypeU8 = 0, kTypeU16 = 1, kTypeU32 = 2, kTypeS32 = 3, kTypeU64 = 4,
                   kTypeS64 = 5, kTypeF16 = 6, kTypeF32 = 7, kTypeF64 = 8, kTypeBf16 = 9,
                   kTypeF32Ftz = 10, kTypeTf32 = 11, kTypeTf32Ftz = 12;

struct Box {
    std::string name;
    uint32_t type = kTypeU16;
    std::vector<uint32_t> dims, box;
    std::vector<int> at;
    std::vector<uint32_t> steps = {};
    uint32_t swizzle = 0;
    bool nan = false;
    uint32_t shared = 0;  // where the box begins

    uint32_t size() const { return kTensorElementBytes[type]; }
    uint32_t step(size_t axis) const { return steps.empty() ? 1 : steps[axis]; }
    uint64_t stride(size_t axis) const {  // bytes, of axis 1 and above
        uint64_t bytes = (uint64_t{dims[0]} * size() + 15) / 16 * 16;
        for (size_t i = 1; i < axis; ++i) bytes *= dims[i];
        return bytes;
    }
    uint32_t bytes() const {
        uint32_t made = size();
        for (size_t i = 0; i < dims.size(); ++i)
            made *= i == 0 ? box[0] : (box[i] + step(i) - 1) / step(i);
        return made;
    }
    uint64_t tensor_bytes() const {
        return dims.size() == 1 ? (uint64_t{dims[0]} * size() + 15) / 16 * 16
                                : stride(dims.size() - 1) * dims.back();
    }
    ProbeMap map(uint32_t buffer) const {
        ProbeMap made;
        made.buffer = buffer;
        made.type = type;
        made.dims.assign(dims.begin(), dims.end());
        made.box = box;
        for (size_t i = 0; i < dims.size(); ++i) made.steps.push_back(step(i));
        for (size_t i = 1; i < dims.size(); ++i) made.strides.push_back(stride(i));
        made.swizzle = swizzle;
        made.nan = nan;
        return made;
    }
};

// `run(map, area, at0..at4, ...)`: 128 threads fill the area, one copies, all write the area back.
// The word behind the area says whether the copy's bytes came.
std::string box_text(const Box& box, const std::string& copy, bool loads) {
    std::string text = R"(.version 8.4
.target sm_90
.address_size 64
.extern .shared .align 1024 .b8 box[];
.shared .align 8 .b64 full;
.visible .entry run(.param .align 64 .b8 map[128], .param .u64 bytes,
                    .param .u32 at0, .param .u32 at1, .param .u32 at2, .param .u32 at3,
                    .param .u32 at4) {
    .reg .b32 %c<5>, %s, %f, %t, %i, %r, %n, %v<4>; .reg .b64 %q, %m, %o; .reg .pred %p, %w, %x;
    ld.param.u64 %q, [bytes]; mov.b64 %m, map; cvta.param.u64 %m, %m;
    ld.param.u32 %c0, [at0]; ld.param.u32 %c1, [at1]; ld.param.u32 %c2, [at2];
    ld.param.u32 %c3, [at3]; ld.param.u32 %c4, [at4];
    mov.u32 %s, box; mov.u32 %f, full; mov.u32 %t, %tid.x;
    setp.ne.u32 %p, %t, 0;
    shl.b32 %i, %t, 4;
LOOP:
    add.u32 %r, %s, %i; cvt.u64.u32 %o, %i; add.u64 %o, %o, %q;
    ld.global.v4.b32 {%v0, %v1, %v2, %v3}, [%o]; st.shared.v4.b32 [%r], {%v0, %v1, %v2, %v3};
    add.u32 %i, %i, 2048; setp.lt.u32 %w, %i, 8192; @%w bra LOOP;
    fence.proxy.async;
    add.u32 %s, %s, )" +
                       std::to_string(box.shared) + ";\n";
    if (!loads)
        return text + "    bar.sync 0;\n    @%p bra END;\n    " + copy +
               "\n    cp.async.bulk.commit_group; cp.async.bulk.wait_group 0;\nEND:\n    ret;\n}\n";
    text += R"(
    @%p bra WAIT;
    mbarrier.init.shared.b64 [%f], 1; fence.mbarrier_init.release.cluster;
WAIT:
    bar.sync 0;
    @%p bra TRY;
    mbarrier.arrive.expect_tx.shared.b64 _, [%f], )" +
            std::to_string(box.bytes()) + ";\n    " + copy + R"(
TRY:
    mov.u32 %n, 0;
TEST:
    mbarrier.test_wait.parity.shared.b64 %w, [%f], 0;
    add.u32 %n, %n, 1; setp.lt.u32 %x, %n, 200000; not.pred %w, %w; and.pred %x, %x, %w; @%x bra TEST;
    selp.u32 %n, 0, 1, %w;
    bar.sync 0;
    mov.u32 %s, box; shl.b32 %i, %t, 4;
BACK:
    add.u32 %r, %s, %i; cvt.u64.u32 %o, %i; add.u64 %o, %o, %q;
    ld.shared.v4.b32 {%v0, %v1, %v2, %v3}, [%r]; st.global.v4.b32 [%o], {%v0, %v1, %v2, %v3};
    add.u32 %i, %i, 2048; setp.lt.u32 %w, %i, 8192; @%w bra BACK;
    @%p bra END;
    st.global.b32 [%q+8192], %n;
END:
    ret;
}
)";
    return text;
}

std::string box_coordinates(size_t rank) {
    std::string made = "{";
    for (size_t i = 0; i < rank; ++i) made += (i ? ", %c" : "%c") + std::to_string(i);
    return made + "}";
}

// Words in which NaNs, infinities and subnormal numbers of every width are frequent.
std::vector<uint32_t> telling_words(Draw& draw, size_t count) {
    std::vector<uint32_t> made = draw.words(count);
    for (uint32_t& word : made) {
        switch (draw.below(8)) {
            case 0:
                word &= 0x807fffff;
                break;
            case 1:
                word |= 0x7f800000;
                break;
            case 2:
                word = (word & 0x83ff83ff) | 0x3c003c00;
                break;
            case 3:
                word &= 0x83ff83ff;
                break;
            case 4:
                word = (word & 0x807fffff) | 0x3f800000;
                break;
            default:
                break;
        }
    }
    return made;
}

void finish_box(Probe& made, const Box& box) {
    made.maps = {box.map(box.name.starts_with("load") ? 0 : 1)};
    made.take_map(0);
    made.take_buffer(box.name.starts_with("load") ? 1 : 0);
    for (size_t i = 0; i < 5; ++i)
        made.take_word(i < box.at.size() ? static_cast<uint32_t>(box.at[i]) : 0);
    made.block[0] = 128;
    made.shared_bytes = kAreaBytes;
}

Probe load_probe(Box box) {
    box.name = "load." + box.name;
    Probe made;
    made.name = "box." + box.name;
    const std::string rank = std::to_string(box.dims.size());
    made.text =
        box_text(box,
                 "cp.async.bulk.tensor." + rank +
                     "d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%s], [%m, " +
                     box_coordinates(box.dims.size()) + "], [%f];",
                 true);
    Draw draw(made.name);
    std::vector<uint32_t> area(kAreaBytes / 4 + 4, 0xeeeeeeee);
    made.buffers = {telling_words(draw, box.tensor_bytes() / 4), area};
    finish_box(made, box);
    return made;
}

// `operation`: empty for a plain store.
Probe store_probe(Box box, const std::string& operation) {
    box.name = (operation.empty() ? "store." : "reduce." + operation + ".") + box.name;
    Probe made;
    made.name = "box." + box.name;
    const std::string rank = std::to_string(box.dims.size());
    made.text =
        box_text(box,
                 (operation.empty() ? "cp.async.bulk.tensor." : "cp.reduce.async.bulk.tensor.") +
                     rank + "d.global.shared::cta" + (operation.empty() ? "" : "." + operation) +
                     ".tile.bulk_group [%m, " + box_coordinates(box.dims.size()) + "], [%s];",
                 false);
    Draw draw(made.name);
    made.buffers = {telling_words(draw, kAreaBytes / 4),
                    telling_words(draw, box.tensor_bytes() / 4)};
    finish_box(made, box);
    return made;
}

}  // namespace

void add_tensor_boxes(std::vector<Probe>& probes) {
    std::vector<Box> boxes;
    // What fills what lies outside, of each type; integers refuse NaNs.
    for (uint32_t type = kTypeU8; type <= kTypeTf32Ftz; ++type) {
        for (const bool nan : {false, true}) {
            const uint32_t wide = 64 / kTensorElementBytes[type];
            boxes.push_back({.name = std::string(nan ? "nan." : "zero.") + kTensorTypeNames[type],
                             .type = type,
                             .dims = {2 * wide, 6},
                             .box = {wide, 4},
                             .at = {-static_cast<int>(wide / 4), 4},
                             .nan = nan});
        }
    }
    // Rows of 16 bytes up to the swizzle's span.
    for (uint32_t swizzle = 1; swizzle <= 3; ++swizzle) {
        for (uint32_t row = 16; row <= 16u << swizzle; row += 16) {
            for (const uint32_t shared : {0u, 128u}) {
                boxes.push_back({.name = "short.swizzle" + std::to_string(16u << swizzle) + ".row" +
                                         std::to_string(row) + ".at" + std::to_string(shared),
                                 .type = kTypeU16,
                                 .dims = {96, 20},
                                 .box = {row / 2, 12},
                                 .at = {8, 3},
                                 .swizzle = swizzle,
                                 .shared = shared});
            }
        }
    }
    boxes.push_back({.name = "short.swizzle128.outside",
                     .type = kTypeF16,
                     .dims = {40, 20},
                     .box = {24, 12},
                     .at = {-5, 13},
                     .swizzle = 3,
                     .nan = true});
    boxes.push_back({.name = "short.swizzle64.depth",
                     .type = kTypeF32,
                     .dims = {40, 6, 5},
                     .box = {4, 3, 3},
                     .at = {2, 4, 1},
                     .swizzle = 2});
    // Boxes that lie outside on each side, and altogether.
    for (const int x : {-40, -7, 0, 25, 60}) {
        for (const int y : {-9, -2, 5, 30})
            boxes.push_back({.name = "outside." + std::to_string(x) + "." + std::to_string(y),
                             .type = kTypeBf16,
                             .dims = {48, 8},
                             .box = {32, 6},
                             .at = {x, y},
                             .swizzle = 2,
                             .nan = true});
    }
    // Element strides, of the innermost dimension too.
    for (const std::vector<uint32_t>& steps :
         {std::vector<uint32_t>{1, 2, 3}, {2, 1, 1}, {4, 1, 1}, {3, 2, 1}, {1, 8, 1}}) {
        std::string name = "steps";
        for (const uint32_t step : steps) name += "." + std::to_string(step);
        boxes.push_back({.name = name,
                         .type = kTypeU16,
                         .dims = {64, 20, 9},
                         .box = {16, 6, 5},
                         .at = {9, 11, 5},
                         .steps = steps});
    }
    boxes.push_back({.name = "five",
                     .type = kTypeU16,
                     .dims = {16, 4, 3, 5, 4},
                     .box = {8, 2, 4, 3, 4},
                     .at = {4, -1, 0, 3, 1},
                     .steps = {1, 1, 2, 1, 3}});
    boxes.push_back({.name = "one", .type = kTypeU32, .dims = {50}, .box = {64}, .at = {-9}});
    for (const Box& box : boxes) {
        probes.push_back(load_probe(box));
        if (!box.name.starts_with("nan")) probes.push_back(store_probe(box, ""));
    }
    const auto reduces = [&](uint32_t type, const std::string& operation) {
        const uint32_t wide = 64 / kTensorElementBytes[type];
        probes.push_back(store_probe({.name = kTensorTypeNames[type],
                                      .type = type,
                                      .dims = {2 * wide, 12},
                                      .box = {wide, 8},
                                      .at = {static_cast<int>(wide) + 1, 3}},
                                     operation));
    };
    for (const std::string operation : {"add", "min", "max"}) {
        for (const uint32_t type :
             {kTypeU32, kTypeS32, kTypeU64, kTypeS64, kTypeF16, kTypeF32, kTypeF64, kTypeBf16})
            reduces(type, operation);
    }
    for (const uint32_t type : {kTypeF32Ftz, kTypeTf32, kTypeU8, kTypeU16}) reduces(type, "add");
    for (const std::string operation : {"inc", "dec", "and", "or", "xor"}) {
        for (const uint32_t type : {kTypeU32, kTypeS32, kTypeU64, kTypeF32})
            reduces(type, operation);
    }
}

}  // namespace fattn::vgpu
