// The objects of the driver API: devices, contexts, streams, events, graphs, modules. Shared by all
// files of the driver; everything here is guarded by Driver::mutex.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "driver/cuda_types.h"
#include "driver/memory.h"
#include "gpu/launch.h"
#include "gpu/module.h"

namespace fattn::vgpu::driver {

using cuda::CUcontext;
using cuda::CUdevice;
using cuda::CUdeviceptr;
using cuda::CUevent;
using cuda::CUfunction;
using cuda::CUgraph;
using cuda::CUgraphExec;
using cuda::CUgraphNode;
using cuda::CUkernel;
using cuda::CUlibrary;
using cuda::CUmemoryPool;
using cuda::CUmodule;
using cuda::CUresult;
using cuda::CUstream;

struct Context;
struct Capture;

// The stream-ordered pool of a device. Blocks are given back at once, so nothing is ever reserved
// beyond what is used.
struct MemoryPool {
    CUmemoryPool handle = nullptr;
    uint64_t release_threshold = 0;
    int reuse[3] = {1, 1, 1};  // follow events, opportunistic, internal dependencies
    uint64_t used = 0;
    uint64_t used_high = 0;
};

struct Device {
    int ordinal = 0;
    const DeviceModel* model = nullptr;
    uint64_t memory_bytes = 0;
    uint64_t used_bytes = 0;
    std::shared_ptr<Context> primary;  // null while inactive
    unsigned primary_retained = 0;
    unsigned primary_flags = 0;
    std::shared_ptr<MemoryPool> pool;
};

// How the grid of a kernel's launch stands to the one before it.
struct GridOrder {
    bool programmatic = false;  // it may begin before that one has ended
    bool keeps_traces = false;  // it is in a stream, where another may come behind it
    // Of the kernel before it in the stream, while it is programmatic and has not run; in a graph,
    // which runs again, as long as that is there.
    std::shared_ptr<GridOrder> before;
    bool in_graph = false;
    // Once it has run: its own, then those of the grids that it may have overlapped.
    std::vector<std::shared_ptr<const GridTrace>> traces;
};

// What an operation does, apart from when. Copied into graphs.
struct Work {
    cuda::CUgraphNodeType kind = cuda::CU_GRAPH_NODE_TYPE_EMPTY;
    std::string what{};  // for messages
    // Gives the microseconds of virtual time that it takes; throws Failure for a fault; null: there
    // is nothing to do.
    std::function<double()> run{};
    cuda::CUhostFn host_function = nullptr;  // instead of run
    void* host_argument = nullptr;
    // Bytes of host memory that are read or written, [begin, end); begin == end: none.
    struct Range {
        uint64_t begin = 0;
        uint64_t end = 0;
        bool overlaps(const Range& other) const { return begin < other.end && other.begin < end; }
    };
    Range host_read{};
    Range host_write{};
    std::shared_ptr<GridOrder> order{};  // of a kernel
    // Overwrites the host destination when the copy is issued: until it is done its bytes mean
    // nothing.
    std::function<void()> poison_host_write{};
};

// Work that was given to a stream.
struct Operation {
    enum class State { kPending, kRunning, kDone };
    uint64_t serial = 0;  // order of issue; everything in `after` has a smaller one
    std::shared_ptr<Context> context;
    Work work;
    std::vector<std::shared_ptr<Operation>> after;  // what it waits for
    State state = State::kPending;
    bool demanded = false;  // a host function that somebody waits for
    double ready_us = 0;    // virtual time at which everything before it had ended
    double end_us = 0;      // virtual time at which it ended

    bool done() const { return state == State::kDone; }
};
using OperationRef = std::shared_ptr<Operation>;

struct Stream {
    CUstream handle = nullptr;
    Context* context = nullptr;
    unsigned flags = 0;
    int priority = 0;
    uint64_t id = 0;
    bool legacy = false;
    OperationRef last;                  // null before the first operation
    std::shared_ptr<Capture> capture;   // null while not capturing
    std::vector<size_t> capture_after;  // nodes that the next captured one depends on

    bool blocking() const { return !legacy && (flags & cuda::CU_STREAM_NON_BLOCKING) == 0; }
};

struct Event {
    CUevent handle = nullptr;
    Context* context = nullptr;
    unsigned flags = 0;
    OperationRef recorded;             // null before the first record
    std::shared_ptr<Capture> capture;  // of the capture in which it was last recorded, else null
    std::vector<size_t> capture_after;
};

struct GraphNode {
    CUgraphNode handle = nullptr;
    Work work;
    std::vector<size_t> after;  // indices of earlier nodes
};

struct Graph {
    CUgraph handle = nullptr;
    Context* context = nullptr;
    std::vector<GraphNode> nodes;
};

struct GraphExec {
    CUgraphExec handle = nullptr;
    Context* context = nullptr;
    std::vector<GraphNode> nodes;
    OperationRef last_launch;  // launches of one executable graph do not overlap
};

struct Capture {
    uint64_t id = 0;
    cuda::CUstreamCaptureMode mode = cuda::CU_STREAM_CAPTURE_MODE_GLOBAL;
    std::thread::id thread;
    Stream* origin = nullptr;
    std::set<Stream*> streams;  // all that capture into it
    std::shared_ptr<Graph> graph;
    bool invalidated = false;
    bool ended = false;
};

struct LoadedModule {
    CUmodule handle = nullptr;
    Context* context = nullptr;
    std::unique_ptr<Module> code;
    std::vector<Allocation*> variables;  // as code->variables()
    std::map<std::string, CUfunction, std::less<>> functions;
    bool unloaded = false;
};

struct Function {
    CUfunction handle = nullptr;
    std::shared_ptr<LoadedModule> module;
    const EntryInfo* entry = nullptr;
    uint32_t max_dynamic_shared = 0;
    int carveout = -1;
    int cluster_policy = 0;
    bool non_portable_cluster = false;
};

struct Library {
    CUlibrary handle = nullptr;
    std::string image;
    std::map<Context*, std::shared_ptr<LoadedModule>> modules;  // loaded when a context first asks
    std::map<std::string, CUkernel, std::less<>> kernels;
};

struct Kernel {
    CUkernel handle = nullptr;
    Library* library = nullptr;
    std::string name;
    std::map<int, std::map<cuda::CUfunction_attribute, int>> attributes;  // set, by device
};

struct Context {
    CUcontext handle = nullptr;
    Device* device = nullptr;
    uint64_t id = 0;
    unsigned flags = 0;
    bool primary = false;
    bool destroyed = false;
    CUresult sticky = cuda::CUDA_SUCCESS;  // the fault that has ended this context
    std::string sticky_text;
    size_t limits[3] = {1024, 1 << 20, 8 << 20};  // stack, printf, heap
    std::shared_ptr<Stream> legacy;
    std::map<std::thread::id, std::shared_ptr<Stream>> per_thread;
    std::vector<OperationRef> abandoned;  // last operations of destroyed blocking streams
};

}  // namespace fattn::vgpu::driver
