// Launches: results, the checks before a kernel runs, faults while it runs, occupancy, statistics.
#include <unistd.h>

#include <cstdio>
#include <fstream>

#include "driver/ptx_texts.h"
#include "driver/virtual_driver.h"

namespace fattn::vgpu::cuda {
namespace {

class Launches : public DriverTest {
  protected:
    void SetUp() override {
        DriverTest::SetUp();
        ASSERT_OK(api().cuModuleLoadData(&module_, kKernels));
    }

    CUfunction function(const char* name) {
        CUfunction found = nullptr;
        EXPECT_OK(api().cuModuleGetFunction(&found, module_, name));
        return found;
    }

    struct Shape {
        unsigned grid = 1;
        unsigned block = 32;
        unsigned shared_bytes = 0;
        CUstream stream = nullptr;
    };

    CUresult launch(const char* name, const Shape& shape, std::vector<void*> parameters) {
        return api().cuLaunchKernel(function(name), shape.grid, 1, 1, shape.block, 1, 1,
                                    shape.shared_bytes, shape.stream, parameters.data(), nullptr);
    }

    // One block of 128 threads that may begin before the kernel before it has ended.
    CUresult launch_dependent(const char* name, void** parameters, CUstream on = nullptr) {
        CUlaunchAttribute attribute{};
        attribute.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
        attribute.value.programmaticStreamSerializationAllowed = 1;
        CUlaunchConfig config{};
        config.gridDimX = config.gridDimY = config.gridDimZ = 1;
        config.blockDimX = 128;
        config.blockDimY = config.blockDimZ = 1;
        config.attrs = &attribute;
        config.numAttrs = 1;
        config.hStream = on;
        return api().cuLaunchKernelEx(&config, function(name), parameters, nullptr);
    }

    CUresult fill(CUdeviceptr out, uint32_t value, uint32_t count, CUstream on = nullptr) {
        return launch("fill", {.grid = (count + 31) / 32, .stream = on}, {&out, &value, &count});
    }

    uint32_t word(CUdeviceptr address) {
        uint32_t value = 0;
        EXPECT_OK(api().cuMemcpyDtoH_v2(&value, address, 4));
        return value;
    }

