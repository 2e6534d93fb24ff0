// Device and pinned memory: accounts, guards, poison, pools, questions about pointers.
#include <bit>
#include <cmath>
#include <memory>

#include "driver/virtual_driver.h"

namespace fattn::vgpu::cuda {
namespace {

using Memory = DriverTest;

TEST_F(Memory, AddressesAreNoHostAddressesAndNeverComeBack) {
    const CUdeviceptr first = alloc(100);
    EXPECT_GT(first, 0x0100'0000'0000'0000u);
    EXPECT_EQ(first % 256, 0u);
    EXPECT_NE(first % 512, 0u) << "more alignment than CUDA promises hides what needs it";
    ASSERT_OK(api().cuMemFree_v2(first));
    EXPECT_NE(alloc(100), first);
}

TEST_F(Memory, TheLimitIsKept) {
    size_t free_bytes = 0, total = 0;
    ASSERT_OK(api().cuMemGetInfo_v2(&free_bytes, &total));
    EXPECT_EQ(total, size_t{64} << 20);
    CUdeviceptr address = 0;
    EXPECT_FAILS(api().cuMemAlloc_v2(&address, total + 1), CUDA_ERROR_OUT_OF_MEMORY,
                 "has 67108864");
    const CUdeviceptr most = alloc(free_bytes);
    EXPECT_FAILS(api().cuMemAlloc_v2(&address, 1), CUDA_ERROR_OUT_OF_MEMORY, "0 of the 67108864");
    ASSERT_OK(api().cuMemFree_v2(most));
    alloc(1);
}

TEST_F(Memory, WrongAllocationsAndFreesAreRefused) {
    CUdeviceptr address = 0;
    EXPECT_FAILS(api().cuMemAlloc_v2(&address, 0), CUDA_ERROR_INVALID_VALUE, "0 bytes");
    EXPECT_OK(api().cuMemFree_v2(0));
    const CUdeviceptr block = alloc(64);
    EXPECT_FAILS(api().cuMemFree_v2(block + 16), CUDA_ERROR_INVALID_VALUE, "at byte 16 of");
    ASSERT_OK(api().cuMemFree_v2(block));
    EXPECT_FAILS(api().cuMemFree_v2(block), CUDA_ERROR_INVALID_VALUE, "cuMemFree_v2 has freed");
}

TEST_F(Memory, AccessesOutsideABlockAreNamed) {
    const CUdeviceptr block = alloc(64);
    uint32_t word = 0;
    EXPECT_FAILS(api().cuMemcpyHtoD_v2(block + 62, &word, 4), CUDA_ERROR_INVALID_VALUE,
                 "go past the end of the 64-byte block");
    EXPECT_FAILS(api().cuMemcpyHtoD_v2(block + 100, &word, 4), CUDA_ERROR_INVALID_VALUE,
                 "36 bytes past the end of the 64-byte block");
    EXPECT_FAILS(api().cuMemcpyHtoD_v2(block - 8, &word, 4), CUDA_ERROR_INVALID_VALUE,
                 "8 bytes before the 64-byte block");
    EXPECT_FAILS(api().cuMemcpyHtoD_v2(0, &word, 4), CUDA_ERROR_INVALID_VALUE, "null");
    EXPECT_FAILS(api().cuMemsetD8_v2(block, 0, 65), CUDA_ERROR_INVALID_VALUE, "past the end");
    EXPECT_FAILS(api().cuMemcpyHtoD_v2(reinterpret_cast<CUdeviceptr>(&word), &word, 4),
                 CUDA_ERROR_INVALID_VALUE, "neither pinned nor registered");
}

TEST_F(Memory, FreshMemoryMayNotReachTheHost) {
    const CUdeviceptr block = alloc(64);
    ASSERT_OK(api().cuMemsetD8_v2(block, 0, 60));
    uint32_t words[16];
    EXPECT_FAILS(api().cuMemcpyDtoH_v2(words, block, 64), CUDA_ERROR_LAUNCH_FAILED,
                 "that nothing has written");
    EXPECT_NE(report().find("at byte 60 of the 64-byte block"), std::string::npos) << report();
    // The fault has ended the context, as on hardware.
    EXPECT_FAILS(api().cuMemFree_v2(block), CUDA_ERROR_LAUNCH_FAILED, "earlier fault");
    EXPECT_FAILS(api().cuCtxSynchronize(), CUDA_ERROR_LAUNCH_FAILED, "earlier fault");
}

TEST_F(Memory, MarkedMemoryIsFreshAgain) {
    const CUdeviceptr block = alloc(64);
    ASSERT_OK(api().cuMemsetD8_v2(block, 0, 64));
    uint32_t words[16];
    ASSERT_OK(api().cuMemcpyDtoH_v2(words, block, 64));
    ASSERT_OK(api().fattnVirtualGpuMarkUndefined(block, 64, nullptr));
    EXPECT_FAILS(api().cuMemcpyDtoH_v2(words, block, 64), CUDA_ERROR_LAUNCH_FAILED,
                 "that nothing has written");
}

TEST_F(Memory, CopiesCarryFreshnessAlong) {
    const CUdeviceptr from = alloc(64), to = alloc(64);
    ASSERT_OK(api().cuMemsetD8_v2(to, 0, 64));
    ASSERT_OK(api().cuMemcpyDtoD_v2(to, from, 64));
    uint32_t words[16];
    EXPECT_FAILS(api().cuMemcpyDtoH_v2(words, to, 64), CUDA_ERROR_LAUNCH_FAILED, "written");
}

TEST_F(Memory, PinnedMemoryBeginsAsNaNs) {
    const uint32_t* const words = pinned(4);
    EXPECT_TRUE(std::isnan(std::bit_cast<float>(words[0])));
    EXPECT_EQ(words[0] & 0xffff, 0x7fa1u);
    // As bfloat16 and as half it is a NaN too: all exponent bits set, a mantissa bit set.
    EXPECT_EQ(0x7fa1 & 0x7f80, 0x7f80);
    EXPECT_EQ(0x7fa1 & 0x7c00, 0x7c00);
}

TEST_F(Memory, PinnedMemoryIsDeviceMemoryOfTheSameAddress) {
    uint32_t* const words = pinned(4);
    CUdeviceptr address = 0;
    ASSERT_OK(api().cuMemHostGetDevicePointer_v2(&address, words, 0));
    EXPECT_EQ(address, reinterpret_cast<CUdeviceptr>(words));
    ASSERT_OK(api().cuMemsetD32_v2(address, 7, 4));
    EXPECT_EQ(words[3], 7u);
    unsigned flags = 9;
    ASSERT_OK(api().cuMemHostGetFlags(&flags, words));
    EXPECT_EQ(flags, 0u);
    EXPECT_OK(api().cuMemFreeHost(words));
    EXPECT_FAILS(api().cuMemFreeHost(words), CUDA_ERROR_INVALID_VALUE, "neither pinned");
}

TEST_F(Memory, WritingBehindPinnedMemoryIsSeenWhenItIsFreed) {
    uint32_t* const words = pinned(3);
    reinterpret_cast<volatile uint32_t*>(words)[4] = 1;
    EXPECT_FAILS(api().cuMemFreeHost(words), CUDA_ERROR_INVALID_VALUE,
                 "4 bytes past the end of the 12-byte block");
}

TEST(MemoryDeathTest, TouchingTheGuardBeforePinnedMemoryStopsTheProcess) {
    EXPECT_DEATH(
        {
            CUcontext context = nullptr;
            void* memory = nullptr;
            api().cuInit(0);
            api().cuCtxCreate_v2(&context, 0, 0);
            api().cuMemHostAlloc(&memory, 16, 0);
            static_cast<volatile char*>(memory)[-1] = 1;
        },
        "");
}

TEST_F(Memory, RegisteredMemoryIsKnownUntilItIsNot) {
    auto words = std::make_unique<uint32_t[]>(1024);
    ASSERT_OK(api().cuMemHostRegister_v2(words.get(), 4096, CU_MEMHOSTREGISTER_PORTABLE));
    EXPECT_FAILS(api().cuMemHostRegister_v2(words.get() + 8, 64, 0),
                 CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, "shares bytes");
    ASSERT_OK(api().cuMemsetD32_v2(reinterpret_cast<CUdeviceptr>(words.get()), 5, 1024));
    EXPECT_EQ(words[1023], 5u);
    ASSERT_OK(api().cuMemHostUnregister(words.get()));
    EXPECT_FAILS(api().cuMemHostUnregister(words.get()), CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED,
                 "registered range");
    EXPECT_FAILS(api().cuMemHostRegister_v2(words.get(), 4096, 4), CUDA_ERROR_INVALID_VALUE, "0x4");
}

TEST_F(Memory, PointersSayWhatTheyAre) {
    const CUdeviceptr block = alloc(64);
    unsigned type = 0;
    int ordinal = -1;
    CUcontext context = nullptr;
    CUdeviceptr base = 0;
    size_t bytes = 0;
    ASSERT_OK(api().cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, block + 8));
    EXPECT_EQ(type, CU_MEMORYTYPE_DEVICE);
    ASSERT_OK(api().cuPointerGetAttribute(&context, CU_POINTER_ATTRIBUTE_CONTEXT, block));
    EXPECT_EQ(context, context_);
    ASSERT_OK(api().cuPointerGetAttribute(&ordinal, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, block));
    EXPECT_EQ(ordinal, 0);
    ASSERT_OK(api().cuPointerGetAttribute(&base, CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, block + 8));
    EXPECT_EQ(base, block);
    ASSERT_OK(api().cuMemGetAddressRange_v2(&base, &bytes, block + 8));
    EXPECT_EQ(bytes, 64u);
    uint32_t* const host = pinned(4);
    ASSERT_OK(api().cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
                                          reinterpret_cast<CUdeviceptr>(host)));
    EXPECT_EQ(type, CU_MEMORYTYPE_HOST);

