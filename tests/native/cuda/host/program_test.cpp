// Programs of the user through the C interface: compiled by the toolkit's NVRTC, run on the virtual
// GPU.
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "cuda/host/dense_on_device.h"
#include "cuda/nvrtc_of_toolkit.h"

namespace fattn::cuda {
namespace {

using test::ok;

constexpr const char* kSource =
    "#include \"factor.h\"\n"
    "extern \"C\" __global__ void scale(float* x, float by, char which) {\n"
    "    extern __shared__ float room[];\n"
    "    room[threadIdx.x] = kFactor * by;\n"
    "    __syncthreads();\n"
    "    if (which == 'y') x[threadIdx.x] *= room[blockDim.x - 1 - threadIdx.x];\n"
    "}\n"
    "template <class T> __global__ void clear(T* x) { x[threadIdx.x] = 0; }\n";

/// The arguments of a compilation of kSource.
class ProgramOnCuda : public DensePlanOnCuda {
  protected:
    void SetUp() override {
        FATTN_NEEDS_NVRTC(nvrtc);
        DensePlanOnCuda::SetUp();
        args.struct_size = sizeof(args);
        args.source = kSource;
        args.source_name = "scale.cu";
        args.header_names = header_names;
        args.header_texts = header_texts;
        args.num_headers = 1;
        args.expressions = expressions;
        args.num_expressions = 1;
        args.log = log;
        args.log_bytes = sizeof(log);
    }
    void TearDown() override {
        fattn_kernel_release(kernel);
        fattn_module_release(module);
    }

    void compile() { ASSERT_TRUE(ok(fattn_module_compile(handle.get(), &args, &module))) << log; }

    void expect_error(fattn_status found, fattn_status status, const char* words) {
        EXPECT_EQ(found, status);
        EXPECT_NE(std::strstr(fattn_last_error(), words), nullptr) << fattn_last_error();
    }

