// Programmatic dependents: what a grid did is known to those that may overlap it behind
// griddepcontrol.wait alone.
#include <gtest/gtest.h>

#include "test/device.h"

namespace fattn::vgpu::test {
namespace {

class Dependents : public ::testing::Test {
  protected:
    // A grid of one block of 64 threads, launched as a dependent of those that ran before; %t is
    // the thread, %v and %w the addresses of its words of two arrays.
    std::optional<Fault> run(const std::string& body, bool programmatic = true) {
        const std::string text =
            R"(.version 8.4
.target sm_90a
.address_size 64
.visible .entry grid)" +
            std::to_string(history_.size()) +
            R"((.param .u64 first, .param .u64 second) {
    .reg .b32 %t, %r<9>; .reg .b64 %v, %w, %o, %a, %b; .reg .pred %p<3>;
    ld.param.u64 %a, [first]; ld.param.u64 %b, [second];
    mov.u32 %t, %tid.x; mul.wide.u32 %o, %t, 4;
    add.u64 %v, %a, %o; add.u64 %w, %b, %o;
)" + body + "\n    ret;\n}\n";
        modules_.push_back(Module::load(text, "dependents.ptx", kSm90a));
        Launch launch;
        launch.module = modules_.back().get();
        launch.entry = &modules_.back()->entries()[0];
        launch.block = {64};
        Arguments arguments;
        arguments.add(first_).add(second_);
        launch.parameters = arguments.bytes();
        if (programmatic) launch.before = history_;
        launch.keep_trace = true;
        LaunchResult result = run_grid(launch, memory_);
        if (!programmatic) history_.clear();
        history_.insert(history_.begin(), result.trace);
        return result.fault;
    }

    void expect_silence(const std::optional<Fault>& fault) { EXPECT_FALSE(fault) << fault->text(); }
    void expect_race(const std::optional<Fault>& fault, const char* words) {
        ASSERT_TRUE(fault);
        EXPECT_EQ(fault->kind, FaultKind::kRace) << fault->text();
        EXPECT_NE(fault->message.find(words), std::string::npos) << fault->text();
        EXPECT_NE(fault->message.find("griddepcontrol.wait"), std::string::npos) << fault->text();
    }

    Memory memory_;
    std::vector<std::unique_ptr<Module>> modules_;
    std::vector<std::shared_ptr<const GridTrace>> history_;
    uint64_t first_ = memory_.upload(std::vector<uint32_t>(64, 1));
    uint64_t second_ = memory_.upload(std::vector<uint32_t>(64, 2));
};

constexpr const char* kWritesFirst = "griddepcontrol.launch_dependents; st.global.u32 [%v], %t;";
constexpr const char* kReadsFirst = "ld.global.u32 %r0, [%v];";
constexpr const char* kCopies = "ld.global.u32 %r0, [%v]; st.global.u32 [%w], %r0;";

TEST_F(Dependents, ReadBehindAWaitWhatTheGridBeforeWrote) {
    expect_silence(run(kWritesFirst, false));
    expect_silence(run(std::string("griddepcontrol.wait;") + kCopies));
    EXPECT_EQ(memory_.download<uint32_t>(second_)[63], 63u);
}

TEST_F(Dependents, WithoutAWaitTheReadIsARace) {
    expect_silence(run(kWritesFirst, false));
    expect_race(run(kCopies), "reads device memory");
}

TEST_F(Dependents, ThatAreNoneNeedNoWait) {
    expect_silence(run(kWritesFirst, false));
    expect_silence(run(kCopies, false));
}

TEST_F(Dependents, OneThreadMayWaitForABlock) {
    const std::string one = "setp.ne.u32 %p0, %t, 0; @!%p0 griddepcontrol.wait; ";
    expect_silence(run(kWritesFirst, false));
    expect_silence(run(one + "bar.sync 0;" + kCopies));
}

TEST_F(Dependents, OneThreadsWaitWithoutABarrierIsItsOwn) {
    expect_silence(run(kWritesFirst, false));
    expect_race(run(std::string("setp.ne.u32 %p0, %t, 0; @!%p0 griddepcontrol.wait; ") + kCopies),
                "wrote");
}

TEST_F(Dependents, BeforeTheWaitMayTouchWhatTheGridBeforeLeftAlone) {
    expect_silence(run(kWritesFirst, false));
    expect_silence(run("ld.global.u32 %r0, [%w]; griddepcontrol.wait; st.global.u32 [%v], %r0;"));
}

TEST_F(Dependents, MustNotOverwriteWhatTheGridBeforeReads) {
    expect_silence(run(kReadsFirst, false));
    expect_race(run(kWritesFirst), "read;");
}

TEST_F(Dependents, MayReadWhatTheGridBeforeReads) {
    expect_silence(run(kReadsFirst, false));
    expect_silence(run(kReadsFirst));
}

TEST_F(Dependents, MayAddToTheSameWords) {
    expect_silence(run("red.global.add.u32 [%v], 1;", false));
    expect_silence(run("red.global.add.u32 [%v], 1;"));
}

// The second grid may end before the first unless it has waited for it.
TEST_F(Dependents, AWaitIsForTheGridBeforeAlone) {
    expect_silence(run(kWritesFirst, false));
    expect_silence(run("griddepcontrol.launch_dependents; ld.global.u32 %r0, [%w];"));
    expect_race(run(std::string("griddepcontrol.wait;") + kReadsFirst), "wrote");
}

TEST_F(Dependents, AWaitIsForAllThatTheGridBeforeHasWaitedFor) {
    expect_silence(run(kWritesFirst, false));
    expect_silence(run("griddepcontrol.launch_dependents; griddepcontrol.wait;"));
    expect_silence(run(std::string("griddepcontrol.wait;") + kReadsFirst));
}

// What a grid before wrote may still have been written when this one began: a non-coherent load may
// find what lay there, even behind the wait.
TEST_F(Dependents, NonCoherentLoadsAreOfWhatNoGridBeforeWrote) {
    expect_silence(run(kWritesFirst, false));
    expect_silence(run("griddepcontrol.wait; ld.global.nc.u32 %r0, [%w];"));
    const auto fault = run("griddepcontrol.wait; ld.global.nc.u32 %r0, [%v];");
    ASSERT_TRUE(fault);
    EXPECT_EQ(fault->kind, FaultKind::kRace);
    EXPECT_NE(fault->message.find("non-coherent"), std::string::npos) << fault->text();
}

TEST_F(Dependents, ScopesThatHoldNoOtherGridAreNone) {
    expect_silence(run("red.relaxed.cta.global.add.u32 [%v], 1;", false));
    expect_race(run("red.relaxed.gpu.global.add.u32 [%v], 1;"), "wrote");
}

TEST_F(Dependents, WideAndNarrowWordsAreToldApart) {
    expect_silence(run("st.global.u8 [%v+1], %t;", false));
    expect_silence(run("ld.global.u8 %r0, [%v];"));
    expect_race(run("and.b32 %r1, %t, 3; setp.ne.u32 %p0, %r1, 0; "
                    "@!%p0 ld.global.v4.u32 {%r2, %r3, %r4, %r5}, [%v];"),
                "wrote");
}

}  // namespace
}  // namespace fattn::vgpu::test
