// Devices, contexts, streams, events, memory and workspace pools on the virtual GPU.
#include "cuda/runtime/device.h"

#include <gtest/gtest.h>

#include <cstring>
#include <thread>
#include <vector>

#include "cuda/graph_capture.h"
#include "cuda/runtime/event.h"
#include "cuda/runtime/memory.h"
#include "cuda/runtime/tensor_map.h"
#include "cuda/runtime/workspace_pool.h"
#include "cuda/virtual_device.h"

namespace fattn::cuda {
namespace {

using DeviceTest = OnVirtualDevice;

ContextHandle current_context(const Device& device) {
    ContextHandle context = nullptr;
    EXPECT_EQ(device.call().context_get_current(&context), Result::kSuccess);
    return context;
}

TEST_F(DeviceTest, ModelsAreDescribed) {
    EXPECT_TRUE(driver->named());
    EXPECT_GE(driver->version(), 12000);
    int count = 0;
    ASSERT_STATUS_OK(count_devices(*driver, &count));
    ASSERT_EQ(count, 3);
    const int architectures[] = {80, 89, 90};
    const int shared[] = {163 * 1024, 99 * 1024, 227 * 1024};
    for (int i = 0; i < count; ++i) {
        DeviceProperties properties;
        ASSERT_STATUS_OK(describe_device(*driver, i, &properties));
        EXPECT_EQ(properties.ordinal, i);
        EXPECT_EQ(properties.architecture, architectures[i]);
        EXPECT_EQ(properties.shared_bytes_per_block, shared[i]);
        EXPECT_EQ(properties.total_bytes, std::size_t{256} << 20);
        EXPECT_EQ(properties.cluster_launch, i == kVirtualSm90);
        EXPECT_EQ(properties.tensor_maps, i == kVirtualSm90);
        EXPECT_FALSE(properties.name.empty());
    }
}

TEST_F(DeviceTest, ADeviceThatIsNotThereIsToldInWords) {
    std::shared_ptr<const Device> none;
    EXPECT_STATUS(Device::open(*driver, 7, &none), kDeviceUnavailable,
                  "CUDA device 7 was asked for; the driver shows 3, numbered from 0");
    EXPECT_STATUS(Device::open(*driver, -1, &none), kDeviceUnavailable, "CUDA device -1");
    EXPECT_EQ(none, nullptr);
}

TEST_F(DeviceTest, TheCallersContextIsCurrentAgainOnEveryPath) {
    const std::shared_ptr<const Device> other = open(kVirtualSm90);
    const ContextScope of_caller(*other);
    ASSERT_STATUS_OK(of_caller.status());
    const ContextHandle before = current_context(*device);
    ASSERT_EQ(before, other->context());

    DeviceMemory memory;
    ASSERT_STATUS_OK(DeviceMemory::allocate(device, 100, &memory));
    EXPECT_EQ(current_context(*device), before);
    DeviceMemory too_large;
    EXPECT_EQ(DeviceMemory::allocate(device, std::size_t{1} << 40, &too_large).code(),
              StatusCode::kOutOfMemory);
    EXPECT_EQ(current_context(*device), before);
    {
        Stream stream;
        ASSERT_STATUS_OK(Stream::create(device, 0, &stream));
        ASSERT_STATUS_OK(stream.synchronize());
    }
    memory = DeviceMemory();
    EXPECT_EQ(current_context(*device), before);
}

TEST_F(DeviceTest, AThreadThatNeverSawTheContextMayUseIt) {
    Status status;
    std::thread([&] {
        DeviceMemory memory;
        status = DeviceMemory::allocate(device, 1000, &memory);
    }).join();
    EXPECT_TRUE(status.ok()) << status.message();
}

TEST_F(DeviceTest, CopiesGoThereAndBack) {
    std::vector<int> from(1000), back(1000, -1);
    for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<int>(i * i);
    const std::size_t bytes = from.size() * sizeof(int);
    Stream stream;
    DeviceMemory a, b;
    ASSERT_STATUS_OK(Stream::create(device, 0, &stream));
    ASSERT_STATUS_OK(DeviceMemory::allocate(device, bytes, &a));
    ASSERT_STATUS_OK(DeviceMemory::allocate(device, bytes, &b));
    EXPECT_EQ(a.address() % 256, 0U);
    ASSERT_STATUS_OK(copy_to_device(stream, a.address(), from.data(), bytes));
    ASSERT_STATUS_OK(copy_on_device(stream, b.address(), a.address(), bytes));
    ASSERT_STATUS_OK(fill_bytes(stream, b.address(), 0, 40));
    ASSERT_STATUS_OK(copy_to_host(stream, back.data(), b.address(), bytes));
    ASSERT_STATUS_OK(stream.synchronize());
    for (std::size_t i = 0; i < 10; ++i) EXPECT_EQ(back[i], 0) << i;
    EXPECT_EQ(std::memcmp(back.data() + 10, from.data() + 10, bytes - 40), 0);
    bool done = false;
    ASSERT_STATUS_OK(stream.query(&done));
    EXPECT_TRUE(done);
}

TEST_F(DeviceTest, EventsOrderStreams) {
    Stream first, second;
    Event event;
    PinnedMemory host;
    DeviceMemory memory;
    ASSERT_STATUS_OK(Stream::create(device, 0, &first));
    ASSERT_STATUS_OK(Stream::create(device, -1, &second));
    ASSERT_STATUS_OK(Event::create(device, true, &event));
    ASSERT_STATUS_OK(PinnedMemory::allocate(device, 4096, &host));
    ASSERT_STATUS_OK(DeviceMemory::allocate(device, 4096, &memory));
    bool done = false;
    ASSERT_STATUS_OK(event.query(&done));
    EXPECT_TRUE(done) << "an event that was never recorded is done";
    ASSERT_STATUS_OK(fill_bytes(first, memory.address(), 7, 4096));
    ASSERT_STATUS_OK(event.record(first));
    ASSERT_STATUS_OK(event.hold(second));
    ASSERT_STATUS_OK(copy_to_host(second, host.address(), memory.address(), 4096));
    Event end;
    ASSERT_STATUS_OK(Event::create(device, true, &end));
    ASSERT_STATUS_OK(end.record(second));
    ASSERT_STATUS_OK(end.synchronize());
    EXPECT_EQ(static_cast<const unsigned char*>(host.address())[4095], 7);
    float milliseconds = -1;
    ASSERT_STATUS_OK(end.elapsed_milliseconds(event, &milliseconds));
    EXPECT_GE(milliseconds, 0.0F);
}

TEST_F(DeviceTest, AHostFunctionRunsInItsPlace) {
    Stream stream;
    ASSERT_STATUS_OK(Stream::create(device, 0, &stream));
    int calls = 0;
    ASSERT_STATUS_OK(stream.call_on_host([](void* data) { ++*static_cast<int*>(data); }, &calls));
    ASSERT_STATUS_OK(stream.synchronize());
    EXPECT_EQ(calls, 1);
}

TEST_F(DeviceTest, OutOfMemorySaysHowMuchThereIs) {
    DeviceMemory memory;
    EXPECT_STATUS(DeviceMemory::allocate(device, std::size_t{1} << 34, &memory), kOutOfMemory,
                  "17179869184 bytes asked for");
    EXPECT_EQ(memory.address(), 0U);
}

TEST_F(DeviceTest, StreamsAndPointersOfAnotherContextAreRefused) {
    const std::shared_ptr<const Device> other = open(kVirtualSm89);
    Stream foreign, borrowed;
    ASSERT_STATUS_OK(Stream::create(other, 0, &foreign));
    EXPECT_STATUS(Stream::borrow(device, foreign.handle(), &borrowed), kInvalidArgument,
                  "another context than the primary context of CUDA device 0");
    ASSERT_STATUS_OK(Stream::borrow(other, foreign.handle(), &borrowed));
    ASSERT_STATUS_OK(borrowed.synchronize());
    ASSERT_STATUS_OK(Stream::borrow(device, nullptr, &borrowed));
    ASSERT_STATUS_OK(borrowed.synchronize());

    DeviceMemory here, there;
    ASSERT_STATUS_OK(DeviceMemory::allocate(device, 256, &here));
    ASSERT_STATUS_OK(DeviceMemory::allocate(other, 256, &there));
    const auto pointer = [](DevicePointer address) {
        return reinterpret_cast<const void*>(static_cast<std::uintptr_t>(address));
    };
    EXPECT_TRUE(check_device_pointer(*device, pointer(here.address()), "args->q").ok());
    EXPECT_STATUS(check_device_pointer(*device, pointer(there.address()), "args->q"),
                  kInvalidArgument, "args->q was allocated in another context");
    EXPECT_STATUS(check_device_pointer(*device, &here, "args->q"), kInvalidArgument,
                  "args->q is not device memory");
}

TEST_F(DeviceTest, WorkspaceIsPreparedThenOnlyTaken) {
    WorkspacePool pool(device);
    Stream stream, other;
    ASSERT_STATUS_OK(Stream::create(device, 0, &stream));
    ASSERT_STATUS_OK(Stream::create(device, 0, &other));
    DevicePointer address = 1;
    ASSERT_STATUS_OK(pool.acquire(stream, 0, &address));
    EXPECT_EQ(address, 0U);
    EXPECT_STATUS(pool.acquire(stream, 1000, &address), kWorkspaceTooSmall,
                  "the run needs 1000 bytes of workspace; the stream's pool holds 0");
    ASSERT_STATUS_OK(pool.prepare(stream, 1000));
    ASSERT_STATUS_OK(pool.acquire(stream, 1000, &address));
    EXPECT_NE(address, 0U);
    const DevicePointer first = address;
    ASSERT_STATUS_OK(pool.prepare(stream, 500));
    ASSERT_STATUS_OK(pool.acquire(stream, 500, &address));
    EXPECT_EQ(address, first) << "a smaller need keeps the block";
    EXPECT_EQ(pool.acquire(other, 1, &address).code(), StatusCode::kWorkspaceTooSmall);
    ASSERT_STATUS_OK(pool.prepare(other, 300));
    ASSERT_STATUS_OK(pool.acquire(other, 300, &address));
    EXPECT_NE(address, first) << "two streams never share";
    EXPECT_EQ(pool.total_bytes(), 1300U);
    ASSERT_STATUS_OK(pool.release(stream));
    EXPECT_EQ(pool.total_bytes(), 300U);
    ASSERT_STATUS_OK(pool.trim());
    EXPECT_EQ(pool.total_bytes(), 0U);
}

TEST_F(DeviceTest, WorkspaceDoesNotGrowDuringCapture) {
    WorkspacePool pool(device);
    Stream stream;
    ASSERT_STATUS_OK(Stream::create(device, 0, &stream));
    ASSERT_STATUS_OK(pool.prepare(stream, 1000));
    GraphCapture capture(stream);
    ASSERT_EQ(capture.begin(), Result::kSuccess);
    bool capturing = false;
    ASSERT_STATUS_OK(stream.is_capturing(&capturing));
    EXPECT_TRUE(capturing);
    DevicePointer address = 0;
    ASSERT_STATUS_OK(pool.acquire(stream, 1000, &address));
    ASSERT_STATUS_OK(pool.prepare(stream, 1000));
    EXPECT_STATUS(pool.prepare(stream, 2000), kInvalidArgument,
                  "cannot grow from 1000 to 2000 bytes; prepare it before the capture begins");
    ASSERT_EQ(capture.end(), Result::kSuccess) << "nothing above has ended the capture";
}

TEST_F(DeviceTest, TensorMapsNameTheRuleThatIsBroken) {
    const std::shared_ptr<const Device> hopper = open(kVirtualSm90);
    DeviceMemory memory;
    ASSERT_STATUS_OK(DeviceMemory::allocate(hopper, 1 << 16, &memory));
    const auto* address =
        reinterpret_cast<const char*>(static_cast<std::uintptr_t>(memory.address()));
    const TensorMapShape good{.type = TensorMapType::kBF16,
                              .rank = 3,
                              .extents = {64, 32, 4},
                              .strides = {2, 128, 4096},
                              .box = {64, 16, 1}};
    TensorMap map;
    ASSERT_STATUS_OK(encode_tensor_map(*hopper, good, address, &map));

    TensorMapShape bad = good;
    bad.strides[1] = 120;
    EXPECT_STATUS(encode_tensor_map(*hopper, bad, address, &map), kInvalidArgument,
                  "stride 1 of a tensor map is 120 bytes");
    bad = good;
    bad.box[0] = 128;
    EXPECT_STATUS(encode_tensor_map(*hopper, bad, address, &map), kInvalidArgument,
                  "256 bytes wide; its swizzle allows 128");
    bad = good;
    bad.box[1] = 257;
    EXPECT_STATUS(encode_tensor_map(*hopper, bad, address, &map), kInvalidArgument,
                  "box extent 1 of a tensor map is 257");
    bad = good;
    bad.rank = 6;
    EXPECT_STATUS(encode_tensor_map(*hopper, bad, address, &map), kInvalidArgument,
                  "1 to 5 dimensions; 6 were given");
    EXPECT_STATUS(encode_tensor_map(*hopper, good, address + 8, &map), kInvalidArgument,
                  "must be a multiple of 16 bytes");
    EXPECT_STATUS(encode_tensor_map(*device, good, address, &map), kUnsupported,
                  "CUDA device 0 has no tensor maps");
}

}  // namespace
}  // namespace fattn::cuda
