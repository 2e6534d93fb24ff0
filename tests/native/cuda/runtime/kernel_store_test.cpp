// Modules, launches and the search for images, on the virtual GPU with kernels that NVRTC compiles.
#include "cuda/runtime/kernel_store.h"

#include <gtest/gtest.h>

#include <vector>

#include "backend/text.h"
#include "cuda/graph_capture.h"
#include "cuda/nvrtc_of_toolkit.h"
#include "cuda/runtime/launch.h"
#include "cuda/runtime/memory.h"
#include "cuda/temporary_folder.h"
#include "cuda/virtual_device.h"

namespace fattn::cuda {
namespace {

/// y[i] = a * x[i] + y[i], and a kernel that asks for shared memory.
Program saxpy_program() {
    Program program;
    program.source = {
        "cuda/device/saxpy.cu",
        "extern \"C\" __global__ void saxpy(float a, const float* x, float* y, int n) {\n"
        "    const int i = blockIdx.x * blockDim.x + threadIdx.x;\n"
        "    if (i < n) y[i] = a * x[i] + y[i];\n"
        "}\n"
        "extern \"C\" __global__ void __launch_bounds__(128) shared_user(int* out) {\n"
        "    extern __shared__ int s[];\n"
        "    s[threadIdx.x] = threadIdx.x;\n"
        "    __syncthreads();\n"
        "    out[threadIdx.x] = s[127 - threadIdx.x];\n"
        "}\n"};
    program.options = {"--std=c++20"};
    program.target = "sm_80";
    return program;
}

class KernelStoreTest : public OnVirtualDevice {
  protected:
    void SetUp() override {
        OnVirtualDevice::SetUp();
        if (IsSkipped() || HasFatalFailure()) return;
        FATTN_NEEDS_NVRTC(found);
        nvrtc = found;
        static const CompiledProgram once = [&] {
            CompiledProgram made;
            const Status status = found->compile(saxpy_program(), &made);
            EXPECT_TRUE(status.ok()) << status.message();
            return made;
        }();
        compiled = once;
    }

    /// Runs saxpy on the device and compares.
    void expect_saxpy(const Function& function) {
        constexpr int kCount = 1000;
        std::vector<float> x(kCount), y(kCount, 1.0F);
        for (int i = 0; i < kCount; ++i) x[static_cast<std::size_t>(i)] = static_cast<float>(i);
        Stream stream;
        DeviceMemory d_x, d_y;
        ASSERT_STATUS_OK(Stream::create(device, 0, &stream));
        ASSERT_STATUS_OK(DeviceMemory::allocate(device, kCount * sizeof(float), &d_x));
        ASSERT_STATUS_OK(DeviceMemory::allocate(device, kCount * sizeof(float), &d_y));
        ASSERT_STATUS_OK(copy_to_device(stream, d_x.address(), x.data(), d_x.bytes()));
        ASSERT_STATUS_OK(copy_to_device(stream, d_y.address(), y.data(), d_y.bytes()));
        float a = 2.0F;
        DevicePointer p_x = d_x.address(), p_y = d_y.address();
        int n = kCount;
        void* arguments[] = {&a, &p_x, &p_y, &n};
        ASSERT_STATUS_OK(
            launch(function, {.grid = {8, 1, 1}, .block = {128, 1, 1}}, stream, arguments));
        a = 0.0F;  // arguments were copied by the launch
        ASSERT_STATUS_OK(copy_to_host(stream, y.data(), d_y.address(), d_y.bytes()));
        ASSERT_STATUS_OK(stream.synchronize());
        for (int i = 0; i < kCount; ++i) {
            ASSERT_EQ(y[static_cast<std::size_t>(i)], 2.0F * static_cast<float>(i) + 1.0F) << i;
        }
    }