    const char* header_names[1] = {"factor.h"};
    const char* header_texts[1] = {"constexpr float kFactor = 2.0f;\n"};
    const char* expressions[1] = {"clear<int>"};
    char log[4096] = "untouched";
    fattn_compile_args args{};
    fattn_module* module = nullptr;
    fattn_kernel* kernel = nullptr;
};

TEST_F(ProgramOnCuda, AKernelIsCompiledFoundAndLaunched) {
    compile();
    EXPECT_STREQ(log, "") << "no warnings";
    fattn_module_description d{};
    d.struct_size = sizeof(d);
    ASSERT_TRUE(ok(fattn_module_info(module, &d)));
    EXPECT_STREQ(d.target, "sm_80");
    EXPECT_NE(std::strstr(d.ptx, ".visible .entry scale("), nullptr);
    ASSERT_GT(d.cubin_bytes, 4U);
    EXPECT_EQ(std::memcmp(d.cubin, "\177ELF", 4), 0);
    EXPECT_EQ(d.from_cache, 0U) << "tests have no cache";
    ASSERT_TRUE(ok(fattn_module_kernel(module, "scale", &kernel)));
    fattn_kernel_description k{};
    k.struct_size = sizeof(k);
    ASSERT_TRUE(ok(fattn_kernel_info(kernel, &k)));
    EXPECT_EQ(k.num_parameters, 3);
    EXPECT_GT(k.registers, 0);
    EXPECT_GE(k.max_threads_per_block, 32);

    fattn_module_release(module);  // the kernel keeps it
    module = nullptr;
    float numbers[32];
    for (int i = 0; i < 32; ++i) numbers[i] = static_cast<float>(i);
    DeviceMemory memory;
    Stream stream;
    ASSERT_STATUS_OK(Stream::create(device, 0, &stream));
    ASSERT_STATUS_OK(DeviceMemory::allocate(device, sizeof(numbers), &memory));
    ASSERT_STATUS_OK(copy_to_device(stream, memory.address(), numbers, sizeof(numbers)));
    fattn_stream* borrowed = nullptr;
    ASSERT_TRUE(ok(fattn_stream_borrow(handle.get(), stream.handle(), &borrowed)));

    const DevicePointer x = memory.address();
    const float by = 3;
    const char which = 'y';
    const void* values[] = {&x, &by, &which};
    const uint64_t sizes[] = {sizeof(x), sizeof(by), sizeof(which)};
    fattn_launch_args launch{};
    launch.struct_size = sizeof(launch);
    launch.grid[0] = launch.grid[1] = launch.grid[2] = 1;
    launch.block[0] = 32;
    launch.block[1] = launch.block[2] = 1;
    launch.dynamic_shared_bytes = 64 << 10;  // more than a kernel has unasked
    launch.arguments = values;
    launch.argument_bytes = sizes;
    launch.num_arguments = 3;
    ASSERT_TRUE(ok(fattn_kernel_launch(kernel, &launch, borrowed)));
    ASSERT_STATUS_OK(copy_to_host(stream, numbers, memory.address(), sizeof(numbers)));
    ASSERT_STATUS_OK(stream.synchronize());
    for (int i = 0; i < 32; ++i) EXPECT_EQ(numbers[i], 6.0F * static_cast<float>(i));

    launch.num_arguments = 2;
    expect_error(fattn_kernel_launch(kernel, &launch, borrowed), FATTN_STATUS_INVALID_ARGUMENT,
                 "2 arguments were given of 8, 4 bytes; kernel scale takes 3: 8, 4, 1 bytes");
    launch.num_arguments = 3;
    launch.argument_bytes = nullptr;
    launch.grid[1] = 0;
    expect_error(fattn_kernel_launch(kernel, &launch, borrowed), FATTN_STATUS_INVALID_ARGUMENT,
                 "args->grid is 1 x 0 x 1; each must be at least 1");
    launch.grid[1] = 1;
    launch.block[1] = 64;
    expect_error(fattn_kernel_launch(kernel, &launch, borrowed), FATTN_STATUS_INVALID_ARGUMENT,
                 "args->block is 32 x 64 x 1 threads; a block of kernel scale has at most");
    launch.block[1] = 1;
    launch.dynamic_shared_bytes = 200 << 10;
    expect_error(fattn_kernel_launch(kernel, &launch, borrowed), FATTN_STATUS_UNSUPPORTED,
                 "bytes of dynamic shared memory a block");
    launch.dynamic_shared_bytes = 1024;
    launch.cluster[0] = 2;
    expect_error(fattn_kernel_launch(kernel, &launch, borrowed), FATTN_STATUS_INVALID_ARGUMENT,
                 "args->cluster is 2 x 0 x 0");
    launch.cluster[0] = 0;
    launch.flags = 2;
    expect_error(fattn_kernel_launch(kernel, &launch, borrowed), FATTN_STATUS_UNSUPPORTED,
                 "args->flags is 2; this library knows 0 and 1");
    launch.flags = 0;
    values[1] = nullptr;
    expect_error(fattn_kernel_launch(kernel, &launch, borrowed), FATTN_STATUS_INVALID_ARGUMENT,
                 "args->arguments[1] is NULL");
    fattn_stream_release(borrowed);
}

TEST_F(ProgramOnCuda, InstancesOfTemplatesAreFoundByTheirExpression) {
    compile();
    ASSERT_TRUE(ok(fattn_module_kernel(module, "clear<int>", &kernel)));
    fattn_kernel* none = kernel;
    expect_error(fattn_module_kernel(module, "clear<float>", &none), FATTN_STATUS_INVALID_ARGUMENT,
                 "module scale.cu has no kernel named clear<float>");
    EXPECT_EQ(none, nullptr);
}

TEST_F(ProgramOnCuda, TheLogIsKeptWhenTheProgramIsWrong) {
    std::string wrong = "#include \"factor.h\"\n";
    for (int i = 0; i < 30; ++i) wrong += "nonsense here;\n";
    args.source = wrong.c_str();
    expect_error(fattn_module_compile(handle.get(), &args, &module), FATTN_STATUS_INVALID_ARGUMENT,
                 "compiling scale.cu for sm_80 failed");
    EXPECT_EQ(module, nullptr);
    EXPECT_NE(std::strstr(log, "scale.cu(2)"), nullptr) << log;
    EXPECT_GT(std::strlen(log), std::strlen(fattn_last_error()))
        << "the log has more than the error's text";
    args.log_bytes = 8;
    EXPECT_EQ(fattn_module_compile(handle.get(), &args, &module), FATTN_STATUS_INVALID_ARGUMENT);
    EXPECT_EQ(std::strlen(log), 7U) << "cut to its room";
}

TEST_F(ProgramOnCuda, ArgumentsAreCheckedBeforeTheCompilerIsCalled) {
    const auto refused = [&](fattn_status status, const char* words) {
        expect_error(fattn_module_compile(handle.get(), &args, &module), status, words);
        EXPECT_EQ(module, nullptr);
    };
    args.flags = 4;
    refused(FATTN_STATUS_UNSUPPORTED, "args->flags is 4; this library knows 0 and 1");
    args.flags = FATTN_COMPILE_NO_CACHE;
    args.source = nullptr;
    refused(FATTN_STATUS_INVALID_ARGUMENT, "args->source is NULL; a program is needed");
    args.source = kSource;
    args.num_options = 2;
    refused(FATTN_STATUS_INVALID_ARGUMENT, "args->options is NULL; needed are 2 texts");
    const char* options[] = {"--std=c++17", nullptr};
    args.options = options;
    refused(FATTN_STATUS_INVALID_ARGUMENT, "args->options[1] is NULL");
    args.num_options = 1;
    args.num_headers = uint64_t{1} << 40;
    refused(FATTN_STATUS_INVALID_ARGUMENT, "args->num_headers is 1099511627776");
    args.num_headers = 1;
    args.log = nullptr;
    refused(FATTN_STATUS_INVALID_ARGUMENT, "args->log is NULL with log_bytes 4096");
    args.log_bytes = 0;
    args.target = "sm_12";
    refused(FATTN_STATUS_INVALID_ARGUMENT, "for sm_12 failed");
    args.target = "compute_80";
    compile();
}

}  // namespace
}  // namespace fattn::cuda