    CUmodule module_ = nullptr;
};

TEST_F(Launches, KernelsRunInStreamOrder) {
    for (const char* order : {"early", "late", "seeded"}) {
        configure(std::string("order=") + order);
        const CUstream own = stream();
        CUdeviceptr out = alloc(400);
        uint32_t count = 100;
        std::vector<uint32_t> back(100);
        ASSERT_OK(fill(out, 14, 100, own));
        ASSERT_OK(launch("scale", {.block = 128, .stream = own}, {&out, &count}));
        ASSERT_OK(api().cuMemcpyDtoHAsync_v2(back.data(), out, 400, own));
        ASSERT_OK(api().cuStreamSynchronize(own));
        EXPECT_EQ(back, std::vector<uint32_t>(100, 42));
    }
}

TEST_F(Launches, AMissingEventWaitBeforeAKernelShows) {
    const CUstream producer = stream(), consumer = stream();
    const CUdeviceptr block = alloc(4);
    ASSERT_OK(fill(block, 1, 1, producer));
    uint32_t* const out = pinned(1);
    ASSERT_OK(api().cuMemcpyDtoHAsync_v2(out, block, 4, consumer));
    EXPECT_FAILS(api().cuStreamSynchronize(consumer), CUDA_ERROR_LAUNCH_FAILED,
                 "that nothing has written");
}

// The kernels of these texts do not wait for the grid before.
TEST_F(Launches, ProgrammaticDependentsMustWaitThemselves) {
    for (const char* order : {"early", "late"}) {
        configure(std::string("order=") + order);
        CUdeviceptr out = alloc(400);
        uint32_t count = 100;
        void* parameters[] = {&out, &count};
        // What stands between has to have ended, and so has what is before it.
        ASSERT_OK(fill(out, 14, 100));
        ASSERT_OK(api().cuMemsetD32Async(out, 7, 50, nullptr));
        ASSERT_OK(launch_dependent("scale", parameters));
        EXPECT_EQ(word(out), 21u);
        ASSERT_OK(launch_dependent("scale", parameters));
        EXPECT_EQ(word(out), 63u);
    }
    configure("order=late");
    CUdeviceptr out = alloc(400);
    uint32_t count = 100;
    void* parameters[] = {&out, &count};
    ASSERT_OK(fill(out, 14, 100));
    ASSERT_OK(launch_dependent("scale", parameters));
    EXPECT_FAILS(api().cuCtxSynchronize(), CUDA_ERROR_LAUNCH_FAILED,
                 "griddepcontrol.wait must stand before this");
}

TEST_F(Launches, ProgrammaticDependentsInGraphsMustWaitThemselves) {
    const CUstream own = stream();
    CUdeviceptr out = alloc(400);
    uint32_t count = 100;
    void* parameters[] = {&out, &count};
    const auto instantiate = [&](bool fills_between) {
        EXPECT_OK(api().cuStreamBeginCapture_v2(own, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
        EXPECT_OK(fill(out, 14, 100, own));
        if (fills_between) {
            EXPECT_OK(api().cuMemsetD32Async(out, 7, 50, own));
        }
        EXPECT_OK(launch_dependent("scale", parameters, own));
        CUgraph graph = nullptr;
        EXPECT_OK(api().cuStreamEndCapture(own, &graph));
        CUgraphExec exec = nullptr;
        EXPECT_OK(api().cuGraphInstantiateWithFlags(&exec, graph, 0));
        return exec;
    };
    // What stands between has to have ended, replay after replay.
    const CUgraphExec with_fill = instantiate(true);
    for (int replay = 0; replay < 2; ++replay) {
        ASSERT_OK(api().cuGraphLaunch(with_fill, own));
        ASSERT_OK(api().cuStreamSynchronize(own));
        EXPECT_EQ(word(out), 21u);
        EXPECT_EQ(word(out + 396), 42u);
    }
    ASSERT_OK(api().cuGraphLaunch(instantiate(false), own));
    EXPECT_FAILS(api().cuStreamSynchronize(own), CUDA_ERROR_LAUNCH_FAILED,
                 "griddepcontrol.wait must stand before this");
}

TEST_F(Launches, ParametersComeAsAListOrAsABuffer) {
    const CUdeviceptr out = alloc(4);
    struct {
        CUdeviceptr out;
        uint32_t value, count;
    } buffer = {out, 9, 1};
    size_t bytes = sizeof(buffer);
    void* extra[] = {kLaunchParamBufferPointer, &buffer, kLaunchParamBufferSize, &bytes,
                     kLaunchParamEnd};
    ASSERT_OK(
        api().cuLaunchKernel(function("fill"), 1, 1, 1, 32, 1, 1, 0, nullptr, nullptr, extra));
    EXPECT_EQ(word(out), 9u);
    bytes = 8;
    EXPECT_FAILS(
        api().cuLaunchKernel(function("fill"), 1, 1, 1, 32, 1, 1, 0, nullptr, nullptr, extra),
        CUDA_ERROR_INVALID_VALUE, "buffer has 8 bytes; the kernel takes 16");
    void* list[] = {&buffer.out, nullptr, &buffer.count};
    EXPECT_FAILS(
        api().cuLaunchKernel(function("fill"), 1, 1, 1, 32, 1, 1, 0, nullptr, list, nullptr),
        CUDA_ERROR_INVALID_VALUE, "parameter 1 of 3 is null");
    EXPECT_FAILS(api().cuLaunchKernel(function("fill"), 1, 1, 1, 32, 1, 1, 0, nullptr, list, extra),
                 CUDA_ERROR_INVALID_VALUE, "as a list and as a buffer");
    EXPECT_FAILS(
        api().cuLaunchKernel(function("fill"), 1, 1, 1, 32, 1, 1, 0, nullptr, nullptr, nullptr),
        CUDA_ERROR_INVALID_VALUE, "no parameters were given");
}

TEST_F(Launches, ImpossibleShapesAreRefused) {
    CUdeviceptr out = alloc(4);
    EXPECT_FAILS(launch("small", {.grid = 0}, {&out}), CUDA_ERROR_INVALID_VALUE,
                 "the grid is 0x1x1");
    EXPECT_FAILS(launch("small", {.block = 0}, {&out}), CUDA_ERROR_INVALID_VALUE,
                 "the block is 0x1x1");
    EXPECT_FAILS(launch("fill", {.block = 1025}, {&out, &out, &out}), CUDA_ERROR_INVALID_VALUE,
                 "with 1024 threads in all");
    EXPECT_FAILS(launch("small", {.block = 65}, {&out}), CUDA_ERROR_INVALID_VALUE,
                 "65 threads; the kernel was compiled for 64");
    EXPECT_FAILS(launch("exact", {.block = 64}, {&out}), CUDA_ERROR_INVALID_VALUE,
                 "the kernel requires 32x2x1");
    EXPECT_FAILS(api().cuLaunchKernel(function("small"), 1, 65536, 1, 32, 1, 1, 0, nullptr,
                                      std::vector<void*>{&out}.data(), nullptr),
                 CUDA_ERROR_INVALID_VALUE, "1x65536x1");
    EXPECT_OK(launch("small", {}, {&out}));
}

TEST_F(Launches, DynamicSharedMemoryHasItsLimit) {
    CUdeviceptr out = alloc(4);
    const CUfunction swap = function("swap");
    int value = 0;
    ASSERT_OK(api().cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, swap));
    EXPECT_EQ(value, 1024);
    ASSERT_OK(
        api().cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, swap));
    EXPECT_EQ(value, 48 * 1024 - 1024);
    ASSERT_OK(launch("swap", {.block = 64, .shared_bytes = 256}, {&out}));
    EXPECT_EQ(word(out), 1u);
    EXPECT_FAILS(launch("swap", {.block = 64, .shared_bytes = 100000}, {&out}),
                 CUDA_ERROR_INVALID_VALUE,
                 "100000 bytes of dynamic shared memory; 48128 are allowed");
    EXPECT_FAILS(
        api().cuFuncSetAttribute(swap, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 227 * 1024),
        CUDA_ERROR_INVALID_VALUE, "231424 are allowed on Virtual GPU sm_90a");
    ASSERT_OK(
        api().cuFuncSetAttribute(swap, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 100000));
    ASSERT_OK(launch("swap", {.block = 64, .shared_bytes = 100000}, {&out}));
    EXPECT_EQ(word(out), 1u);
    EXPECT_FAILS(api().cuFuncSetAttribute(swap, CU_FUNC_ATTRIBUTE_NUM_REGS, 1),
                 CUDA_ERROR_INVALID_VALUE, "cannot be set");
}

TEST_F(Launches, AFaultEndsTheContextAndIsReportedAsText) {
    CUdeviceptr out = alloc(64);
    int32_t index = 20;
    testing::internal::CaptureStderr();
    configure("report=faults");
    ASSERT_OK(launch("wild", {.block = 1}, {&out, &index}));
    EXPECT_FAILS(api().cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS, "wild");
    const std::string said = testing::internal::GetCapturedStderr();
    EXPECT_NE(report().find("16 bytes past the end of the 64-byte block"), std::string::npos)
        << report();
    EXPECT_NE(said.find(report()), std::string::npos);
    CUdeviceptr another = 0;
    EXPECT_FAILS(api().cuMemAlloc_v2(&another, 4), CUDA_ERROR_ILLEGAL_ADDRESS, "earlier fault");
    EXPECT_FAILS(api().cuLaunchHostFunc(
                     nullptr, [](void*) {}, nullptr),
                 CUDA_ERROR_ILLEGAL_ADDRESS, "earlier fault");
    end_context();
    configure("report=none");
    // A new context is a fresh start.
    ASSERT_OK(api().cuCtxCreate_v2(&context_, 0, 0));
    ASSERT_OK(api().cuMemAlloc_v2(&another, 4));
}

TEST_F(Launches, UseAfterFreeAndForeignPointersAreFaults) {
    CUdeviceptr out = alloc(64);
    int32_t index = 0;
    ASSERT_OK(api().cuMemFree_v2(out));
    ASSERT_OK(launch("wild", {.block = 1}, {&out, &index}));
    EXPECT_FAILS(api().cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS, "cuMemFree_v2 has freed");
    end_context();
    ASSERT_OK(api().cuCtxCreate_v2(&context_, 0, 1));
    CUdeviceptr foreign = alloc(64);
    CUcontext other = nullptr;
    ASSERT_OK(api().cuCtxCreate_v2(&other, 0, 0));
    ASSERT_OK(api().cuModuleLoadData(&module_, kKernels));
    ASSERT_OK(launch("wild", {.block = 1}, {&foreign, &index}));
    EXPECT_FAILS(api().cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS,
                 "belongs to another context (device 1)");
    ASSERT_OK(api().cuCtxDestroy_v2(other));
}

TEST_F(Launches, KernelsReachPinnedMemory) {
    uint32_t* const host = pinned(8);
    ASSERT_OK(fill(reinterpret_cast<CUdeviceptr>(host), 6, 8));
    ASSERT_OK(api().cuCtxSynchronize());
    EXPECT_EQ(host[7], 6u);
}

TEST_F(Launches, UninitialisedReadsAreFaultsUnlessUnchecked) {
    CUdeviceptr out = alloc(64);
    uint32_t count = 16;
    configure("checks=-uninitialised");
    ASSERT_OK(launch("scale", {}, {&out, &count}));
    EXPECT_OK(api().cuCtxSynchronize());
    configure("checks=all");
    out = alloc(64);
    ASSERT_OK(launch("scale", {}, {&out, &count}));
    EXPECT_FAILS(api().cuCtxSynchronize(), CUDA_ERROR_LAUNCH_FAILED, "scale");
}

TEST_F(Launches, AttributesOfALaunch) {
    CUdeviceptr out = alloc(4);
    uint32_t value = 5, count = 1;
    void* parameters[] = {&out, &value, &count};
    CUlaunchAttribute attributes[2] = {};
    CUlaunchConfig config{};
    config.gridDimX = 4;
    config.gridDimY = config.gridDimZ = config.blockDimY = config.blockDimZ = 1;
    config.blockDimX = 32;
    config.attrs = attributes;
    config.numAttrs = 2;
    attributes[0].id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
    attributes[0].value.clusterDim = {2, 1, 1};
    attributes[1].id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
    attributes[1].value.programmaticStreamSerializationAllowed = 1;
    const CUfunction fill_function = function("fill");
    ASSERT_OK(api().cuLaunchKernelEx(&config, fill_function, parameters, nullptr));
    EXPECT_EQ(word(out), 5u);
    int clusters = 0;
    ASSERT_OK(api().cuOccupancyMaxActiveClusters(&clusters, fill_function, &config));
    EXPECT_GT(clusters, 0);

    attributes[0].value.clusterDim = {3, 1, 1};
    EXPECT_FAILS(api().cuLaunchKernelEx(&config, fill_function, parameters, nullptr),
                 CUDA_ERROR_INVALID_VALUE, "no multiple of the cluster");
    config.gridDimX = 16;
    attributes[0].value.clusterDim = {16, 1, 1};
    EXPECT_FAILS(api().cuLaunchKernelEx(&config, fill_function, parameters, nullptr),
                 CUDA_ERROR_INVALID_CLUSTER_SIZE, "16 blocks; 8 are allowed");
    attributes[1].id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_EVENT;
    EXPECT_FAILS(api().cuLaunchKernelEx(&config, fill_function, parameters, nullptr),
                 CUDA_ERROR_NOT_SUPPORTED, "attribute 7");
    config.attrs = nullptr;
    EXPECT_FAILS(api().cuLaunchKernelEx(&config, fill_function, parameters, nullptr),
                 CUDA_ERROR_INVALID_VALUE, "list is null");
}

TEST_F(Launches, ClustersNeedCapability9) {
    CUcontext ampere = nullptr;
    ASSERT_OK(api().cuCtxCreate_v2(&ampere, 0, 1));
    ASSERT_OK(api().cuModuleLoadData(&module_, kKernels));
    CUdeviceptr out = alloc(4);
    void* parameters[] = {&out};
    CUlaunchAttribute attribute{};
    attribute.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
    attribute.value.clusterDim = {2, 1, 1};
    const CUlaunchConfig config = {2, 1, 1, 32, 1, 1, 0, nullptr, &attribute, 1};
    EXPECT_FAILS(api().cuLaunchKernelEx(&config, function("small"), parameters, nullptr),
                 CUDA_ERROR_NOT_SUPPORTED, "need compute capability 9.0");
    int clusters = 0;
    EXPECT_FAILS(api().cuOccupancyMaxActiveClusters(&clusters, function("small"), &config),
                 CUDA_ERROR_NOT_SUPPORTED, "compute capability 9.0");
    ASSERT_OK(api().cuCtxDestroy_v2(ampere));
}

TEST_F(Launches, CooperativeGridsMustFit) {
    CUdeviceptr out = alloc(4);
    uint32_t value = 5, count = 1;
    void* parameters[] = {&out, &value, &count};
    int resident = 0, processors = 0;
    const CUfunction fill_function = function("fill");
    ASSERT_OK(api().cuOccupancyMaxActiveBlocksPerMultiprocessor(&resident, fill_function, 1024, 0));
    ASSERT_OK(api().cuDeviceGetAttribute(&processors, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 0));
    EXPECT_EQ(resident, 2);
    const auto most = static_cast<unsigned>(resident * processors);
    ASSERT_OK(api().cuLaunchCooperativeKernel(fill_function, most, 1, 1, 1024, 1, 1, 0, nullptr,
                                              parameters));
    EXPECT_EQ(word(out), 5u);
    EXPECT_FAILS(api().cuLaunchCooperativeKernel(fill_function, most + 1, 1, 1, 1024, 1, 1, 0,
                                                 nullptr, parameters),
                 CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE, "17 blocks");
}

TEST_F(Launches, OccupancyFollowsFromTheModel) {
    int count = 0, grid = 0, block = 0;
    size_t bytes = 0;
    const CUfunction swap = function("swap");
    ASSERT_OK(api().cuFuncSetAttribute(swap, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                       226 * 1024));
    ASSERT_OK(api().cuOccupancyMaxActiveBlocksPerMultiprocessor(&count, swap, 32, 0));
    EXPECT_EQ(count, 32);
    ASSERT_OK(api().cuOccupancyMaxActiveBlocksPerMultiprocessor(&count, swap, 32, 100 * 1024));
    EXPECT_EQ(count, 2);
    ASSERT_OK(api().cuOccupancyMaxActiveBlocksPerMultiprocessor(&count, swap, 32, 226 * 1024));
    EXPECT_EQ(count, 1);
    ASSERT_OK(api().cuOccupancyAvailableDynamicSMemPerBlock(&bytes, swap, 2, 32));
    // Two blocks share 228 KB, each with 1 KB reserved and 1 KB of its own.
    EXPECT_EQ(bytes, size_t{112} * 1024);
    ASSERT_OK(
        api().cuOccupancyMaxPotentialBlockSize(&grid, &block, function("small"), nullptr, 0, 0));
    EXPECT_EQ(block, 64);
    EXPECT_EQ(grid, 8 * 32);
    EXPECT_FAILS(api().cuOccupancyMaxActiveBlocksPerMultiprocessor(&count, swap, 0, 0),
                 CUDA_ERROR_INVALID_VALUE, "0 threads");
}

TEST_F(Launches, AModuleUnloadedBeforeItsLaunchRanIsNamed) {
    CUdeviceptr out = alloc(4);
    ASSERT_OK(fill(out, 1, 1));
    ASSERT_OK(api().cuModuleUnload(module_));
    EXPECT_FAILS(api().cuCtxSynchronize(), CUDA_ERROR_LAUNCH_FAILED,
                 "ran after its module was unloaded");
}

TEST_F(Launches, KernelsAreCapturedAndReplayed) {
    const CUstream own = stream();
    CUdeviceptr out = alloc(128);
    uint32_t count = 32;
    ASSERT_OK(fill(out, 2, 32, own));
    ASSERT_OK(api().cuStreamSynchronize(own));
    ASSERT_OK(api().cuStreamBeginCapture_v2(own, CU_STREAM_CAPTURE_MODE_GLOBAL));
    ASSERT_OK(launch("scale", {.stream = own}, {&out, &count}));
    CUgraph graph = nullptr;
    ASSERT_OK(api().cuStreamEndCapture(own, &graph));
    count = 0;
    CUgraphExec exec = nullptr;
    ASSERT_OK(api().cuGraphInstantiateWithFlags(&exec, graph, 0));
    ASSERT_OK(api().cuGraphLaunch(exec, own));
    ASSERT_OK(api().cuGraphLaunch(exec, own));
    ASSERT_OK(api().cuStreamSynchronize(own));
    EXPECT_EQ(word(out + 124), 18u) << "parameters are those of the capture";
}

TEST_F(Launches, StatisticsCountWhatKernelsDid) {
    ASSERT_OK(api().fattnVirtualGpuResetStatistics());
    const CUdeviceptr out = alloc(400);
    ASSERT_OK(fill(out, 1, 100));
    ASSERT_OK(fill(out, 1, 100));
    ASSERT_OK(api().cuCtxSynchronize());
    char text[4096];
    size_t length = 0;
    ASSERT_OK(api().fattnVirtualGpuStatistics(1, text, sizeof(text), &length));
    EXPECT_EQ(length, std::strlen(text));
    EXPECT_NE(std::string(text).find("{\"name\": \"fill\", \"launches\": 2"), std::string::npos)
        << text;
    EXPECT_NE(std::string(text).find("800"), std::string::npos) << text;
    ASSERT_OK(api().fattnVirtualGpuStatistics(0, text, sizeof(text), nullptr));
    EXPECT_NE(std::string(text).find("fill, 2 launches"), std::string::npos) << text;
}

TEST_F(Launches, EachAddsALineToTheFileOfStatistics) {
    const std::string file =
        ::testing::TempDir() + "virtual_gpu_statistics_" + std::to_string(::getpid()) + ".json";
    ASSERT_OK(api().fattnVirtualGpuConfigure(("statistics=" + file).c_str()));
    const CUdeviceptr out = alloc(400);
    ASSERT_OK(fill(out, 1, 100));
    ASSERT_OK(fill(out, 1, 40));
    ASSERT_OK(api().cuCtxSynchronize());
    ASSERT_OK(api().fattnVirtualGpuConfigure("statistics="));
    ASSERT_OK(fill(out, 1, 100));
    ASSERT_OK(api().cuCtxSynchronize());
    std::ifstream lines(file);
    std::vector<std::string> read;
    for (std::string line; std::getline(lines, line);) read.push_back(line);
    std::remove(file.c_str());
    ASSERT_EQ(read.size(), 2u);
    for (const std::string& line : read)
        EXPECT_EQ(line.find("{\"name\": \"fill\", \"grid\": ["), 0u) << line;
    EXPECT_NE(read[0].find("\"global_store_bytes\": 400,"), std::string::npos) << read[0];
    EXPECT_NE(read[1].find("\"global_store_bytes\": 160,"), std::string::npos) << read[1];
}

TEST_F(Launches, KernelsTakeVirtualTime) {
    const CUevent begin = event(), end = event();
    const CUdeviceptr out = alloc(400);
    ASSERT_OK(api().cuEventRecord(begin, nullptr));
    ASSERT_OK(fill(out, 1, 100));
    ASSERT_OK(api().cuEventRecord(end, nullptr));
    ASSERT_OK(api().cuEventSynchronize(end));
    float milliseconds = 0;
    ASSERT_OK(api().cuEventElapsedTime(&milliseconds, begin, end));
    EXPECT_GT(milliseconds, 0.002f);
    EXPECT_LT(milliseconds, 1.0f);
}

}  // namespace
}  // namespace fattn::vgpu::cuda