    uint32_t local = 0;
    const auto foreign = reinterpret_cast<CUdeviceptr>(&local);
    EXPECT_FAILS(api().cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, foreign),
                 CUDA_ERROR_INVALID_VALUE, "neither pinned nor registered");
    CUpointer_attribute asked[] = {CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
                                   CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL};
    void* answers[] = {&type, &ordinal};
    ASSERT_OK(api().cuPointerGetAttributes(2, asked, answers, foreign));
    EXPECT_EQ(type, 0u);
    EXPECT_EQ(ordinal, -2);
    EXPECT_FAILS(api().cuPointerGetAttribute(&type, static_cast<CUpointer_attribute>(5), block),
                 CUDA_ERROR_NOT_SUPPORTED, "attribute 5");
}

TEST_F(Memory, BlocksBelongToTheirContext) {
    const CUdeviceptr block = alloc(64);
    CUcontext other = nullptr;
    ASSERT_OK(api().cuCtxCreate_v2(&other, 0, 1));
    EXPECT_FAILS(api().cuMemsetD8_v2(block, 0, 64), CUDA_ERROR_INVALID_VALUE,
                 "belongs to another context (device 0)");
    EXPECT_FAILS(api().cuMemFree_v2(block), CUDA_ERROR_INVALID_VALUE, "of the current context");
    const CUdeviceptr second = alloc(64);
    EXPECT_FAILS(api().cuMemcpyDtoD_v2(second, block, 64), CUDA_ERROR_INVALID_VALUE,
                 "another context");
    int can = 1;
    ASSERT_OK(api().cuDeviceCanAccessPeer(&can, 0, 1));
    EXPECT_EQ(can, 0);
    ASSERT_OK(api().cuCtxDestroy_v2(other));
}

