// Atomic operations and bulk reductions on numbers that tell what is flushed, rounded and kept.
#include "cases/probes.h"

namespace fattn::vgpu {
namespace {

constexpr uint32_t kAtomicThreads = 256;

// Numbers of every kind of the type's width.
uint64_t atomic_value(const std::string& type, Draw& draw) {
    const uint64_t random = draw.next();
    const uint32_t kind = draw.below(6);
    const auto among = [&](uint64_t sign, uint64_t exponent, int place) -> uint64_t {
        const uint64_t fraction = random & ((uint64_t{1} << place) - 1);
        const uint64_t top = random & sign;
        switch (kind) {
            case 0:
                return top | fraction;
            case 1:
                return top | exponent << place | (random >> 60 & 1 ? fraction : 0);
            case 2:
                return top | uint64_t{1} << place | fraction;
            default:
                return top | ((exponent >> 1) + draw.below(3)) << place | fraction;
        }
    };
    if (type == "f32") return among(0x80000000, 255, 23);
    if (type == "f64") return among(uint64_t{1} << 63, 2047, 52);
    if (type.starts_with("f16")) return among(0x8000, 31, 10);
    if (type.starts_with("bf16")) return among(0x8000, 255, 7);
    if (kind == 0) return draw.below(4);
    return kind == 1 ? ~random >> 3 : random;
}

void add_atomic(std::vector<Probe>& probes, const std::string& space, const std::string& op,
                const std::string& type) {
    const bool wide = type.ends_with("64"), half = type == "f16" || type == "bf16";
    const std::string width = wide ? "64" : half ? "16" : "32";
    const bool swaps = op == "cas";
    Probe made;
    made.name = "atomic." + space + "." + op + "." + type;
    const std::string address = space == "shared" ? "%s" : "%y";
    made.text = R"(.version 8.4
.target sm_90
.address_size 64
.shared .align 16 .b8 room[2048];
.visible .entry run(.param .u64 in, .param .u64 out) {
    .reg .b32 %t, %s; .reg .b64 %x, %y, %o; .reg .b)" +
                width + R"( %a, %b, %old, %new;
    ld.param.u64 %x, [in]; ld.param.u64 %y, [out]; mov.u32 %t, %tid.x; mul.wide.u32 %o, %t, 16;
    add.u64 %x, %x, %o; add.u64 %y, %y, %o; mov.u32 %s, room; mad.lo.u32 %s, %t, 8, %s;
    ld.global.b)" +
                width + " %a, [%x]; ld.global.b" + width + " %b, [%x+8]; ld.global.b" + width +
                " %new, [%y];\n    " +
                (space == "shared" ? "st.shared.b" + width + " [%s], %new; " : "") + "atom." +
                space + "." + op + "." + type + " %old, [" + address + "], %a" +
                (swaps ? ", %b" : "") + ";\n    ld." + space + ".b" + width + " %new, [" + address +
                "]; st.global.b" + width + " [%y], %new; st.global.b" + width +
                " [%y+8], %old;\n    ret;\n}\n";
    made.block[0] = kAtomicThreads;
    Draw draw(made.name);
    std::vector<uint32_t> in, out;
    const auto put = [](std::vector<uint32_t>& to, uint64_t value) {
        to.push_back(static_cast<uint32_t>(value));
        to.push_back(static_cast<uint32_t>(value >> 32));
    };
    const auto value = [&] {
        uint64_t one = atomic_value(type, draw);
        if (type.ends_with("x2")) one |= atomic_value(type, draw) << 16;
        return one;
    };
    for (uint32_t i = 0; i < kAtomicThreads; ++i) {
        const uint64_t before = value(), a = swaps && draw.below(2) ? before : value(), b = value();
        put(in, a);
        put(in, b);
        put(out, before);
        put(out, 0);
    }
    made.buffers = {in, out};
    made.take_buffer(0);
    made.take_buffer(1);
    probes.push_back(made);
}

// A thread combines 1 KB of shared memory with device memory.
void add_bulk(std::vector<Probe>& probes, const std::string& op, const std::string& type) {
    Probe made;
    made.name = "bulk." + op + "." + type;
    made.text = R"(.version 8.4
.target sm_90
.address_size 64
.shared .align 128 .b8 room[1024];
.visible .entry run(.param .u64 in, .param .u64 out) {
    .reg .b32 %t, %s, %r, %v<4>; .reg .b64 %x, %y, %o; .reg .pred %p;
    ld.param.u64 %x, [in]; ld.param.u64 %y, [out]; mov.u32 %t, %tid.x; mul.wide.u32 %o, %t, 16;
    add.u64 %x, %x, %o; mov.u32 %s, room; mad.lo.u32 %r, %t, 16, %s;
    ld.global.v4.b32 {%v0, %v1, %v2, %v3}, [%x]; st.shared.v4.b32 [%r], {%v0, %v1, %v2, %v3};
    fence.proxy.async; bar.sync 0; setp.ne.u32 %p, %t, 0; @%p bra END;
    cp.reduce.async.bulk.global.shared::cta.bulk_group.)" +
                op + "." + type + R"( [%y], [%s], 1024;
    cp.async.bulk.commit_group; cp.async.bulk.wait_group 0;
END:
    ret;
}
)";
    made.block[0] = 64;
    Draw draw(made.name);
    const uint32_t bits = type.ends_with("64") ? 64 : type.ends_with("16") ? 16 : 32;
    const auto words = [&] {
        std::vector<uint32_t> to(256, 0);
        for (uint32_t i = 0; i < 256 * 32 / bits; ++i) {
            const uint64_t one = atomic_value(type, draw);
            const uint32_t at = i * bits / 32;
            to[at] |= static_cast<uint32_t>(bits == 16 ? (one & 0xffff) << (i % 2 * 16) : one);
            if (bits == 64) to[at + 1] = static_cast<uint32_t>(one >> 32);
        }
        return to;
    };
    made.buffers = {words(), words()};
    made.take_buffer(0);
    made.take_buffer(1);
    probes.push_back(made);
}

}  // namespace

