// Capture of streams into graphs, replay, and the errors of capture.
#include <thread>

#include "driver/virtual_driver.h"

namespace fattn::vgpu::cuda {
namespace {

class Graphs : public DriverTest {
  protected:
    void begin(CUstream captured, CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_THREAD_LOCAL) {
        ASSERT_OK(api().cuStreamBeginCapture_v2(captured, mode));
    }

    CUstreamCaptureStatus status(CUstream captured) {
        CUstreamCaptureStatus result{};
        EXPECT_OK(api().cuStreamIsCapturing(captured, &result));
        return result;
    }

    // The capture of `captured` was invalidated: its next use and its end say so.
    void expect_invalidated(CUstream captured) {
        EXPECT_EQ(status(captured), CU_STREAM_CAPTURE_STATUS_INVALIDATED);
        EXPECT_FAILS(api().cuLaunchHostFunc(
                         captured, [](void*) {}, nullptr),
                     CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "earlier error");
        CUgraph graph = nullptr;
        EXPECT_FAILS(api().cuStreamEndCapture(captured, &graph),
                     CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "earlier error");
        EXPECT_EQ(graph, nullptr);
        EXPECT_EQ(status(captured), CU_STREAM_CAPTURE_STATUS_NONE);
    }
};

TEST_F(Graphs, ACaptureRunsNothingAndItsReplayEverything) {
    const CUstream own = stream();
    const CUdeviceptr block = alloc(8);
    uint32_t* const in = pinned(1);
    uint32_t* const out = pinned(2);
    begin(own);
    EXPECT_EQ(status(own), CU_STREAM_CAPTURE_STATUS_ACTIVE);
    ASSERT_OK(api().cuMemsetD32Async(block, 5, 2, own));
    ASSERT_OK(api().cuMemcpyHtoDAsync_v2(block, in, 4, own));
    ASSERT_OK(api().cuMemcpyDtoHAsync_v2(out, block, 8, own));
    CUgraph graph = nullptr;
    ASSERT_OK(api().cuStreamEndCapture(own, &graph));
    EXPECT_EQ(status(own), CU_STREAM_CAPTURE_STATUS_NONE);
    EXPECT_EQ(out[1], 0x7fa17fa1u) << "nothing has run";

    size_t num_nodes = 0, num_edges = 0;
    ASSERT_OK(api().cuGraphGetNodes(graph, nullptr, &num_nodes));
    ASSERT_EQ(num_nodes, 3u);
    CUgraphNode nodes[3];
    ASSERT_OK(api().cuGraphGetNodes(graph, nodes, &num_nodes));
    CUgraphNodeType type{};
    ASSERT_OK(api().cuGraphNodeGetType(nodes[0], &type));
    EXPECT_EQ(type, CU_GRAPH_NODE_TYPE_MEMSET);
    ASSERT_OK(api().cuGraphNodeGetType(nodes[2], &type));
    EXPECT_EQ(type, CU_GRAPH_NODE_TYPE_MEMCPY);
    ASSERT_OK(api().cuGraphGetEdges(graph, nullptr, nullptr, &num_edges));
    EXPECT_EQ(num_edges, 2u);

    CUgraphExec exec = nullptr;
    ASSERT_OK(api().cuGraphInstantiateWithFlags(&exec, graph, 0));
    ASSERT_OK(api().cuGraphDestroy(graph));
    EXPECT_FAILS(api().cuGraphNodeGetType(nodes[0], &type), CUDA_ERROR_INVALID_HANDLE, "no graph");
    ASSERT_OK(api().cuGraphUpload(exec, own));
    for (uint32_t round = 1; round <= 3; ++round) {
        *in = round;
        ASSERT_OK(api().cuGraphLaunch(exec, own));
        ASSERT_OK(api().cuStreamSynchronize(own));
        EXPECT_EQ(out[0], round);
        EXPECT_EQ(out[1], 5u);
    }
    ASSERT_OK(api().cuGraphExecDestroy(exec));
    EXPECT_FAILS(api().cuGraphLaunch(exec, own), CUDA_ERROR_INVALID_HANDLE, "executable graph");
}

TEST_F(Graphs, ForkAndJoinKeepTheirOrderUnderEverySeed) {
    const CUstream own = stream(), side = stream();
    const CUdeviceptr first = alloc(4), second = alloc(4), third = alloc(4);
    uint32_t* const out = pinned(2);
    const CUevent fork = event(), join = event();
    begin(own);
    ASSERT_OK(api().cuMemsetD32Async(first, 1, 1, own));
    ASSERT_OK(api().cuEventRecord(fork, own));
    ASSERT_OK(api().cuStreamWaitEvent(side, fork, 0));
    EXPECT_EQ(status(side), CU_STREAM_CAPTURE_STATUS_ACTIVE);
    ASSERT_OK(api().cuMemcpyDtoDAsync_v2(second, first, 4, side));
    ASSERT_OK(api().cuEventRecord(join, side));
    ASSERT_OK(api().cuMemsetD32Async(third, 9, 1, side));
    ASSERT_OK(api().cuEventRecord(join, side));
    ASSERT_OK(api().cuStreamWaitEvent(own, join, 0));
    ASSERT_OK(api().cuMemcpyDtoHAsync_v2(out, first, 4, own));
    ASSERT_OK(api().cuMemcpyDtoHAsync_v2(out + 1, second, 4, own));
    CUgraph graph = nullptr;
    ASSERT_OK(api().cuStreamEndCapture(own, &graph));
    EXPECT_EQ(status(side), CU_STREAM_CAPTURE_STATUS_NONE);
    CUgraphExec exec = nullptr;
    ASSERT_OK(api().cuGraphInstantiateWithFlags(&exec, graph, 0));
    for (int seed = 0; seed < 20; ++seed) {
        configure("order=seeded;seed=" + std::to_string(seed));
        out[0] = out[1] = 0;
        ASSERT_OK(api().cuGraphLaunch(exec, own));
        ASSERT_OK(api().cuGraphLaunch(exec, side));
        ASSERT_OK(api().cuStreamSynchronize(side));
        EXPECT_EQ(out[0], 1u);
        EXPECT_EQ(out[1], 1u);
    }
}

TEST_F(Graphs, HostFunctionsAreNodesToo) {
    const CUstream own = stream();
    int calls = 0;
    begin(own);
    ASSERT_OK(api().cuLaunchHostFunc(
        own, [](void* count) { ++*static_cast<int*>(count); }, &calls));
    CUgraph graph = nullptr;
    ASSERT_OK(api().cuStreamEndCapture(own, &graph));
    CUgraphExec exec = nullptr;
    ASSERT_OK(api().cuGraphInstantiateWithFlags(&exec, graph, 0));
    ASSERT_OK(api().cuGraphLaunch(exec, own));
    ASSERT_OK(api().cuGraphLaunch(exec, own));
    ASSERT_OK(api().cuStreamSynchronize(own));
    EXPECT_EQ(calls, 2);
}

TEST_F(Graphs, WaitingForACapturingStreamInvalidates) {
    const CUstream own = stream();
    begin(own);
    EXPECT_FAILS(api().cuStreamSynchronize(own), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
                 "cannot be waited for");
    expect_invalidated(own);
    begin(own);
    EXPECT_FAILS(api().cuStreamQuery(own), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "waited for");
    expect_invalidated(own);
    begin(own);
    EXPECT_FAILS(api().cuCtxSynchronize(), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "capturing");
    expect_invalidated(own);
}

TEST_F(Graphs, AllocatingWhileCapturingInvalidates) {
    const CUstream own = stream();
    CUdeviceptr address = 0;
    void* host = nullptr;
    const CUdeviceptr block = alloc(4);
    for (const CUstreamCaptureMode mode :
         {CU_STREAM_CAPTURE_MODE_GLOBAL, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL}) {
        begin(own, mode);
        EXPECT_FAILS(api().cuMemAlloc_v2(&address, 4), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
                     "cuMemAlloc_v2 is not permitted");
        expect_invalidated(own);
        begin(own, mode);
        EXPECT_FAILS(api().cuMemHostAlloc(&host, 4, 0), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
                     "not permitted");
        expect_invalidated(own);
        begin(own, mode);
        EXPECT_FAILS(api().cuMemFree_v2(block), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
                     "not permitted");
        expect_invalidated(own);
        begin(own, mode);
        EXPECT_FAILS(api().cuMemcpyDtoD_v2(block, block, 4), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
                     "not permitted");
        expect_invalidated(own);
    }
    begin(own, CU_STREAM_CAPTURE_MODE_RELAXED);
    EXPECT_OK(api().cuMemAlloc_v2(&address, 4));
    EXPECT_EQ(status(own), CU_STREAM_CAPTURE_STATUS_ACTIVE);
    EXPECT_FAILS(api().cuMemAllocAsync(&address, 4, own), CUDA_ERROR_NOT_SUPPORTED, "memory node");
    CUgraph graph = nullptr;
    ASSERT_OK(api().cuStreamEndCapture(own, &graph));
}

TEST_F(Graphs, OtherThreadsAreBoundByGlobalCapturesAlone) {
    const CUstream own = stream();
    const auto allocate_elsewhere = [&](CUstreamCaptureMode mode_there) {
        CUresult result = CUDA_SUCCESS;
        std::thread([&] {
            EXPECT_OK(api().cuCtxPushCurrent_v2(context_));
            EXPECT_OK(api().cuThreadExchangeStreamCaptureMode(&mode_there));
            EXPECT_EQ(mode_there, CU_STREAM_CAPTURE_MODE_GLOBAL);
            CUdeviceptr address = 0;
            result = api().cuMemAlloc_v2(&address, 4);
        }).join();
        return result;
    };
    begin(own, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
    EXPECT_EQ(allocate_elsewhere(CU_STREAM_CAPTURE_MODE_GLOBAL), CUDA_SUCCESS);
    CUgraph graph = nullptr;
    ASSERT_OK(api().cuStreamEndCapture(own, &graph));
    begin(own, CU_STREAM_CAPTURE_MODE_GLOBAL);
    EXPECT_EQ(allocate_elsewhere(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL), CUDA_SUCCESS);
    EXPECT_EQ(allocate_elsewhere(CU_STREAM_CAPTURE_MODE_RELAXED), CUDA_SUCCESS);
    EXPECT_EQ(allocate_elsewhere(CU_STREAM_CAPTURE_MODE_GLOBAL),
              CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    expect_invalidated(own);
}

TEST_F(Graphs, TheLegacyStreamMayNotDependOnACapture) {
    const CUstream own = stream(CU_STREAM_DEFAULT);
    const CUdeviceptr block = alloc(4);
    EXPECT_FAILS(api().cuStreamBeginCapture_v2(nullptr, CU_STREAM_CAPTURE_MODE_RELAXED),
                 CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "legacy stream cannot capture");
    begin(own, CU_STREAM_CAPTURE_MODE_RELAXED);
    EXPECT_FAILS(api().cuMemsetD32Async(block, 1, 1, nullptr), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT,
                 "legacy stream would wait");
    expect_invalidated(own);
    const CUstream apart = stream(CU_STREAM_NON_BLOCKING);
    begin(apart, CU_STREAM_CAPTURE_MODE_RELAXED);
    EXPECT_OK(api().cuMemsetD32Async(block, 1, 1, nullptr));
    CUgraph graph = nullptr;
    ASSERT_OK(api().cuStreamEndCapture(apart, &graph));
}

TEST_F(Graphs, EventsDoNotCrossACapturesBorder) {
    const CUstream own = stream(), other = stream();
    const CUevent inside = event(), outside = event();
    ASSERT_OK(api().cuEventRecord(outside, other));
    begin(own);
    EXPECT_FAILS(api().cuStreamWaitEvent(own, outside, 0), CUDA_ERROR_STREAM_CAPTURE_ISOLATION,
                 "outside the capture");
    expect_invalidated(own);

    begin(own);
    ASSERT_OK(api().cuEventRecord(inside, own));
    EXPECT_FAILS(api().cuEventSynchronize(inside), CUDA_ERROR_CAPTURED_EVENT, "in a capture");
    expect_invalidated(own);

    begin(own);
    ASSERT_OK(api().cuEventRecord(inside, own));
    begin(other);
    EXPECT_FAILS(api().cuStreamWaitEvent(other, inside, 0), CUDA_ERROR_STREAM_CAPTURE_MERGE,
                 "another capture");
    expect_invalidated(own);
    expect_invalidated(other);

    begin(own);
    ASSERT_OK(api().cuEventRecord(inside, own));
    CUgraph graph = nullptr;
    ASSERT_OK(api().cuStreamEndCapture(own, &graph));
    EXPECT_FAILS(api().cuEventQuery(inside), CUDA_ERROR_CAPTURED_EVENT, "in a capture");
    EXPECT_FAILS(api().cuStreamWaitEvent(other, inside, 0), CUDA_ERROR_CAPTURED_EVENT, "has ended");
    ASSERT_OK(api().cuEventRecord(inside, other));
    EXPECT_OK(api().cuEventSynchronize(inside));
}

TEST_F(Graphs, AnUnjoinedForkEndsTheCaptureWithoutAGraph) {
    const CUstream own = stream(), side = stream();
    const CUevent fork = event();
    const CUdeviceptr block = alloc(4);
    begin(own);
    ASSERT_OK(api().cuEventRecord(fork, own));
    ASSERT_OK(api().cuStreamWaitEvent(side, fork, 0));
    ASSERT_OK(api().cuMemsetD32Async(block, 1, 1, side));
    CUgraph graph = nullptr;
    EXPECT_FAILS(api().cuStreamEndCapture(own, &graph), CUDA_ERROR_STREAM_CAPTURE_UNJOINED,
                 "nothing joins");
    EXPECT_EQ(graph, nullptr);
    EXPECT_EQ(status(side), CU_STREAM_CAPTURE_STATUS_NONE);
}

TEST_F(Graphs, CapturesEndWhereTheyBegan) {
    const CUstream own = stream(), side = stream();
    const CUevent fork = event();
    CUgraph graph = nullptr;
    EXPECT_FAILS(api().cuStreamEndCapture(own, &graph), CUDA_ERROR_ILLEGAL_STATE, "not capturing");
    begin(own);
    EXPECT_FAILS(api().cuStreamBeginCapture_v2(own, CU_STREAM_CAPTURE_MODE_RELAXED),
                 CUDA_ERROR_ILLEGAL_STATE, "already capturing");
    std::thread([&] {
        EXPECT_OK(api().cuCtxPushCurrent_v2(context_));
        EXPECT_FAILS(api().cuStreamEndCapture(own, &graph), CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD,
                     "another thread");
    }).join();
    ASSERT_OK(api().cuEventRecord(fork, own));
    ASSERT_OK(api().cuStreamWaitEvent(side, fork, 0));
    EXPECT_FAILS(api().cuStreamEndCapture(side, &graph), CUDA_ERROR_STREAM_CAPTURE_UNMATCHED,
                 "another stream");
    expect_invalidated(own);
    EXPECT_FAILS(api().cuStreamBeginCapture_v2(own, static_cast<CUstreamCaptureMode>(3)),
                 CUDA_ERROR_INVALID_VALUE, "mode is 3");
}

TEST_F(Graphs, CaptureInfoNamesTheGraphAndTheLastNodes) {
    const CUstream own = stream();
    const CUdeviceptr block = alloc(4);
    begin(own);
    ASSERT_OK(api().cuMemsetD32Async(block, 1, 1, own));
    CUstreamCaptureStatus state{};
    uint64_t id = 0;
    CUgraph graph = nullptr, ended = nullptr;
    const CUgraphNode* last = nullptr;
    size_t num_last = 0;
    ASSERT_OK(api().cuStreamGetCaptureInfo_v2(own, &state, &id, &graph, &last, &num_last));
    EXPECT_EQ(state, CU_STREAM_CAPTURE_STATUS_ACTIVE);
    ASSERT_EQ(num_last, 1u);
    CUgraphNodeType type{};
    ASSERT_OK(api().cuGraphNodeGetType(last[0], &type));
    EXPECT_EQ(type, CU_GRAPH_NODE_TYPE_MEMSET);
    CUgraphExec exec = nullptr;
    EXPECT_FAILS(api().cuGraphInstantiateWithFlags(&exec, graph, 0), CUDA_ERROR_ILLEGAL_STATE,
                 "still capturing");
    EXPECT_FAILS(api().cuGraphDestroy(graph), CUDA_ERROR_ILLEGAL_STATE, "still capturing");
    ASSERT_OK(api().cuStreamEndCapture(own, &ended));
    EXPECT_EQ(ended, graph);
}

TEST_F(Graphs, WhatGraphsDoNotOfferIsRefused) {
    const CUstream own = stream();
    CUgraph graph = nullptr;
    ASSERT_OK(api().cuGraphCreate(&graph, 0));
    CUgraphExec exec = nullptr;
    EXPECT_FAILS(api().cuGraphInstantiateWithFlags(&exec, graph, 8), CUDA_ERROR_NOT_SUPPORTED,
                 "flags 0x8");
    ASSERT_OK(api().cuGraphInstantiateWithFlags(&exec, graph, 0));
    ASSERT_OK(api().cuGraphLaunch(exec, own)) << "an empty graph is a graph";
    ASSERT_OK(api().cuStreamSynchronize(own));
    begin(own);
    EXPECT_FAILS(api().cuGraphLaunch(exec, own), CUDA_ERROR_NOT_SUPPORTED, "child graph");
    ASSERT_OK(api().cuStreamEndCapture(own, &graph));
}

}  // namespace
}  // namespace fattn::vgpu::cuda
