// Streams as lazily run queues, events, host functions, virtual time.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

#include "driver/virtual_driver.h"

namespace fattn::vgpu::cuda {
namespace {

class Streams : public DriverTest {
  protected:
    // Writes 1 to a block on one stream and copies it out on another; between them an event wait,
    // or none. Gives what came out.
    uint32_t through_two_streams(bool with_wait) {
        const CUstream producer = stream(), consumer = stream();
        const CUdeviceptr block = alloc(4);
        EXPECT_OK(api().cuMemsetD32Async(block, 7, 1, producer));
        EXPECT_OK(api().cuStreamSynchronize(producer));
        EXPECT_OK(api().cuMemsetD32Async(block, 8, 1, producer));
        if (with_wait) {
            const CUevent written = event(CU_EVENT_DISABLE_TIMING);
            EXPECT_OK(api().cuEventRecord(written, producer));
            EXPECT_OK(api().cuStreamWaitEvent(consumer, written, 0));
        }
        uint32_t* const out = pinned(1);
        EXPECT_OK(api().cuMemcpyDtoHAsync_v2(out, block, 4, consumer));
        EXPECT_OK(api().cuStreamSynchronize(consumer));
        return *out;
    }
};

TEST_F(Streams, AMissingEventWaitGivesTheOldContents) {
    EXPECT_EQ(through_two_streams(true), 8u);
    EXPECT_EQ(through_two_streams(false), 7u);
    configure("order=early");
    EXPECT_EQ(through_two_streams(false), 8u) << "the order early hides the mistake";
}

TEST_F(Streams, SomeSeedsShowAMissingEventWaitAndNoneAWait) {
    int num_shown = 0;
    for (int seed = 1; seed <= 24; ++seed) {
        configure("order=seeded;seed=" + std::to_string(seed));
        EXPECT_EQ(through_two_streams(true), 8u);
        num_shown += through_two_streams(false) == 7;
    }
    EXPECT_GT(num_shown, 2);
    EXPECT_LT(num_shown, 22);
}

TEST_F(Streams, OneSeedIsOneOrder) {
    const auto outcomes = [&] {
        configure("order=seeded;seed=1");
        configure("seed=99");
        std::vector<uint32_t> result;
        for (int round = 0; round < 16; ++round) result.push_back(through_two_streams(false));
        return result;
    };
    const std::vector<uint32_t> once = outcomes();
    EXPECT_EQ(outcomes(), once);
    EXPECT_NE(std::count(once.begin(), once.end(), 7u), 0);
    EXPECT_NE(std::count(once.begin(), once.end(), 8u), 0);
}

TEST_F(Streams, BlockingStreamsAndTheLegacyOneWaitForEachOther) {
    const CUstream blocking = stream(CU_STREAM_DEFAULT);
    const CUdeviceptr block = alloc(4);
    uint32_t* const out = pinned(1);
    ASSERT_OK(api().cuMemsetD32Async(block, 1, 1, blocking));
    ASSERT_OK(api().cuMemsetD32Async(block, 2, 1, nullptr));
    ASSERT_OK(api().cuMemsetD32Async(block, 3, 1, blocking));
    ASSERT_OK(api().cuMemcpyDtoHAsync_v2(out, block, 4, kLegacyStream));
    ASSERT_OK(api().cuStreamSynchronize(nullptr));
    EXPECT_EQ(*out, 3u);
    // A destroyed stream's work is still waited for.
    ASSERT_OK(api().cuMemsetD32Async(block, 4, 1, blocking));
    ASSERT_OK(api().cuStreamDestroy_v2(blocking));
    ASSERT_OK(api().cuMemcpyDtoHAsync_v2(out, block, 4, nullptr));
    ASSERT_OK(api().cuStreamSynchronize(nullptr));
    EXPECT_EQ(*out, 4u);
}

TEST_F(Streams, EachThreadHasAStreamOfItsOwn) {
    unsigned long long first = 0, again = 0, other = 0;
    ASSERT_OK(api().cuStreamGetId(kPerThreadStream, &first));
    ASSERT_OK(api().cuStreamGetId(kPerThreadStream, &again));
    EXPECT_EQ(first, again);
    const CUdeviceptr block = alloc(4);
    ASSERT_OK(api().cuMemsetD32_v2(block, 1, 1));
    ASSERT_OK(api().cuCtxSynchronize());
    std::thread([&] {
        EXPECT_OK(api().cuCtxPushCurrent_v2(context_));
        EXPECT_OK(api().cuStreamGetId(kPerThreadStream, &other));
        EXPECT_OK(api().cuMemsetD32Async(block, 2, 1, kPerThreadStream));
    }).join();
    EXPECT_NE(other, first);
    // Nothing orders this thread's stream behind the other's; the legacy stream is behind both.
    uint32_t* const out = pinned(2);
    ASSERT_OK(api().cuMemcpyDtoHAsync_v2(out, block, 4, kPerThreadStream));
    ASSERT_OK(api().cuStreamSynchronize(kPerThreadStream));
    EXPECT_EQ(out[0], 1u);
    ASSERT_OK(api().cuMemcpyDtoHAsync_v2(out + 1, block, 4, nullptr));
    ASSERT_OK(api().cuStreamSynchronize(nullptr));
    EXPECT_EQ(out[1], 2u);
}

TEST_F(Streams, QueriesComeToAnEnd) {
    const CUstream own = stream();
    EXPECT_OK(api().cuStreamQuery(own));
    const CUdeviceptr block = alloc(4);
    const CUevent end = event();
    EXPECT_OK(api().cuEventQuery(end)) << "an event that was never recorded is complete";
    for (int count = 0; count < 5; ++count) ASSERT_OK(api().cuMemsetD32Async(block, 1, 1, own));
    ASSERT_OK(api().cuEventRecord(end, own));
    EXPECT_FAILS(api().cuEventQuery(end), CUDA_ERROR_NOT_READY, "has not ended");
    EXPECT_FAILS(api().cuStreamQuery(own), CUDA_ERROR_NOT_READY, "work to do");
    int num_queries = 2;
    while (api().cuEventQuery(end) == CUDA_ERROR_NOT_READY) ++num_queries;
    EXPECT_LE(num_queries, 7);
    EXPECT_OK(api().cuStreamQuery(own));
    ASSERT_OK(api().cuMemsetD32Async(block, 1, 1, nullptr));
    num_queries = 0;
    while (api().cuStreamQuery(nullptr) == CUDA_ERROR_NOT_READY) ++num_queries;
    EXPECT_LE(num_queries, 3);
}

TEST_F(Streams, EventsMeasureVirtualTime) {
    const CUstream own = stream();
    const CUdeviceptr block = alloc(1 << 20);
    uint32_t* const host = pinned(1 << 18);
    const CUevent begin = event(), middle = event(), end = event();
    ASSERT_OK(api().cuMemsetD32Async(block, 1, 1 << 18, own));
    ASSERT_OK(api().cuEventRecord(begin, own));
    ASSERT_OK(api().cuMemcpyDtoHAsync_v2(host, block, 1 << 10, own));
    ASSERT_OK(api().cuEventRecord(middle, own));
    ASSERT_OK(api().cuMemcpyDtoHAsync_v2(host, block, 1 << 20, own));
    ASSERT_OK(api().cuEventRecord(end, own));
    float first = 0, second = 0;
    EXPECT_FAILS(api().cuEventElapsedTime(&first, begin, end), CUDA_ERROR_NOT_READY, "not ended");
    ASSERT_OK(api().cuEventSynchronize(end));
    ASSERT_OK(api().cuEventElapsedTime(&first, begin, middle));
    ASSERT_OK(api().cuEventElapsedTime(&second, middle, end));
    EXPECT_GT(first, 0);
    EXPECT_GT(second, 10 * first);
    const CUevent untimed = event(CU_EVENT_DISABLE_TIMING), unrecorded = event();
    ASSERT_OK(api().cuEventRecord(untimed, own));
    EXPECT_FAILS(api().cuEventElapsedTime(&first, begin, untimed), CUDA_ERROR_INVALID_HANDLE,
                 "without timing");
    EXPECT_FAILS(api().cuEventElapsedTime(&first, unrecorded, end), CUDA_ERROR_INVALID_HANDLE,
                 "not been recorded");
}

TEST_F(Streams, TheSecondRecordOfAnEventCounts) {
    const CUstream producer = stream(), consumer = stream();
    const CUdeviceptr block = alloc(4);
    const CUevent written = event();
    uint32_t* const out = pinned(1);
    ASSERT_OK(api().cuMemsetD32Async(block, 1, 1, producer));
    ASSERT_OK(api().cuEventRecord(written, producer));
    ASSERT_OK(api().cuMemsetD32Async(block, 2, 1, producer));
    ASSERT_OK(api().cuEventRecord(written, producer));
    ASSERT_OK(api().cuStreamWaitEvent(consumer, written, 0));
    ASSERT_OK(api().cuMemcpyDtoHAsync_v2(out, block, 4, consumer));
    ASSERT_OK(api().cuEventDestroy_v2(written));
    ASSERT_OK(api().cuStreamSynchronize(consumer));
    EXPECT_EQ(*out, 2u);
}

struct Calls {
    std::atomic<int> count{0};
    std::thread::id thread;
    CUresult inside = CUDA_SUCCESS;
};

void note_call(void* argument) {
    auto* const calls = static_cast<Calls*>(argument);
    size_t free_bytes = 0, total = 0;
    calls->inside = api().cuMemGetInfo_v2(&free_bytes, &total);
    calls->thread = std::this_thread::get_id();
    ++calls->count;
}

TEST_F(Streams, HostFunctionsRunInOrderOnAThreadOfTheDriver) {
    for (const char* order : {"late", "early", "seeded"}) {
        configure(std::string("order=") + order);
        const CUstream own = stream();
        const CUdeviceptr block = alloc(4);
        uint32_t* const out = pinned(1);
        Calls calls;
        ASSERT_OK(api().cuMemsetD32Async(block, 3, 1, own));
        ASSERT_OK(api().cuLaunchHostFunc(own, note_call, &calls));
        ASSERT_OK(api().cuMemcpyDtoHAsync_v2(out, block, 4, own));
        ASSERT_OK(api().cuStreamSynchronize(own));
        EXPECT_EQ(calls.count, 1);
        EXPECT_EQ(*out, 3u);
        EXPECT_NE(calls.thread, std::this_thread::get_id());
        EXPECT_EQ(calls.inside, CUDA_ERROR_NOT_PERMITTED);
    }
}

TEST_F(Streams, AHostFunctionRunsWithoutAnybodyWaiting) {
    const CUstream own = stream();
    Calls calls;
    ASSERT_OK(api().cuMemsetD32Async(alloc(4), 3, 1, own));
    ASSERT_OK(api().cuLaunchHostFunc(own, note_call, &calls));
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (calls.count == 0 && std::chrono::steady_clock::now() < limit) std::this_thread::yield();
    EXPECT_EQ(calls.count, 1);
}

TEST_F(Streams, AHostFunctionMayWaitForAThreadThatUsesTheDriver) {
    struct Handshake {
        std::atomic<bool> entered{false}, released{false};
    } handshake;
    const CUstream own = stream(), other = stream();
    const CUdeviceptr block = alloc(4);
    ASSERT_OK(api().cuLaunchHostFunc(
        own,
        [](void* argument) {
            auto* const shared = static_cast<Handshake*>(argument);
            shared->entered = true;
            while (!shared->released) std::this_thread::yield();
        },
        &handshake));
    while (!handshake.entered) std::this_thread::yield();
    EXPECT_OK(api().cuMemsetD32Async(block, 3, 1, other));
    EXPECT_OK(api().cuStreamSynchronize(other));
    EXPECT_FAILS(api().cuStreamQuery(own), CUDA_ERROR_NOT_READY, "work to do");
    handshake.released = true;
    EXPECT_OK(api().cuStreamSynchronize(own));
}

TEST_F(Streams, AfterAFaultHostFunctionsAreNotCalled) {
    const CUstream own = stream();
    const CUdeviceptr block = alloc(64);
    uint32_t* const out = pinned(16);
    Calls calls;
    ASSERT_OK(api().cuMemcpyDtoHAsync_v2(out, block, 64, own));
    ASSERT_OK(api().cuLaunchHostFunc(own, note_call, &calls));
    EXPECT_FAILS(api().cuStreamSynchronize(own), CUDA_ERROR_LAUNCH_FAILED, "has written");
    EXPECT_EQ(calls.count, 0);
}

TEST_F(Streams, PropertiesAndWrongHandles) {
    CUstream urgent = nullptr;
    ASSERT_OK(api().cuStreamCreateWithPriority(&urgent, CU_STREAM_NON_BLOCKING, -99));
    int priority = 0;
    unsigned flags = 0;
    CUcontext context = nullptr;
    ASSERT_OK(api().cuStreamGetPriority(urgent, &priority));
    EXPECT_EQ(priority, -5);
    ASSERT_OK(api().cuStreamGetFlags(urgent, &flags));
    EXPECT_EQ(flags, CU_STREAM_NON_BLOCKING);
    ASSERT_OK(api().cuStreamGetCtx(urgent, &context));
    EXPECT_EQ(context, context_);
    ASSERT_OK(api().cuStreamDestroy_v2(urgent));
    EXPECT_FAILS(api().cuStreamSynchronize(urgent), CUDA_ERROR_INVALID_HANDLE, "no stream");
    EXPECT_FAILS(api().cuStreamDestroy_v2(nullptr), CUDA_ERROR_INVALID_HANDLE, "no stream");
    CUstream wrong = nullptr;
    EXPECT_FAILS(api().cuStreamCreate(&wrong, 2), CUDA_ERROR_INVALID_VALUE, "0x2");
    CUevent wrong_event = nullptr;
    EXPECT_FAILS(api().cuEventCreate(&wrong_event, 16), CUDA_ERROR_INVALID_VALUE, "0x10");
    EXPECT_FAILS(api().cuEventCreate(&wrong_event, CU_EVENT_INTERPROCESS), CUDA_ERROR_NOT_SUPPORTED,
                 "processes");
    EXPECT_FAILS(api().cuEventRecord(nullptr, nullptr), CUDA_ERROR_INVALID_HANDLE, "no event");
    EXPECT_FAILS(api().cuStreamWaitEvent(nullptr, event(), 1), CUDA_ERROR_NOT_SUPPORTED, "flags 1");
    EXPECT_FAILS(api().cuLaunchHostFunc(nullptr, nullptr, nullptr), CUDA_ERROR_INVALID_VALUE,
                 "function is null");
}

TEST_F(Streams, StreamsAndEventsBelongToTheirContext) {
    const CUstream own = stream();
    const CUevent own_event = event();
    CUcontext other = nullptr;
    ASSERT_OK(api().cuCtxCreate_v2(&other, 0, 1));
    const CUdeviceptr block = alloc(4);
    EXPECT_FAILS(api().cuMemsetD32Async(block, 0, 1, own), CUDA_ERROR_INVALID_HANDLE,
                 "stream belongs to context");
    EXPECT_FAILS(api().cuEventRecord(own_event, nullptr), CUDA_ERROR_INVALID_HANDLE,
                 "event belongs to context");
    EXPECT_OK(api().cuStreamSynchronize(own)) << "waiting is allowed from any context";
    EXPECT_OK(api().cuStreamWaitEvent(nullptr, own_event, 0));
    ASSERT_OK(api().cuCtxDestroy_v2(other));
}

}  // namespace
}  // namespace fattn::vgpu::cuda