void add_atomics(std::vector<Probe>& probes) {
    for (const std::string space : {"global", "shared"}) {
        for (const std::string type :
             {"f32", "f64", "noftz.f16", "noftz.bf16", "noftz.f16x2", "noftz.bf16x2"}) {
            const size_t dot = type.find('.');
            const bool keeps = dot != std::string::npos;
            add_atomic(probes, space, keeps ? "add.noftz" : "add",
                       keeps ? type.substr(dot + 1) : type);
        }
        for (const std::string op : {"add", "min", "max", "exch", "cas"}) {
            for (const std::string type : {"u32", "s32", "u64", "s64"}) {
                const bool bits = op == "exch" || op == "cas";
                if (bits && type[0] == 's') continue;
                if (op == "add" && type == "s64") continue;
                add_atomic(probes, space, op, bits ? "b" + type.substr(1) : type);
            }
        }
        for (const std::string op : {"inc", "dec"}) add_atomic(probes, space, op, "u32");
        for (const std::string op : {"and", "or", "xor"}) {
            for (const std::string type : {"b32", "b64"}) add_atomic(probes, space, op, type);
        }
    }
    for (const std::string type : {"u32", "s32", "u64", "f32", "f64"})
        add_bulk(probes, "add", type);
    for (const std::string type : {"f16", "bf16"}) add_bulk(probes, "add.noftz", type);
    for (const std::string op : {"min", "max"}) {
        for (const std::string type : {"u32", "s32", "u64", "s64", "f16", "bf16"})
            add_bulk(probes, op, type);
    }
    for (const std::string op : {"inc", "dec"}) add_bulk(probes, op, "u32");
    for (const std::string op : {"and", "or", "xor"}) {
        for (const std::string type : {"b32", "b64"}) add_bulk(probes, op, type);
    }
}

}  // namespace fattn::vgpu