    const Nvrtc* nvrtc = nullptr;
    CompiledProgram compiled;
};

TEST_F(KernelStoreTest, AModuleLoadsAndItsKernelRuns) {
    std::unique_ptr<const Module> module;
    ASSERT_STATUS_OK(Module::load(device, "saxpy", compiled.ptx, &module));
    Function function;
    ASSERT_STATUS_OK(module->function("saxpy", &function));
    EXPECT_GT(function.registers(), 0);
    EXPECT_EQ(function.local_bytes(), 0);
    int blocks = 0;
    ASSERT_STATUS_OK(function.occupancy(128, 0, &blocks));
    EXPECT_GE(blocks, 1);
    expect_saxpy(function);
    EXPECT_STATUS(module->function("nobody", &function), kInvalidArgument,
                  "module saxpy has no kernel named nobody");
}

TEST_F(KernelStoreTest, ALaunchIsCapturedAndReplayed) {
    std::unique_ptr<const Module> module;
    ASSERT_STATUS_OK(Module::load(device, "saxpy", compiled.ptx, &module));
    Function function;
    ASSERT_STATUS_OK(module->function("saxpy", &function));
    Stream stream;
    DeviceMemory x, y;
    ASSERT_STATUS_OK(Stream::create(device, 0, &stream));
    ASSERT_STATUS_OK(DeviceMemory::allocate(device, sizeof(float), &x));
    ASSERT_STATUS_OK(DeviceMemory::allocate(device, sizeof(float), &y));
    const float one = 1.0F, zero = 0.0F;
    ASSERT_STATUS_OK(copy_to_device(stream, x.address(), &one, sizeof(one)));
    ASSERT_STATUS_OK(copy_to_device(stream, y.address(), &zero, sizeof(zero)));
    ASSERT_STATUS_OK(stream.synchronize());

    float a = 3.0F;
    DevicePointer p_x = x.address(), p_y = y.address();
    int n = 1;
    void* arguments[] = {&a, &p_x, &p_y, &n};
    GraphCapture capture(stream);
    ASSERT_EQ(capture.begin(), Result::kSuccess);
    ASSERT_STATUS_OK(launch(function, {.grid = {1, 1, 1}, .block = {32, 1, 1}}, stream, arguments));
    ASSERT_EQ(capture.end(), Result::kSuccess);
    for (int i = 0; i < 3; ++i) ASSERT_EQ(capture.replay(), Result::kSuccess);
    float result = -1.0F;
    ASSERT_STATUS_OK(copy_to_host(stream, &result, y.address(), sizeof(result)));
    ASSERT_STATUS_OK(stream.synchronize());
    EXPECT_EQ(result, 9.0F) << "captured, not run; then run three times";
}

TEST_F(KernelStoreTest, SharedMemoryIsAllowedUpToTheDevicesLimit) {
    std::unique_ptr<const Module> module;
    ASSERT_STATUS_OK(Module::load(device, "saxpy", compiled.ptx, &module));
    Function function;
    ASSERT_STATUS_OK(module->function("shared_user", &function));
    const int most = device->properties().shared_bytes_per_block;
    EXPECT_STATUS(function.allow_dynamic_shared(most + 1), kUnsupported,
                  text("needs ", most + 1,
                       " bytes of dynamic shared memory a block; CUDA device 0 "
                       "allows ",
                       most));
    ASSERT_STATUS_OK(function.allow_dynamic_shared(most));

    Stream stream;
    DeviceMemory out;
    ASSERT_STATUS_OK(Stream::create(device, 0, &stream));
    ASSERT_STATUS_OK(DeviceMemory::allocate(device, 128 * sizeof(int), &out));
    DevicePointer pointer = out.address();
    void* arguments[] = {&pointer};
    ASSERT_STATUS_OK(launch(function,
                            {.grid = {1, 1, 1},
                             .block = {128, 1, 1},
                             .dynamic_shared_bytes = static_cast<unsigned>(most)},
                            stream, arguments));
    int back[128] = {};
    ASSERT_STATUS_OK(copy_to_host(stream, back, out.address(), sizeof(back)));
    ASSERT_STATUS_OK(stream.synchronize());
    for (int i = 0; i < 128; ++i) EXPECT_EQ(back[i], 127 - i);
    EXPECT_STATUS(launch(function, {.grid = {2, 1, 1}, .block = {128, 1, 1}, .cluster = {2, 1, 1}},
                         stream, arguments),
                  kUnsupported, "launched in clusters of 2 x 1 x 1; CUDA device 0");
}

TEST_F(KernelStoreTest, ARefusedImageSaysWhy) {
    std::unique_ptr<const Module> module;
    EXPECT_STATUS(
        Module::load(device, "broken", ".version 8.4\n.target sm_80\nnonsense\n", &module),
        kUnsupported, "loading module broken failed");
    EXPECT_EQ(module, nullptr);
}

TEST_F(KernelStoreTest, MachineCodeThatTheDriverRefusesMakesWayForPtx) {
    ASSERT_FALSE(compiled.cubin.empty());
    std::unique_ptr<const Module> module;
    EXPECT_EQ(Module::load(device, "saxpy", compiled.cubin, &module).code(),
              StatusCode::kUnsupported)
        << "the virtual GPU runs PTX alone";
    ASSERT_STATUS_OK(load_compiled(device, "saxpy", compiled, &module));
    Function function;
    ASSERT_STATUS_OK(module->function("saxpy", &function));
    expect_saxpy(function);
}

/// Packs made of chosen images, in place of those of the process.
struct OwnPacks {
    OwnPacks(const std::vector<Image>& images, const std::vector<Image>& sources)
        : image_bytes(write_pack(images)), source_bytes(write_pack(sources)) {
        EXPECT_TRUE(ImagePack::open(image_bytes, "images", &packs.images).ok());
        EXPECT_TRUE(ImagePack::open(source_bytes, "sources", &packs.sources).ok());
    }
    std::string image_bytes, source_bytes;
    KernelPacks packs;
};

TEST_F(KernelStoreTest, PrebuiltImagesComeFirst) {
    const OwnPacks own({{ImageKind::kCubin, "saxpy", "sm_80", compiled.cubin},
                        {ImageKind::kPtx, "saxpy", "compute_80", compiled.ptx}},
                       {});
    KernelStore store(device, {.packs = &own.packs});
    EXPECT_EQ(store.origin_of("saxpy"), "");
    Function function;
    ASSERT_STATUS_OK(store.function("saxpy", "saxpy", &function));
    EXPECT_EQ(store.origin_of("saxpy"), "prebuilt compute_80");
    expect_saxpy(function);
}

TEST_F(KernelStoreTest, SourcesAreCompiledOnceAndThenCached) {
    const TemporaryFolder folder;
    ProgramCache cache;
    ASSERT_STATUS_OK(ProgramCache::open(folder.path(), kDefaultCacheBytes, &cache));
    const OwnPacks own(
        {}, {{ImageKind::kSource, "cuda/device/saxpy.cu", "", saxpy_program().source.text}});
    const ImageOrigins origins{.packs = &own.packs, .nvrtc = nvrtc, .cache = &cache};
    KernelStore first(device, origins), second(device, origins);
    Function function;
    ASSERT_STATUS_OK(first.function("saxpy", "saxpy", &function));
    EXPECT_EQ(first.origin_of("saxpy"), "NVRTC sm_80");
    expect_saxpy(function);
    ASSERT_STATUS_OK(second.function("saxpy", "saxpy", &function));
    EXPECT_EQ(second.origin_of("saxpy"), "cache sm_80");
    expect_saxpy(function);
}

TEST_F(KernelStoreTest, WithoutAnyImageEachReasonIsGiven) {
    const OwnPacks own({{ImageKind::kCubin, "saxpy", "sm_90a", "x"}},
                       {{ImageKind::kSource, "cuda/device/saxpy.cu", "", "text"}});
    KernelStore store(device, {.packs = &own.packs,
                               .nvrtc = nullptr,
                               .nvrtc_status = {StatusCode::kDeviceUnavailable, "no NVRTC here"},
                               .cache = nullptr,
                               .cache_status = {}});
    Function function;
    EXPECT_STATUS(store.function("saxpy", "saxpy", &function), kUnsupported,
                  "prebuilt: images for sm_80 are none among those held: sm_90a; from source: no "
                  "NVRTC here");
    EXPECT_STATUS(store.function("other", "x", &function), kUnsupported,
                  "the library holds no source cuda/device/other.cu");
}

}  // namespace
}  // namespace fattn::cuda
