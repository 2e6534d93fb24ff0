// Capturing a stream into a graph and replaying it: what a caller of the library does, and the
// library itself never; used by tests that runs only enqueue.
#pragma once

#include <gtest/gtest.h>

#include "cuda/runtime/stream.h"

namespace fattn::cuda {

/// One captured graph.
class GraphCapture {
  public:
    explicit GraphCapture(const Stream& stream) : stream_(stream) {
        const Status opened = DynamicLibrary::open(stream.device().driver().path(), &library_);
        EXPECT_TRUE(opened.ok()) << opened.message();
        find("cuStreamBeginCapture_v2", &begin_);
        find("cuStreamEndCapture", &end_);
        find("cuGraphInstantiateWithFlags", &instantiate_);
        find("cuGraphLaunch", &launch_);
        find("cuGraphExecDestroy", &destroy_instance_);
        find("cuGraphDestroy", &destroy_);
    }
    ~GraphCapture() {
        const ContextScope scope(stream_.device());
        if (instance_ != nullptr) {
            EXPECT_EQ(destroy_instance_(instance_), Result::kSuccess);
        }
        if (graph_ != nullptr) {
            EXPECT_EQ(destroy_(graph_), Result::kSuccess);
        }
    }
    GraphCapture(const GraphCapture&) = delete;
    GraphCapture& operator=(const GraphCapture&) = delete;

    Result begin() {
        constexpr int kRelaxed = 2;
        const ContextScope scope(stream_.device());
        return begin_(stream_.handle(), kRelaxed);
    }
    /// Success only when nothing in between has spoiled the capture.
    Result end() {
        const ContextScope scope(stream_.device());
        return end_(stream_.handle(), &graph_);
    }
    Result replay() {
        const ContextScope scope(stream_.device());
        if (instance_ == nullptr) {
            const Result made = instantiate_(&instance_, graph_, 0);
            if (made != Result::kSuccess) return made;
        }
        return launch_(instance_, stream_.handle());
    }

  private:
    using Graph = struct GraphObject*;
    using Instance = struct GraphInstanceObject*;

    template <class Function>
    void find(const char* name, Function* function) {
        *function = reinterpret_cast<Function>(library_.symbol(name));
        EXPECT_NE(*function, nullptr) << name;
    }

    const Stream& stream_;
    DynamicLibrary library_;
    Result (*begin_)(StreamHandle, int) = nullptr;
    Result (*end_)(StreamHandle, Graph*) = nullptr;
    Result (*instantiate_)(Instance*, Graph, unsigned long long) = nullptr;
    Result (*launch_)(Instance, StreamHandle) = nullptr;
    Result (*destroy_instance_)(Instance) = nullptr;
    Result (*destroy_)(Graph) = nullptr;
    Graph graph_ = nullptr;
    Instance instance_ = nullptr;
};

}  // namespace fattn::cuda
