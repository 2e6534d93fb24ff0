// The whole state of the virtual driver. Every exported function works on the one that driver()
// gives.
#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "driver/handles.h"
#include "driver/memory.h"
#include "driver/objects.h"
#include "driver/queue.h"
#include "driver/settings.h"

namespace fattn::vgpu::driver {

struct Driver {
    std::mutex mutex;                 // guards everything below; a kernel runs under it
    std::condition_variable changed;  // an operation has ended or a host function was issued

    bool initialised = false;
    Settings settings;
    std::vector<std::unique_ptr<Device>> devices;
    AddressSpace memory;
    Queue queue{*this};

    HandleTable<Context, CUcontext> contexts{HandleKind::kContext, "context"};
    HandleTable<Stream, CUstream> streams{HandleKind::kStream, "stream"};
    HandleTable<Event, CUevent> events{HandleKind::kEvent, "event"};
    HandleTable<LoadedModule, CUmodule> modules{HandleKind::kModule, "module"};
    HandleTable<Function, CUfunction> functions{HandleKind::kFunction, "function"};
    HandleTable<Library, CUlibrary> libraries{HandleKind::kLibrary, "library"};
    HandleTable<Kernel, CUkernel> kernels{HandleKind::kKernel, "kernel"};
    HandleTable<Graph, CUgraph> graphs{HandleKind::kGraph, "graph"};
    HandleTable<Graph, CUgraphNode> graph_nodes{HandleKind::kGraphNode, "graph node"};
    HandleTable<GraphExec, CUgraphExec> graph_execs{HandleKind::kGraphExec, "executable graph"};
    HandleTable<MemoryPool, CUmemoryPool> pools{HandleKind::kMemoryPool, "memory pool"};

    std::vector<std::shared_ptr<Capture>> captures;  // that have not ended
    std::string report;                              // the last fault or leaks
    bool has_programmatic = false;                   // a programmatic dependent has been launched
    std::map<std::string, Statistics> statistics;    // by kernel name
    std::map<std::string, uint64_t> num_launches;    // by kernel name
    uint64_t next_id = 1;                            // of streams, contexts, captures, launches

    // Keeps a report and, unless the settings say no, writes it to standard error.
    void publish(std::string text);
};

// Made at first use and never destroyed: programs call the driver until their very end.
Driver& driver();

// What belongs to one thread of the program.
struct ThreadState {
    std::vector<std::shared_ptr<Context>> current;  // the top is last
    cuda::CUstreamCaptureMode capture_mode = cuda::CU_STREAM_CAPTURE_MODE_GLOBAL;
    bool in_host_function = false;
    std::string last_error;
};
ThreadState& this_thread();

}  // namespace fattn::vgpu::driver
