// Compiling at run time on a machine without a GPU: PTX and machine code from one compilation,
// logs, symbols, targets, and the library's own kernels from their embedded sources.
#include "cuda/runtime/nvrtc.h"

#include <gtest/gtest.h>

#include "cuda/nvrtc_of_toolkit.h"
#include "cuda/runtime/embedded.h"
#include "cuda/runtime/kernel_packs.h"
#include "cuda/runtime/kernel_store.h"
#include "cuda/temporary_folder.h"
#include "support/sampling.h"

namespace fattn::cuda {
namespace {

Program scale_program() {
    Program program;
    program.source = {
        "scale.cu",
        "#include \"factor.h\"\n"
        "extern \"C\" __global__ void scale(float* x) { x[threadIdx.x] *= kFactor; }\n"
        "template <int N> __global__ void add(int* x) { *x += N; }\n"};
    program.headers = {{"factor.h", "constexpr float kFactor = 2.0f;\n"}};
    program.options = {"--std=c++20"};
    program.target = "sm_80";
    program.expressions = {"add<3>"};
    return program;
}

TEST(NvrtcLoader, AMissingLibraryIsToldInWords) {
    std::unique_ptr<Nvrtc> nvrtc;
    const Status named = Nvrtc::load("/nowhere/libnvrtc_of_nobody.so", 12, &nvrtc);
    EXPECT_EQ(named.code(), StatusCode::kDeviceUnavailable);
    EXPECT_NE(named.message().find("named by FATTN_NVRTC"), std::string::npos) << named.message();
    const Status other = Nvrtc::load("libm.so.6", 12, &nvrtc);
    EXPECT_EQ(other.code(), StatusCode::kDeviceUnavailable);
    EXPECT_NE(other.message().find("lacks nvrtcGetErrorString, nvrtcVersion"), std::string::npos)
        << other.message();
}

TEST(Nvrtc, PtxAndMachineCodeComeFromOneCompilation) {
    FATTN_NEEDS_NVRTC(nvrtc);
    CompiledProgram compiled;
    const Status status = nvrtc->compile(scale_program(), &compiled);
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_NE(compiled.ptx.find(".visible .entry scale("), std::string::npos);
    EXPECT_EQ(compiled.cubin.substr(0, 4), "\177ELF");
    ASSERT_EQ(compiled.symbols.size(), 1U);
    EXPECT_NE(compiled.ptx.find(compiled.symbols[0]), std::string::npos) << compiled.symbols[0];
    EXPECT_TRUE(compiled.log.empty()) << compiled.log;
}

TEST(Nvrtc, AVirtualTargetGivesPtxAlone) {
    FATTN_NEEDS_NVRTC(nvrtc);
    Program program = scale_program();
    program.target = "compute_80";
    CompiledProgram compiled;
    ASSERT_TRUE(nvrtc->compile(program, &compiled).ok());
    EXPECT_FALSE(compiled.ptx.empty());
    EXPECT_TRUE(compiled.cubin.empty());
}

TEST(Nvrtc, AWrongProgramComesBackWithTheCompilersWords) {
    FATTN_NEEDS_NVRTC(nvrtc);
    Program program = scale_program();
    program.source.text += "nonsense here;\n";
    CompiledProgram compiled;
    Status status = nvrtc->compile(program, &compiled);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find("scale.cu(4)"), std::string::npos) << status.message();
    EXPECT_NE(status.message().find("NVRTC_ERROR_COMPILATION"), std::string::npos);

    program = scale_program();
    program.headers.clear();
    status = nvrtc->compile(program, &compiled);
    EXPECT_NE(status.message().find("factor.h"), std::string::npos) << status.message();

    program = scale_program();
    program.options = {"--no-such-option"};
    status = nvrtc->compile(program, &compiled);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find("INVALID_OPTION"), std::string::npos) << status.message();
}

