// Memory, streams, events and workspaces through the C interface, on the virtual GPU.
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "cuda/graph_capture.h"
#include "cuda/host/dense_on_device.h"

namespace fattn::cuda {
namespace {

using test::DenseCase;
using test::DenseSpec;
using test::ok;

struct ReleaseWork {
    void operator()(fattn_stream* stream) const { fattn_stream_release(stream); }
    void operator()(fattn_event* event) const { fattn_event_release(event); }
    void operator()(fattn_memory* memory) const { fattn_memory_release(memory); }
};
using StreamOfTest = std::unique_ptr<fattn_stream, ReleaseWork>;
using EventOfTest = std::unique_ptr<fattn_event, ReleaseWork>;
using MemoryOfTest = std::unique_ptr<fattn_memory, ReleaseWork>;

class WorkOnCuda : public DensePlanOnCuda {
  protected:
    static StreamOfTest stream_on(fattn_device* on) {
        fattn_stream* made = nullptr;
        EXPECT_TRUE(ok(fattn_stream_create(on, 0, &made)));
        return StreamOfTest(made);
    }
    static EventOfTest event_on(fattn_device* on, uint32_t flags) {
        fattn_event* made = nullptr;
        EXPECT_TRUE(ok(fattn_event_create(on, flags, &made)));
        return EventOfTest(made);
    }
    static MemoryOfTest memory_on(fattn_device* on, fattn_memory_kind kind, uint64_t bytes) {
        fattn_memory* made = nullptr;
        EXPECT_TRUE(ok(fattn_memory_allocate(on, kind, bytes, &made)));
        return MemoryOfTest(made);
    }
    static char* address(const MemoryOfTest& memory) {
        void* found = nullptr;
        EXPECT_TRUE(ok(fattn_memory_address(memory.get(), &found, nullptr)));
        return static_cast<char*>(found);
    }
    static void expect_error(fattn_status found, fattn_status status, const char* words) {
        EXPECT_EQ(found, status);
        EXPECT_NE(std::strstr(fattn_last_error(), words), nullptr) << fattn_last_error();
    }
};

TEST_F(WorkOnCuda, BytesGoThereAndBackInOrder) {
    const StreamOfTest stream = stream_on(handle.get());
    const MemoryOfTest host = memory_on(handle.get(), FATTN_MEMORY_PINNED, 512);
    const MemoryOfTest a = memory_on(handle.get(), FATTN_MEMORY_DEVICE, 512);
    const MemoryOfTest b = memory_on(handle.get(), FATTN_MEMORY_DEVICE, 512);
    uint64_t bytes = 0;
    ASSERT_TRUE(ok(fattn_memory_address(b.get(), nullptr, &bytes)));
    EXPECT_EQ(bytes, 512U);
    std::memset(address(host), 5, 512);
    ASSERT_TRUE(
        ok(fattn_stream_copy(stream.get(), FATTN_COPY_TO_DEVICE, address(a), address(host), 512)));
    ASSERT_TRUE(ok(fattn_stream_fill(stream.get(), address(a) + 1, 255, 2)));
    ASSERT_TRUE(
        ok(fattn_stream_copy(stream.get(), FATTN_COPY_ON_DEVICE, address(b), address(a), 512)));
    ASSERT_TRUE(
        ok(fattn_stream_copy(stream.get(), FATTN_COPY_TO_HOST, address(host), address(b), 512)));
    ASSERT_TRUE(ok(fattn_stream_synchronize(stream.get())));
    int32_t done = 0;
    ASSERT_TRUE(ok(fattn_stream_query(stream.get(), &done)));
    EXPECT_EQ(done, 1);
    const char expected[4] = {5, static_cast<char>(255), static_cast<char>(255), 5};
    EXPECT_EQ(std::memcmp(address(host), expected, 4), 0);
    EXPECT_EQ(address(host)[511], 5);
}

TEST_F(WorkOnCuda, CopiesOutsideTheirMemoryAreRefused) {
    const StreamOfTest stream = stream_on(handle.get());
    const MemoryOfTest memory = memory_on(handle.get(), FATTN_MEMORY_DEVICE, 512);
    std::vector<char> host(600);
    fattn_stream* s = stream.get();
    expect_error(fattn_stream_copy(s, FATTN_COPY_TO_DEVICE, address(memory) + 8, host.data(), 505),
                 FATTN_STATUS_INVALID_ARGUMENT,
                 "to has 504 bytes from there to the end of its block; 505 are needed");
    expect_error(fattn_stream_copy(s, FATTN_COPY_TO_HOST, host.data(), host.data() + 300, 8),
                 FATTN_STATUS_INVALID_ARGUMENT, "from is not device memory");
    expect_error(fattn_stream_copy(s, FATTN_COPY_TO_HOST, nullptr, address(memory), 8),
                 FATTN_STATUS_INVALID_ARGUMENT, "to is NULL; 8 bytes were to be copied");
    expect_error(fattn_stream_copy(s, 3, host.data(), address(memory), 8),
                 FATTN_STATUS_INVALID_ARGUMENT, "kind is 3; allowed are 0 (to the device)");
    expect_error(fattn_stream_fill(s, address(memory), 256, 8), FATTN_STATUS_INVALID_ARGUMENT,
                 "value is 256; allowed are 0 to 255");
    expect_error(fattn_stream_fill(s, nullptr, 1, 8), FATTN_STATUS_INVALID_ARGUMENT,
                 "to is NULL; 8 bytes were to be filled");
    EXPECT_TRUE(ok(fattn_stream_copy(s, FATTN_COPY_TO_DEVICE, nullptr, nullptr, 0)));
    EXPECT_TRUE(ok(fattn_stream_fill(s, nullptr, 1, 0)));

    fattn_memory* none = nullptr;
    expect_error(fattn_memory_allocate(handle.get(), 2, 8, &none), FATTN_STATUS_INVALID_ARGUMENT,
                 "kind is 2; allowed are 0 (device) and 1 (pinned)");
    expect_error(fattn_memory_allocate(handle.get(), 0, uint64_t{1} << 34, &none),
                 FATTN_STATUS_OUT_OF_MEMORY, "17179869184 bytes asked for");
    EXPECT_EQ(none, nullptr);
    const MemoryOfTest empty = memory_on(handle.get(), FATTN_MEMORY_PINNED, 0);
    EXPECT_EQ(address(empty), nullptr);
}

TEST_F(WorkOnCuda, EventsOrderAndMeasure) {
    const StreamOfTest first = stream_on(handle.get()), second = stream_on(handle.get());
    const EventOfTest start = event_on(handle.get(), FATTN_EVENT_TIMING);
    const EventOfTest end = event_on(handle.get(), FATTN_EVENT_TIMING);
    const MemoryOfTest memory = memory_on(handle.get(), FATTN_MEMORY_DEVICE, 64);
    char found = 0;
    ASSERT_TRUE(ok(fattn_event_record(start.get(), first.get())));
    ASSERT_TRUE(ok(fattn_stream_fill(first.get(), address(memory), 9, 64)));
    ASSERT_TRUE(ok(fattn_event_record(end.get(), first.get())));
    ASSERT_TRUE(ok(fattn_stream_wait(second.get(), end.get())));
    ASSERT_TRUE(
        ok(fattn_stream_copy(second.get(), FATTN_COPY_TO_HOST, &found, address(memory), 1)));
    ASSERT_TRUE(ok(fattn_stream_synchronize(second.get())));
    EXPECT_EQ(found, 9);
    int32_t done = 0;
    ASSERT_TRUE(ok(fattn_event_query(end.get(), &done)));
    EXPECT_EQ(done, 1);
    float milliseconds = -1;
    ASSERT_TRUE(ok(fattn_event_elapsed(start.get(), end.get(), &milliseconds)));
    EXPECT_GE(milliseconds, 0.0F);

    fattn_event* none = nullptr;
    expect_error(fattn_event_create(handle.get(), 2, &none), FATTN_STATUS_UNSUPPORTED,
                 "flags is 2; this library knows 0 and 1 (FATTN_EVENT_TIMING)");
    const test::DeviceHandle other = open_handle(kVirtualSm90);
    const EventOfTest there = event_on(other.get(), 0);
    expect_error(fattn_event_record(there.get(), first.get()), FATTN_STATUS_INVALID_ARGUMENT,
                 "event and stream are of two contexts, on CUDA devices 2 and 0");
    expect_error(fattn_event_elapsed(start.get(), there.get(), &milliseconds),
                 FATTN_STATUS_INVALID_ARGUMENT, "start and end are of two contexts");
    const test::DeviceHandle again = open_handle(kVirtualSm80);
    EXPECT_TRUE(ok(fattn_event_record(event_on(again.get(), 0).get(), first.get())))
        << "two handles of one context mix";
}

TEST_F(WorkOnCuda, HandlesKeepWhatTheyNeed) {
    test::DeviceHandle mine = open_handle(kVirtualSm80);
    StreamOfTest stream = stream_on(mine.get());
    MemoryOfTest memory = memory_on(mine.get(), FATTN_MEMORY_DEVICE, 64);
    mine.reset();
    ASSERT_TRUE(ok(fattn_stream_fill(stream.get(), address(memory), 1, 64)));
    ASSERT_TRUE(ok(fattn_stream_retain(stream.get())));
    fattn_stream* const raw = stream.get();
    stream.reset();
    EXPECT_TRUE(ok(fattn_stream_synchronize(raw)));
    fattn_stream_release(raw);
}

TEST_F(WorkOnCuda, ThePlansOfAnAttachedContextLiveInIt) {
    expect_error(fattn_device_attach(nullptr, nullptr), FATTN_STATUS_INVALID_ARGUMENT,
                 "device is NULL");
    fattn_device* raw = nullptr;
    expect_error(fattn_device_attach(nullptr, &raw), FATTN_STATUS_INVALID_ARGUMENT,
                 "no CUDA context was given, and none is current on this thread");
    const std::shared_ptr<const Device> sm90 = open(kVirtualSm90);
    {
        const ContextScope scope(*sm90);
        ASSERT_STATUS_OK(scope.status());
        ASSERT_TRUE(ok(fattn_device_attach(nullptr, &raw)));
    }
    const test::DeviceHandle attached(raw);
    fattn_device_description d{};
    d.struct_size = sizeof(d);
    ASSERT_TRUE(ok(fattn_device_info(attached.get(), &d)));
    EXPECT_EQ(d.index, kVirtualSm90);
    EXPECT_EQ(d.architecture, 90);
    EXPECT_EQ(d.memory_bytes, uint64_t{256} << 20);
    void* context = nullptr;
    ASSERT_TRUE(ok(fattn_device_context(attached.get(), &context)));
    EXPECT_EQ(context, static_cast<void*>(sm90->context()));
    uint64_t free_bytes = 0, total = 0;
    ASSERT_TRUE(ok(fattn_device_memory(attached.get(), &free_bytes, &total)));
    EXPECT_EQ(total, d.memory_bytes);
    EXPECT_LE(free_bytes, total);
    EXPECT_TRUE(ok(fattn_device_synchronize(attached.get())));

    DenseSpec spec;
    spec.dtype = DType::kF16;
    spec.q_len = spec.kv_len = 8;
    spec.head_dim = spec.head_dim_v = 32;
    DenseCase c(spec);
    fattn_plan* plan = nullptr;
    const fattn_dense_problem problem = c.c_problem();
    ASSERT_TRUE(ok(fattn_dense_plan(attached.get(), &problem, &plan)));
    const test::PlanHandle held(plan);
    run_forward(sm90, plan, c);
    EXPECT_TRUE(forward_is_near(dense_truth(c), c));
}

TEST_F(WorkOnCuda, ABackwardRunTakesTheWorkspaceThatItsStreamWasPreparedWith) {
    DenseSpec spec;
    spec.dtype = DType::kBF16;
    spec.q_len = 20;
    spec.kv_len = 40;
    spec.head_dim = spec.head_dim_v = 64;
    spec.backward = true;
    DenseCase c(spec);
    const test::PlanHandle plan = plan_of(c);
    ASSERT_NE(plan, nullptr);
    fattn_plan_description d{};
    d.struct_size = sizeof(d);
    ASSERT_TRUE(ok(fattn_plan_info(plan.get(), &d)));
    EXPECT_EQ(d.forward_device_workspace_bytes, 0U);
    EXPECT_EQ(d.backward_device_workspace_bytes, 160U);
    EXPECT_EQ(d.backward_workspace_bytes, 0U);

    run_forward(device, plan.get(), c);
    BackwardOnDevice backward(device, plan.get(), c);
    const StreamOfTest stream = stream_on(handle.get());
    ASSERT_TRUE(ok(fattn_stream_native(stream.get(), &backward.run.stream)));
    backward.run.workspace = nullptr;
    backward.run.workspace_bytes = 0;
    expect_error(backward.start(), FATTN_STATUS_WORKSPACE_TOO_SMALL,
                 "the run needs 160 bytes of workspace; the stream's pool holds 0; prepare the "
                 "stream for the plan (fattn_plan_prepare)");
    ASSERT_TRUE(ok(fattn_plan_prepare(plan.get(), FATTN_PASS_BACKWARD, backward.run.stream)));
    ASSERT_TRUE(ok(backward.start()));
    ASSERT_TRUE(ok(fattn_stream_synchronize(stream.get())));
    backward.get_gradients();
    EXPECT_TRUE(backward_is_near(dense_truth(c), c));

    Stream borrowed;
    ASSERT_STATUS_OK(Stream::borrow(device, backward.run.stream, &borrowed));
    GraphCapture capture(borrowed);
    ASSERT_EQ(capture.begin(), Result::kSuccess);
    expect_error(backward.start(), FATTN_STATUS_INVALID_ARGUMENT,
                 "run->workspace is NULL while the stream is being captured");
    ASSERT_EQ(capture.end(), Result::kSuccess);

    const test::DeviceHandle other = open_handle(kVirtualSm90);
    void* foreign = nullptr;
    const StreamOfTest there = stream_on(other.get());
    ASSERT_TRUE(ok(fattn_stream_native(there.get(), &foreign)));
    expect_error(fattn_plan_prepare(plan.get(), FATTN_PASS_BACKWARD, foreign),
                 FATTN_STATUS_INVALID_ARGUMENT, "the stream belongs to another context");
}

}  // namespace
}  // namespace fattn::cuda
