// What a grid did wrong, in parts and as a text. Made by the interpreter, shown by the driver and
// the tests.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace fattn::vgpu {

struct Dim3 {
    uint32_t x = 1;
    uint32_t y = 1;
    uint32_t z = 1;

    uint64_t count() const { return uint64_t{x} * y * z; }
    bool operator==(const Dim3&) const = default;
};

enum class FaultKind {
    kOutOfBounds,
    kUseAfterFree,
    kMisaligned,
    kReadOnly,
    kUninitialised,
    kRace,  // two accesses to a word, at least one a write, with nothing that orders them
    kMissingProxyFence,  // ordered, but not for the async proxy
    kInFlight,           // touches what an asynchronous operation has not finished with
    kDivergence,         // an .aligned or .sync instruction without all the lanes that it names
    kBarrier,            // misuse of bar, barrier.cluster or mbarrier
    kDeadlock,
    kLivelock,
    kTrap,     // trap, brkpt or a failed device-side assert
    kIllegal,  // operands that the instruction does not allow, as a bad descriptor or tensor map
    kLaunch,   // the launch itself is impossible; nothing ran
    kNotModelled,  // legal, but not offered by this interpreter; named in the message
};

std::string_view to_string(FaultKind kind);

struct Fault {
    FaultKind kind = FaultKind::kTrap;
    std::string kernel;
    std::string ptx_file;
    uint32_t ptx_line = 0;  // 1-based, in ptx_file
    std::string instruction;
    std::string source_file;  // of .loc; empty without -lineinfo
    uint32_t source_line = 0;
    Dim3 block;
    Dim3 thread;
    uint64_t address = 0;  // of an access, else 0
    std::string message;   // one sentence: what was asked, what was found, what is allowed
    std::string earlier;  // the access that it conflicts with, or the origin of an undefined value;
                          // may be empty

    std::string text() const;  // all of it, several lines
};

}  // namespace fattn::vgpu
