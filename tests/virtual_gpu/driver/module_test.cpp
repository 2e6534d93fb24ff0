// Modules and libraries from PTX text: functions, variables, logs, images that are refused.
#include <algorithm>

#include "driver/ptx_texts.h"
#include "driver/virtual_driver.h"

namespace fattn::vgpu::cuda {
namespace {

using Modules = DriverTest;

TEST_F(Modules, GiveFunctionsAndVariables) {
    CUmodule module = nullptr;
    ASSERT_OK(api().cuModuleLoadData(&module, kKernels));
    CUfunction fill = nullptr, again = nullptr;
    ASSERT_OK(api().cuModuleGetFunction(&fill, module, "fill"));
    ASSERT_OK(api().cuModuleGetFunction(&again, module, "fill"));
    EXPECT_EQ(fill, again);
    EXPECT_FAILS(api().cuModuleGetFunction(&fill, module, "empty"), CUDA_ERROR_NOT_FOUND,
                 "it has: fill, scale, wild");
    unsigned count = 0;
    ASSERT_OK(api().cuModuleGetFunctionCount(&count, module));
    EXPECT_EQ(count, 6u);
    std::vector<CUfunction> all(count);
    ASSERT_OK(api().cuModuleEnumerateFunctions(all.data(), count, module));
    EXPECT_EQ(all[0], again);
    CUmodule of = nullptr;
    ASSERT_OK(api().cuFuncGetModule(&of, again));
    EXPECT_EQ(of, module);
    const char* name = nullptr;
    ASSERT_OK(api().cuFuncGetName(&name, all[1]));
    EXPECT_STREQ(name, "scale");
    size_t offset = 0, size = 0;
    ASSERT_OK(api().cuFuncGetParamInfo(again, 2, &offset, &size));
    EXPECT_EQ(offset, 12u);
    EXPECT_EQ(size, 4u);
    EXPECT_FAILS(api().cuFuncGetParamInfo(again, 3, &offset, &size), CUDA_ERROR_INVALID_VALUE,
                 "has 3 parameters");

    CUdeviceptr factor = 0, table = 0;
    ASSERT_OK(api().cuModuleGetGlobal_v2(&factor, &size, module, "factor"));
    EXPECT_EQ(size, 4u);
    uint32_t value = 0;
    ASSERT_OK(api().cuMemcpyDtoH_v2(&value, factor, 4));
    EXPECT_EQ(value, 3u);
    ASSERT_OK(api().cuModuleGetGlobal_v2(&table, &size, module, "table"));
    EXPECT_EQ(size, 8u);
    ASSERT_OK(api().cuMemcpyDtoH_v2(&value, table + 4, 4));
    EXPECT_EQ(value, 20u);
    EXPECT_FAILS(api().cuModuleGetGlobal_v2(&factor, &size, module, "nothing"),
                 CUDA_ERROR_NOT_FOUND, "no variable \"nothing\"");
    EXPECT_FAILS(api().cuMemFree_v2(factor), CUDA_ERROR_INVALID_VALUE, "does not begin a block");
    ASSERT_OK(api().cuModuleUnload(module));
    EXPECT_FAILS(api().cuMemcpyDtoH_v2(&value, factor, 4), CUDA_ERROR_INVALID_VALUE,
                 "cuModuleUnload has freed");
    EXPECT_FAILS(api().cuFuncGetName(&name, again), CUDA_ERROR_INVALID_HANDLE, "no function");
    EXPECT_FAILS(api().cuModuleUnload(module), CUDA_ERROR_INVALID_HANDLE, "no module");
}

TEST_F(Modules, ImagesThatAreNoPtxAreRefused) {
    CUmodule module = nullptr;
    const char cubin[] = "\177ELF\2\1\1";
    EXPECT_FAILS(api().cuModuleLoadData(&module, cubin), CUDA_ERROR_NO_BINARY_FOR_GPU, "a cubin");
    const char fat_binary[] = "\x50\xed\x55\xba\1";
    EXPECT_FAILS(api().cuModuleLoadData(&module, fat_binary), CUDA_ERROR_NO_BINARY_FOR_GPU,
                 "fat binary");
    EXPECT_FAILS(api().cuModuleLoadData(&module, "hello"), CUDA_ERROR_INVALID_IMAGE, "no .version");
    EXPECT_FAILS(api().cuModuleLoadData(&module, ""), CUDA_ERROR_INVALID_IMAGE, "no .version");
    EXPECT_FAILS(api().cuModuleLoadData(&module, nullptr), CUDA_ERROR_INVALID_VALUE, "null");
    CUlibrary library = nullptr;
    EXPECT_FAILS(api().cuLibraryLoadData(&library, cubin, nullptr, nullptr, 0, nullptr, nullptr, 0),
                 CUDA_ERROR_NO_BINARY_FOR_GPU, "a cubin");
    EXPECT_FAILS(api().cuModuleLoad(&module, "/nowhere/at.ptx"), CUDA_ERROR_FILE_NOT_FOUND,
                 "cannot be opened");
}

TEST_F(Modules, TheLogNamesTheLineThatIsWrong) {
    const std::string wrong =
        ".version 8.4\n.target sm_80\n.address_size 64\n"
        ".visible .entry k() {\n    frobnicate.b32 %r1, %r2;\n    ret;\n}\n";
    char log[512] = "untouched";
    CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
                              CU_JIT_OPTIMIZATION_LEVEL};
    void* values[] = {log, reinterpret_cast<void*>(sizeof(log)),
                      reinterpret_cast<void*>(uintptr_t{3})};
    CUmodule module = nullptr;
    EXPECT_FAILS(api().cuModuleLoadDataEx(&module, wrong.c_str(), 3, options, values),
                 CUDA_ERROR_INVALID_PTX, "frobnicate");
    EXPECT_NE(std::string(log).find("frobnicate"), std::string::npos) << log;
    EXPECT_NE(std::string(log).find("5"), std::string::npos) << log;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(values[1]), std::strlen(log) + 1);

