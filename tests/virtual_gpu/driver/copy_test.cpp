// Copies and fills: contents, planes, what is refused, and which calls wait.
#include <sys/mman.h>

#include <numeric>

#include "driver/virtual_driver.h"

namespace fattn::vgpu::cuda {
namespace {

using Copies = DriverTest;

std::vector<uint32_t> counting(size_t count) {
    std::vector<uint32_t> words(count);
    std::iota(words.begin(), words.end(), 1u);
    return words;
}

TEST_F(Copies, BytesGoThereAndBack) {
    const std::vector<uint32_t> words = counting(1000);
    const CUdeviceptr first = alloc(4000), second = alloc(4000);
    std::vector<uint32_t> back(1000);
    ASSERT_OK(api().cuMemcpyHtoD_v2(first, words.data(), 4000));
    ASSERT_OK(api().cuMemcpyDtoD_v2(second, first, 4000));
    ASSERT_OK(api().cuMemcpyDtoH_v2(back.data(), second, 4000));
    EXPECT_EQ(back, words);
    std::fill(back.begin(), back.end(), 0);
    ASSERT_OK(api().cuMemcpy(reinterpret_cast<CUdeviceptr>(back.data()), second, 4000));
    EXPECT_EQ(back, words);
}

TEST_F(Copies, FillsOfEveryWidth) {
    const CUdeviceptr block = alloc(64);
    uint32_t back[16];
    ASSERT_OK(api().cuMemsetD8_v2(block, 0x12, 64));
    ASSERT_OK(api().cuMemsetD16_v2(block + 8, 0x3456, 4));
    ASSERT_OK(api().cuMemsetD32_v2(block + 16, 0x789abcde, 2));
    ASSERT_OK(api().cuMemcpyDtoH_v2(back, block, 64));
    EXPECT_EQ(back[0], 0x12121212u);
    EXPECT_EQ(back[2], 0x34563456u);
    EXPECT_EQ(back[3], 0x34563456u);
    EXPECT_EQ(back[4], 0x789abcdeu);
    EXPECT_EQ(back[5], 0x789abcdeu);
    EXPECT_EQ(back[6], 0x12121212u);
    EXPECT_FAILS(api().cuMemsetD32_v2(block + 2, 0, 1), CUDA_ERROR_INVALID_VALUE,
                 "no multiple of 4");
    EXPECT_FAILS(api().cuMemsetD16_v2(block + 1, 0, 1), CUDA_ERROR_INVALID_VALUE,
                 "no multiple of 2");
}

TEST_F(Copies, PlanesTakeTheirRowsFromPitchAndOffset) {
    const CUdeviceptr block = alloc(256);
    ASSERT_OK(api().cuMemsetD8_v2(block, 0, 256));
    const std::vector<uint32_t> words = counting(16);
    CUDA_MEMCPY2D plane{};
    plane.srcMemoryType = CU_MEMORYTYPE_HOST;
    plane.srcHost = words.data();
    plane.srcPitch = 16;
    plane.srcXInBytes = 4;
    plane.srcY = 1;
    plane.dstMemoryType = CU_MEMORYTYPE_DEVICE;
    plane.dstDevice = block;
    plane.dstPitch = 64;
    plane.dstXInBytes = 8;
    plane.WidthInBytes = 8;
    plane.Height = 3;
    ASSERT_OK(api().cuMemcpy2D_v2(&plane));
    uint32_t back[64];
    ASSERT_OK(api().cuMemcpyDtoH_v2(back, block, 256));
    EXPECT_EQ(back[2], words[5]);
    EXPECT_EQ(back[3], words[6]);
    EXPECT_EQ(back[4], 0u);
    EXPECT_EQ(back[16 + 2], words[9]);
    EXPECT_EQ(back[32 + 3], words[14]);
    EXPECT_EQ(back[48 + 2], 0u);

    plane.dstPitch = 4;
    EXPECT_FAILS(api().cuMemcpy2D_v2(&plane), CUDA_ERROR_INVALID_VALUE, "less than a row");
    plane.dstPitch = 128;
    EXPECT_FAILS(api().cuMemcpy2D_v2(&plane), CUDA_ERROR_INVALID_VALUE, "past the end");
    plane.dstMemoryType = CU_MEMORYTYPE_ARRAY;
    EXPECT_FAILS(api().cuMemcpy2D_v2(&plane), CUDA_ERROR_NOT_SUPPORTED, "arrays");
    ASSERT_OK(api().cuMemsetD2D32_v2(block, 64, 9, 2, 4));
    ASSERT_OK(api().cuMemcpyDtoH_v2(back, block, 256));
    EXPECT_EQ(back[1], 9u);
    EXPECT_EQ(back[2], words[5]);
    EXPECT_EQ(back[48 + 1], 9u);
}

TEST_F(Copies, AHostBufferReusedTooEarlyGivesTheNewContents) {
    // Late, the copy reads its source when it is waited for; the order "early" hides the mistake.
    for (const bool late : {true, false}) {
        configure(late ? "order=late" : "order=early");
        const CUstream own = stream();
        const CUdeviceptr block = alloc(4);
        uint32_t* const source = pinned(1);
        *source = 1;
        ASSERT_OK(api().cuMemcpyHtoDAsync_v2(block, source, 4, own));
        *source = 2;
        uint32_t back = 0;
        ASSERT_OK(api().cuStreamSynchronize(own));
        ASSERT_OK(api().cuMemcpyDtoH_v2(&back, block, 4));
        EXPECT_EQ(back, late ? 2u : 1u);
    }
}

TEST_F(Copies, SomeSeedsShowAHostBufferReusedTooEarly) {
    int num_shown = 0;
    for (int seed = 1; seed <= 16; ++seed) {
        configure("order=seeded;seed=" + std::to_string(seed));
        const CUstream own = stream();
        const CUdeviceptr block = alloc(4);
        uint32_t* const source = pinned(1);
        *source = 1;
        ASSERT_OK(api().cuMemcpyHtoDAsync_v2(block, source, 4, own));
        *source = 2;
        uint32_t back = 0;
        ASSERT_OK(api().cuStreamSynchronize(own));
        ASSERT_OK(api().cuMemcpyDtoH_v2(&back, block, 4));
        num_shown += back == 2;
    }
    EXPECT_GT(num_shown, 2);
    EXPECT_LT(num_shown, 14);
}

TEST_F(Copies, AResultReadTooEarlyIsPoison) {
    const CUstream own = stream();
    const CUdeviceptr block = alloc(4);
    ASSERT_OK(api().cuMemsetD32_v2(block, 42, 1));
    ASSERT_OK(api().cuCtxSynchronize());
    uint32_t* const result = pinned(1);
    *result = 42;
    ASSERT_OK(api().cuMemcpyDtoHAsync_v2(result, block, 4, own));
    EXPECT_EQ(*reinterpret_cast<volatile uint32_t*>(result), 0x7fa17fa1u);
    ASSERT_OK(api().cuStreamSynchronize(own));
    EXPECT_EQ(*result, 42u);
}

TEST_F(Copies, ABufferThatAnEarlierCopyStillReadsIsNotPoisoned) {
    const CUstream own = stream();
    const CUdeviceptr there = alloc(4), back = alloc(4);
    ASSERT_OK(api().cuMemsetD32_v2(back, 5, 1));
    ASSERT_OK(api().cuCtxSynchronize());
    uint32_t* const buffer = pinned(1);
    *buffer = 6;
    ASSERT_OK(api().cuMemcpyHtoDAsync_v2(there, buffer, 4, own));
    ASSERT_OK(api().cuMemcpyDtoHAsync_v2(buffer, back, 4, own));
    ASSERT_OK(api().cuStreamSynchronize(own));
    EXPECT_EQ(*buffer, 5u);
    uint32_t sent = 0;
    ASSERT_OK(api().cuMemcpyDtoH_v2(&sent, there, 4));
    EXPECT_EQ(sent, 6u);
}

TEST_F(Copies, APageableBufferThatIsGoneIsNamed) {
    const CUstream own = stream();
    const CUdeviceptr block = alloc(4096);
    void* const page =
        mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_OK(api().cuMemcpyHtoDAsync_v2(block, page, 4096, own));
    munmap(page, 4096);
    EXPECT_FAILS(api().cuStreamSynchronize(own), CUDA_ERROR_ILLEGAL_ADDRESS,
                 "was not there when the copy ran");
}

TEST_F(Copies, ASynchronousCopyFromPageableMemoryHasReadItsSource) {
    const CUdeviceptr block = alloc(4);
    uint32_t word = 1, back = 0;
    ASSERT_OK(api().cuMemcpyHtoD_v2(block, &word, 4));
    word = 2;
    ASSERT_OK(api().cuMemcpyDtoH_v2(&back, block, 4));
    EXPECT_EQ(back, 1u);
}

TEST_F(Copies, ANonBlockingStreamDoesNotWaitForTheLegacyOne) {
    // cuMemsetD32 and cuMemcpyDtoD are not waited for; a blocking stream is behind them all the
    // same.
    for (const unsigned flags : {CU_STREAM_DEFAULT, CU_STREAM_NON_BLOCKING}) {
        const CUstream own = stream(flags);
        const CUdeviceptr block = alloc(4);
        ASSERT_OK(api().cuMemsetD32_v2(block, 1, 1));
        ASSERT_OK(api().cuCtxSynchronize());
        ASSERT_OK(api().cuMemsetD32_v2(block, 2, 1));
        uint32_t* const back = pinned(1);
        ASSERT_OK(api().cuMemcpyDtoHAsync_v2(back, block, 4, own));
        ASSERT_OK(api().cuStreamSynchronize(own));
        EXPECT_EQ(*back, flags == CU_STREAM_DEFAULT ? 2u : 1u);
    }
}

TEST_F(Copies, DeviceAddressesAreNoHostMemory) {
    const CUdeviceptr block = alloc(64);
    EXPECT_FAILS(api().cuMemcpyHtoD_v2(block, reinterpret_cast<const void*>(block), 8),
                 CUDA_ERROR_INVALID_VALUE, "must be host memory");
    EXPECT_FAILS(api().cuMemcpyHtoD_v2(block, nullptr, 8), CUDA_ERROR_INVALID_VALUE, "null");
    EXPECT_OK(api().cuMemcpyHtoD_v2(block, nullptr, 0));
}

TEST_F(Copies, ABlockFreedBeforeItsCopyRanIsAFault) {
    // cuMemFree waits for everything, so the free must come from the stream's own order.
    const CUstream own = stream(), other = stream();
    CUdeviceptr block = 0;
    ASSERT_OK(api().cuMemAllocAsync(&block, 64, own));
    ASSERT_OK(api().cuStreamSynchronize(own));
    ASSERT_OK(api().cuMemsetD8Async(block, 0, 64, other));
    ASSERT_OK(api().cuMemFreeAsync(block, own));
    ASSERT_OK(api().cuStreamSynchronize(own));
    EXPECT_FAILS(api().cuStreamSynchronize(other), CUDA_ERROR_ILLEGAL_ADDRESS,
                 "which cuMemFreeAsync has freed");
}

}  // namespace
}  // namespace fattn::vgpu::cuda