TEST(Nvrtc, WarningsAreKept) {
    FATTN_NEEDS_NVRTC(nvrtc);
    Program program = scale_program();
    program.source.text += "extern \"C\" __global__ void idle() { int unused = 3; }\n";
    CompiledProgram compiled;
    ASSERT_TRUE(nvrtc->compile(program, &compiled).ok());
    EXPECT_NE(compiled.log.find("unused"), std::string::npos) << compiled.log;
}

TEST(Nvrtc, TheTargetIsTheDevicesOwnOrTheNewestKnownPtx) {
    FATTN_NEEDS_NVRTC(nvrtc);
    const int newest = nvrtc->architectures().back();
    std::string target;
    ASSERT_TRUE(nvrtc->target_for(80, false, &target).ok());
    EXPECT_EQ(target, "sm_80");
    ASSERT_TRUE(nvrtc->target_for(90, true, &target).ok());
    EXPECT_EQ(target, "sm_90a");
    ASSERT_TRUE(nvrtc->target_for(newest + 30, false, &target).ok());
    EXPECT_EQ(target, "compute_" + std::to_string(newest));
    EXPECT_EQ(nvrtc->target_for(newest + 30, true, &target).code(), StatusCode::kUnsupported);
    const Status too_old = nvrtc->target_for(20, false, &target);
    EXPECT_EQ(too_old.code(), StatusCode::kUnsupported);
    EXPECT_NE(too_old.message().find("the device is sm_20"), std::string::npos);
}

TEST(Nvrtc, ASecondCompilationComesFromTheCache) {
    FATTN_NEEDS_NVRTC(nvrtc);
    const TemporaryFolder folder;
    ProgramCache cache;
    ASSERT_TRUE(ProgramCache::open(folder.path(), kDefaultCacheBytes, &cache).ok());
    CompiledProgram first, second;
    bool from_cache = true;
    ASSERT_TRUE(compile_cached(*nvrtc, &cache, scale_program(), &first, &from_cache).ok());
    EXPECT_FALSE(from_cache);
    ASSERT_TRUE(compile_cached(*nvrtc, &cache, scale_program(), &second, &from_cache).ok());
    EXPECT_TRUE(from_cache);
    EXPECT_EQ(first.ptx, second.ptx);
    EXPECT_EQ(first.cubin, second.cubin);
    EXPECT_EQ(first.symbols, second.symbols);
    ASSERT_TRUE(compile_cached(*nvrtc, nullptr, scale_program(), &second, &from_cache).ok());
    EXPECT_FALSE(from_cache) << "without a cache everything is compiled";
}

// All of them in full, else every ninth: the build compiles all with the same compiler, and the leg
// cuda_core five with NVRTC.
TEST(Nvrtc, DeviceSourcesCompileFromTheLibraryAlone) {
    FATTN_NEEDS_NVRTC(nvrtc);
    ImagePack sources;
    ASSERT_TRUE(ImagePack::open(embedded_sources(), "sources", &sources).ok());
    const std::string folder = "cuda/device/", ending = ".cu";
    test::CasePicker picker(9);
    for (const ImageEntry& entry : sources.entries()) {
        if (!entry.name.starts_with(folder) || !entry.name.ends_with(ending)) continue;
        if (!picker.next()) continue;
        const std::string name =
            entry.name.substr(folder.size(), entry.name.size() - folder.size() - ending.size());
        Program program;
        ASSERT_TRUE(source_program(sources, name, &program).ok());
        // Machine code would take minutes more and is made by the build in the same way.
        program.target = name.starts_with("sm90/") ? "compute_90a" : "compute_80";
        CompiledProgram compiled;
        const Status status = nvrtc->compile(program, &compiled);
        EXPECT_TRUE(status.ok()) << status.message();
        EXPECT_NE(compiled.ptx.find(".visible .entry "), std::string::npos) << name;
    }
}

}  // namespace
}  // namespace fattn::cuda