    values[1] = reinterpret_cast<void*>(sizeof(log));
    ASSERT_OK(api().cuModuleLoadDataEx(&module, kKernels, 3, options, values));
    EXPECT_STREQ(log, "");
    CUjit_option lto = static_cast<CUjit_option>(20);
    EXPECT_FAILS(api().cuModuleLoadDataEx(&module, kKernels, 1, &lto, values),
                 CUDA_ERROR_NOT_SUPPORTED, "option 20");
}

TEST_F(Modules, ATargetNewerThanTheDeviceIsRefused) {
    CUcontext ampere = nullptr;
    ASSERT_OK(api().cuCtxCreate_v2(&ampere, 0, 1));
    CUmodule module = nullptr;
    const char* const hopper =
        ".version 8.4\n.target sm_90\n.address_size 64\n.visible .entry k() {\n    ret;\n}\n";
    EXPECT_FAILS(api().cuModuleLoadData(&module, hopper), CUDA_ERROR_NO_BINARY_FOR_GPU, "sm_90");
    ASSERT_OK(api().cuCtxDestroy_v2(ampere));
    ASSERT_OK(api().cuModuleLoadData(&module, hopper));
}

TEST_F(Modules, LoadingWhileCapturingIsRefused) {
    const CUstream own = stream();
    ASSERT_OK(api().cuStreamBeginCapture_v2(own, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    CUmodule module = nullptr;
    EXPECT_FAILS(api().cuModuleLoadData(&module, kKernels), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
                 "cuModuleLoadData is not permitted");
    CUgraph graph = nullptr;
    EXPECT_FAILS(api().cuStreamEndCapture(own, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "");
}

TEST_F(Modules, LibrariesServeEveryContext) {
    CUlibrary library = nullptr;
    ASSERT_OK(
        api().cuLibraryLoadData(&library, kKernels, nullptr, nullptr, 0, nullptr, nullptr, 0));
    CUkernel kernel = nullptr, missing = nullptr;
    ASSERT_OK(api().cuLibraryGetKernel(&kernel, library, "swap"));
    EXPECT_FAILS(api().cuLibraryGetKernel(&missing, library, "swop"), CUDA_ERROR_NOT_FOUND, "swop");
    const char* name = nullptr;
    ASSERT_OK(api().cuKernelGetName(&name, kernel));
    EXPECT_STREQ(name, "swap");
    unsigned count = 0;
    ASSERT_OK(api().cuLibraryGetKernelCount(&count, library));
    EXPECT_EQ(count, 6u);
    std::vector<CUkernel> all(count);
    ASSERT_OK(api().cuLibraryEnumerateKernels(all.data(), count, library));
    EXPECT_NE(std::find(all.begin(), all.end(), kernel), all.end());
    ASSERT_OK(api().cuKernelSetAttribute(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 90000,
                                         kernel, 0));

    CUfunction here = nullptr, there = nullptr;
    ASSERT_OK(api().cuKernelGetFunction(&here, kernel));
    CUcontext second = nullptr;
    ASSERT_OK(api().cuCtxCreate_v2(&second, 0, 0));
    ASSERT_OK(api().cuKernelGetFunction(&there, kernel));
    EXPECT_NE(here, there);
    int value = 0;
    ASSERT_OK(
        api().cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, there));
    EXPECT_EQ(value, 90000) << "an attribute of the kernel is one in every context of the device";
    EXPECT_FAILS(
        api().cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, here),
        CUDA_ERROR_INVALID_HANDLE, "loaded in context");
    // A kernel may be launched as if it were a function.
    CUdeviceptr out = alloc(4);
    void* parameters[] = {&out};
    ASSERT_OK(api().cuLaunchKernel(reinterpret_cast<CUfunction>(kernel), 1, 1, 1, 64, 1, 1, 256,
                                   nullptr, parameters, nullptr));
    uint32_t word = 0;
    ASSERT_OK(api().cuMemcpyDtoH_v2(&word, out, 4));
    EXPECT_EQ(word, 1u);

    CUmodule module = nullptr;
    ASSERT_OK(api().cuLibraryGetModule(&module, library));
    EXPECT_FAILS(api().cuModuleUnload(module), CUDA_ERROR_NOT_PERMITTED, "belongs to a library");
    CUdeviceptr factor = 0;
    size_t bytes = 0;
    ASSERT_OK(api().cuLibraryGetGlobal(&factor, &bytes, library, "factor"));
    EXPECT_EQ(bytes, 4u);
    EXPECT_FAILS(api().cuKernelGetAttribute(&value, CU_FUNC_ATTRIBUTE_NUM_REGS, kernel, 1),
                 CUDA_ERROR_NOT_SUPPORTED, "another device");
    ASSERT_OK(api().cuKernelGetAttribute(&value, CU_FUNC_ATTRIBUTE_NUM_REGS, kernel, 0));
    EXPECT_GT(value, 0);
    ASSERT_OK(api().cuLibraryUnload(library));
    EXPECT_FAILS(api().cuKernelGetFunction(&here, kernel), CUDA_ERROR_INVALID_HANDLE, "no kernel");
    ASSERT_OK(api().cuCtxDestroy_v2(second));
}

TEST_F(Modules, LibrariesLoadWithoutAContext) {
    ASSERT_OK(api().cuCtxPopCurrent_v2(nullptr));
    CUlibrary library = nullptr;
    ASSERT_OK(
        api().cuLibraryLoadData(&library, kKernels, nullptr, nullptr, 0, nullptr, nullptr, 0));
    CUkernel kernel = nullptr;
    ASSERT_OK(api().cuLibraryGetKernel(&kernel, library, "fill"));
    EXPECT_FAILS(api().cuLibraryGetKernel(&kernel, library, "swop"), CUDA_ERROR_NOT_FOUND, "swop");
    EXPECT_FAILS(api().cuLibraryGetKernel(&kernel, library, "fil"), CUDA_ERROR_NOT_FOUND,
                 "\"fil\"");
    ASSERT_OK(api().cuLibraryGetKernel(&kernel, library, "fill"));
    CUfunction function = nullptr;
    EXPECT_FAILS(api().cuKernelGetFunction(&function, kernel), CUDA_ERROR_INVALID_CONTEXT,
                 "no current");
    ASSERT_OK(api().cuCtxPushCurrent_v2(context_));
    ASSERT_OK(api().cuKernelGetFunction(&function, kernel));
    ASSERT_OK(api().cuLibraryUnload(library));
}

}  // namespace
}  // namespace fattn::vgpu::cuda
