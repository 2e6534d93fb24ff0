// Calls of the compiler's own functions: failed assertions and printf.
#include <bit>
#include <cstdio>
#include <cstring>

#include "exec/access.h"
#include "exec/cta.h"
#include "exec/decoding.h"
#include "exec/flatten.h"
#include "exec/grid.h"
#include "exec/lanes.h"

namespace fattn::vgpu {
namespace {

using ptx::Operand;
using ptx::Space;
using ptx::Type;

// A text in device memory, up to its zero.
std::string read_text(Warp& w, uint64_t address) {
    std::string made;
    for (; made.size() < 4096; ++address) {
        const MemoryBlock* block = w.grid.block_of(address, 1);
        if (!block) break;
        const char c = static_cast<char>(block->data[address - block->base]);
        if (c == '\0') break;
        made += c;
    }
    return made;
}

// Where the variable lies that passes parameter or result `i` of the call.
std::byte* passed(Warp& w, const Op& op, uint32_t i, uint32_t lane) {
    const size_t at =
        size_t{w.thread_of(lane)} * w.program.local_bytes + w.lanes<uint64_t>(op.src(i))[lane];
    return w.cta.local.data() + at;
}

uint64_t argument(Warp& w, const Op& op, uint32_t i, uint32_t lane, uint32_t bytes) {
    uint64_t value = 0;
    std::memcpy(&value, passed(w, op, i, lane), bytes);
    return value;
}

// __assertfail(message, file, line, function, size).
Step assert_fail(Warp& w, const Op& op, uint32_t mask) {
    const auto lane = static_cast<uint32_t>(std::countr_zero(mask));
    w.fault(op, lane, FaultKind::kTrap,
            "assertion failed: " + read_text(w, argument(w, op, 0, lane, 8)) + " at " +
                read_text(w, argument(w, op, 1, lane, 8)) + ":" +
                std::to_string(argument(w, op, 2, lane, 4)) + " in " +
                read_text(w, argument(w, op, 3, lane, 8)));
}

void decode_assert(Decoding& d) {
    d.need_count(5, 5);
    for (const Operand& operand : d.in.operands) d.src(operand, Type::kU64);
    d.op.ends_path = true;
    d.finish(assert_fail, "control");
}

// The values of one lane's call, one behind the other, each aligned to its size.
class PrintedValues {
  public:
    PrintedValues(Warp& w, const Op& op, uint32_t lane, uint64_t address)
        : w_(w), op_(op), lane_(lane), address_(address) {}

    uint64_t next(uint32_t bytes) {
        address_ = (address_ + bytes - 1) / bytes * bytes;
        const Place place = resolve(w_, op_, lane_, Space::kGeneric, address_, bytes, false);
        for (uint32_t i = 0; place.defined && i < bytes; ++i) {
            if (place.defined[i] == 0 && w_.grid.options.checks.uninitialised)
                w_.fault(op_, lane_, FaultKind::kUninitialised, "an undefined value is printed");
        }
        uint64_t value = 0;
        std::memcpy(&value, place.data, bytes);
        address_ += bytes;
        ++count_;
        return value;
    }
    uint32_t count() const { return count_; }

  private:
    Warp& w_;
    const Op& op_;
    uint32_t lane_;
    uint64_t address_;
    uint32_t count_ = 0;
};

template <class T>
std::string shown(const std::string& form, T value) {
    char text[512];
    // NOLINTNEXTLINE: the form is one conversion of a C format, which show_conversion has read
    std::snprintf(text, sizeof text, form.c_str(), value);
    return text;
}

// One conversion, whose form begins at `at` with '%'; `at` is left behind it.
std::string show_conversion(Warp& w, const std::string& format, size_t& at, PrintedValues& values) {
    std::string form = "%";
    bool is_long = false;
    for (++at; at < format.size(); ++at) {
        const char c = format[at];
        if (c == '*') {
            form += std::to_string(static_cast<int32_t>(values.next(4)));
        } else if (std::strchr("lzjtq", c)) {
            is_long = true;
        } else if (!std::strchr("h", c)) {
            if (!std::strchr("-+ #0123456789.", c)) break;
            form += c;
        }
    }
    if (at == format.size()) return form;
    const char kind = format[at++];
    switch (kind) {
        case '%':
            return "%";
        case 'd':
        case 'i':
            if (is_long) return shown(form + "lld", static_cast<long long>(values.next(8)));
            return shown(form + 'd', static_cast<int32_t>(values.next(4)));
        case 'u':
        case 'o':
        case 'x':
        case 'X':
            if (is_long)
                return shown(form + "ll" + kind, static_cast<unsigned long long>(values.next(8)));
            return shown(form + kind, static_cast<uint32_t>(values.next(4)));
        case 'c':
            return shown(form + 'c', static_cast<int32_t>(values.next(4)));
        case 'p':
            return shown(form + "#llx", static_cast<unsigned long long>(values.next(8)));
        case 's': {
            const uint64_t text = values.next(8);
            return shown(form + 's', read_text(w, text).c_str());
        }
        case 'f':
        case 'F':
        case 'e':
        case 'E':
        case 'g':
        case 'G':
        case 'a':
        case 'A':
            return shown(form + kind, std::bit_cast<double>(values.next(8)));
        default:
            return form + kind;
    }
}

// vprintf(format, values): the number of values comes back. Lane after lane.
Step print(Warp& w, const Op& op, uint32_t mask) {
    each_lane(mask, [&](uint32_t lane) {
        const std::string format = read_text(w, argument(w, op, 0, lane, 8));
        PrintedValues values(w, op, lane, argument(w, op, 1, lane, 8));
        std::string text;
        for (size_t at = 0; at < format.size();) {
            if (format[at] == '%') {
                text += show_conversion(w, format, at, values);
            } else {
                text += format[at++];
            }
        }
        if (w.grid.options.print) w.grid.options.print(text);
        if (op.num_src < 3) return;
        const uint32_t count = values.count();
        std::byte* const result = passed(w, op, 2, lane);
        std::memcpy(result, &count, sizeof count);
        std::memset(w.cta.local_defined.data() + (result - w.cta.local.data()), 0xff, sizeof count);
    });
    return Step::kNext;
}

void decode_print(Decoding& d) {
    d.need_count(2, 3);
    for (const Operand& operand : d.in.operands) d.src(operand, Type::kU64);
    d.finish(print, "print");
}

}  // namespace

void add_system_calls(OpcodeTable& table) {
    table[kAssertFail] = decode_assert;
    table[kPrint] = decode_print;
}

}  // namespace fattn::vgpu