TEST_F(Memory, StreamOrderedBlocksComeAndGoInStreamOrder) {
    const CUstream own = stream(), other = stream();
    CUdeviceptr block = 0;
    ASSERT_OK(api().cuMemAllocAsync(&block, 64, own));
    EXPECT_OK(api().cuMemsetD32Async(block, 3, 16, own));
    uint32_t words[16] = {};
    EXPECT_OK(api().cuMemcpyDtoHAsync_v2(words, block, 64, own));
    EXPECT_OK(api().cuMemFreeAsync(block, own));
    EXPECT_FAILS(api().cuMemFreeAsync(block, own), CUDA_ERROR_INVALID_VALUE, "already being freed");
    ASSERT_OK(api().cuStreamSynchronize(own));
    EXPECT_EQ(words[15], 3u);
    EXPECT_FAILS(api().cuMemsetD32Async(block, 3, 16, own), CUDA_ERROR_INVALID_VALUE,
                 "which cuMemFreeAsync has freed");

    // Another stream that waits for nobody is ahead of the allocation.
    ASSERT_OK(api().cuMemAllocAsync(&block, 64, own));
    EXPECT_OK(api().cuMemsetD32Async(block, 3, 16, other));
    EXPECT_FAILS(api().cuStreamSynchronize(other), CUDA_ERROR_ILLEGAL_ADDRESS,
                 "has not yet come in its stream's order");
}

