// A pattern of threads that work together, run as it should be and with parts of it removed. Used
// by the tests of the memory model and of bulk copies.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>

#include "test/device.h"

namespace fattn::vgpu::test {

using Kind = FaultKind;

struct Removal {
    const char* what;  // the text that goes, once; the part behind "=>" comes in its place
    std::vector<Kind> found_as;
};

struct Pattern {
    const char* name;
    const char* target;  // sm_80 or sm_90a
    const char* shared;  // declarations
    const char*
        body;  // %t thread, %c block, %g an array of zeros, %q where the thread's result %d goes
    Dim3 grid, block;
    uint32_t (*expected)(uint32_t block, uint32_t thread);
    std::vector<Removal> removals;
    Dim3 cluster = {};
};

inline std::string text_of(const Pattern& pattern, const std::string& body) {
    return std::string(".version 8.4\n.target ") + pattern.target + "\n.address_size 64\n" +
           pattern.shared + R"(
.visible .entry run(.param .u64 array, .param .u64 out) {
    .reg .b32 %t, %c, %n, %d, %i, %s, %r<20>; .reg .b64 %g, %q, %o, %u<9>; .reg .pred %p<9>;
    ld.param.u64 %g, [array]; ld.param.u64 %q, [out];
    mov.u32 %t, %tid.x; mov.u32 %c, %ctaid.x; mov.u32 %n, %ntid.x;
    mad.lo.u32 %r0, %c, %n, %t; mul.wide.u32 %o, %r0, 4; add.u64 %q, %q, %o;
    mov.u32 %d, 0;
)" + body + "\n    st.global.b32 [%q], %d;\n    ret;\n}\n";
}

inline constexpr uint32_t kArrayWords = 256;

inline std::optional<Fault> run(const Pattern& pattern, const std::string& body,
                                const LaunchOptions& options, bool compare) {
    Memory memory;
    Kernel kernel(memory, text_of(pattern, body));
    const uint64_t out = memory.allocate(pattern.grid.count() * pattern.block.count() * 4);
    const uint64_t array = memory.upload(std::vector<uint32_t>(kArrayWords, 0));
    const LaunchResult result =
        kernel.run(memory, pattern.grid, pattern.block, Arguments().add(array).add(out), 0, options,
                   pattern.cluster);
    if (result.fault || !compare) return result.fault;
    const auto got = memory.download<uint32_t>(out);
    for (uint32_t i = 0; i < got.size(); ++i) {
        EXPECT_EQ(got[i], pattern.expected(i / pattern.block.x, i % pattern.block.x))
            << pattern.name << " block " << i / pattern.block.x << " thread "
            << i % pattern.block.x;
    }
    return {};
}

inline std::vector<LaunchOptions> all_options() {
    std::vector<LaunchOptions> made;
    for (const Asynchrony when : {Asynchrony::kEarly, Asynchrony::kLate, Asynchrony::kSeeded}) {
        for (uint64_t seed = 1; seed <= 3; ++seed) {
            LaunchOptions options;
            options.asynchrony = when;
            options.seed = seed;
            options.livelock_instructions = 20'000;
            made.push_back(options);
        }
    }
    return made;
}

inline std::string without(std::string body, const std::string& what) {
    const size_t arrow = what.find("=>");
    const std::string old = what.substr(0, arrow);
    const size_t at = body.find(old);
    EXPECT_NE(at, std::string::npos) << what;
    if (at == std::string::npos) return body;
    body.erase(at, old.size());
    if (arrow != std::string::npos) body.insert(at, what.substr(arrow + 2));
    return body;
}

inline void check(const Pattern& pattern) {
    for (const LaunchOptions& options : all_options()) {
        const auto fault = run(pattern, pattern.body, options, true);
        EXPECT_FALSE(fault) << pattern.name << "\n" << fault->text();
        for (const Removal& removal : pattern.removals) {
            const auto found = run(pattern, without(pattern.body, removal.what), options, false);
            EXPECT_TRUE(found) << pattern.name << " without '" << removal.what << "'";
            if (!found) continue;
            EXPECT_NE(std::find(removal.found_as.begin(), removal.found_as.end(), found->kind),
                      removal.found_as.end())
                << pattern.name << " without '" << removal.what << "'\n"
                << found->text();
        }
    }
}

}  // namespace fattn::vgpu::test