TEST_F(Memory, UseAfterAStreamOrderedFreeIsAFault) {
    const CUstream own = stream();
    CUdeviceptr block = 0;
    ASSERT_OK(api().cuMemAllocAsync(&block, 64, own));
    ASSERT_OK(api().cuMemFreeAsync(block, own));
    EXPECT_OK(api().cuMemsetD32Async(block, 3, 16, own));
    EXPECT_FAILS(api().cuStreamSynchronize(own), CUDA_ERROR_ILLEGAL_ADDRESS,
                 "which cuMemFreeAsync has freed");
}

TEST_F(Memory, AFullDeviceWaitsForWhatIsBeingFreed) {
    const CUstream own = stream();
    CUdeviceptr first = 0, second = 0;
    ASSERT_OK(api().cuMemAllocAsync(&first, size_t{40} << 20, own));
    ASSERT_OK(api().cuMemFreeAsync(first, own));
    ASSERT_OK(api().cuMemAllocAsync(&second, size_t{40} << 20, own));
    ASSERT_OK(api().cuMemFreeAsync(second, own));
    ASSERT_OK(api().cuStreamSynchronize(own));
    const CUdeviceptr plain = alloc(64);
    EXPECT_FAILS(api().cuMemFreeAsync(plain, own), CUDA_ERROR_INVALID_VALUE,
                 "not of cuMemAllocAsync");
}

TEST_F(Memory, ThePoolOfADeviceCounts) {
    CUmemoryPool pool = nullptr;
    ASSERT_OK(api().cuDeviceGetDefaultMemPool(&pool, 0));
    const CUstream own = stream();
    CUdeviceptr block = 0;
    ASSERT_OK(api().cuMemAllocFromPoolAsync(&block, 1024, pool, own));
    uint64_t used = 0, threshold = 4096, answer = 0;
    ASSERT_OK(api().cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &used));
    EXPECT_EQ(used, 1024u);
    ASSERT_OK(api().cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &threshold));
    ASSERT_OK(api().cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &answer));
    EXPECT_EQ(answer, 4096u);
    EXPECT_FAILS(api().cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &used),
                 CUDA_ERROR_NOT_SUPPORTED, "attribute 7");
    ASSERT_OK(api().cuMemFreeAsync(block, own));
    ASSERT_OK(api().cuStreamSynchronize(own));
    ASSERT_OK(api().cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &used));
    EXPECT_EQ(used, 0u);
    EXPECT_OK(api().cuMemPoolTrimTo(pool, 0));
    CUmemoryPool other = nullptr;
    ASSERT_OK(api().cuDeviceGetMemPool(&other, 1));
    EXPECT_FAILS(api().cuMemAllocFromPoolAsync(&block, 1024, other, own), CUDA_ERROR_NOT_SUPPORTED,
                 "another device");
}

TEST_F(Memory, PitchedRowsAreApart) {
    CUdeviceptr block = 0;
    size_t pitch = 0;
    ASSERT_OK(api().cuMemAllocPitch_v2(&block, &pitch, 100, 4, 4));
    EXPECT_EQ(pitch, 512u);
    EXPECT_OK(api().cuMemsetD2D8_v2(block, pitch, 1, 100, 4));
    EXPECT_FAILS(api().cuMemAllocPitch_v2(&block, &pitch, 100, 4, 5), CUDA_ERROR_INVALID_VALUE,
                 "4, 8 or 16");
}

}  // namespace
}  // namespace fattn::vgpu::cuda
