// The graph functions. Called by programs through the driver API.
#include <algorithm>

#include "driver/capture.h"
#include "driver/entry.h"
#include "driver/exports.h"

namespace fattn::vgpu::cuda {
namespace {

using driver::call;
using driver::call_in_context;
using driver::Context;
using driver::Driver;
using driver::fail;
using driver::Graph;
using driver::GraphExec;
using driver::GraphNode;
using driver::OperationRef;
using driver::require_results;

// The list protocol of the API: with no list its length is given; with one, as many as fit, and
// null for the rest.
struct HandleList {
    CUgraphNode* out;
    size_t capacity;
};

void give(const HandleList& list, const std::vector<CUgraphNode>& handles) {
    if (list.out == nullptr) return;
    for (size_t at = 0; at < list.capacity; ++at) {
        list.out[at] = at < handles.size() ? handles[at] : nullptr;
    }
}

// A programmatic dependent that was captured behind one kernel may begin before that has ended;
// behind anything else, or behind several nodes, it waits.
void link_dependents(GraphExec& exec) {
    for (GraphNode& node : exec.nodes) {
        if (!node.work.order || !node.work.order->programmatic || node.after.size() != 1) continue;
        const auto& before = exec.nodes[node.after[0]].work.order;
        if (!before) continue;
        node.work.order->before = before;
        for (driver::GridOrder* order : {node.work.order.get(), before.get()})
            order->in_graph = order->keeps_traces = true;
    }
}

void launch(Driver& state, GraphExec& exec, driver::Stream& stream) {
    if (stream.capture) {
        fail(CUDA_ERROR_NOT_SUPPORTED,
             "launching a graph into a capturing stream would be a child graph, which the virtual "
             "GPU does not offer");
    }
    // Everything in the graph comes after the stream's work and after the last launch of this
    // graph, and before what follows.
    const OperationRef begin =
        state.queue.submit(stream, {.what = "begin of a graph"}, {exec.last_launch});
    std::vector<OperationRef> operations;
    for (const GraphNode& node : exec.nodes) {
        std::vector<OperationRef> after = {begin};
        for (size_t before : node.after) after.push_back(operations[before]);
        operations.push_back(
            state.queue.submit_detached(*exec.context, node.work, std::move(after)));
    }
    exec.last_launch = state.queue.submit(stream, {.what = "end of a graph"}, operations);
}

}  // namespace

extern "C" {

CUresult cuGraphCreate(CUgraph* handle, unsigned flags) {
    return call_in_context("cuGraphCreate", [&](Driver& state, Context& context) {
        require_results(handle);
        if (flags != 0) fail(CUDA_ERROR_INVALID_VALUE, "the flags are %u; they must be 0", flags);
        auto graph = std::make_shared<Graph>();
        graph->context = &context;
        graph->handle = state.graphs.add(graph);
        *handle = graph->handle;
    });
}

CUresult cuGraphDestroy(CUgraph handle) {
    return call("cuGraphDestroy", [&](Driver& state) {
        const std::shared_ptr<Graph> graph = state.graphs.require(handle);
        for (const auto& capture : state.captures) {
            if (capture->graph == graph) {
                fail(CUDA_ERROR_ILLEGAL_STATE, "a stream is still capturing into the graph");
            }
        }
        for (const GraphNode& node : graph->nodes) state.graph_nodes.remove(node.handle);
        state.graphs.remove(handle);
    });
}

CUresult cuGraphGetNodes(CUgraph handle, CUgraphNode* nodes, size_t* count) {
    return call("cuGraphGetNodes", [&](Driver& state) {
        require_results(count);
        const std::shared_ptr<Graph> graph = state.graphs.require(handle);
        std::vector<CUgraphNode> handles;
        for (const GraphNode& node : graph->nodes) handles.push_back(node.handle);
        give({nodes, *count}, handles);
        *count = nodes == nullptr ? handles.size() : std::min(*count, handles.size());
    });
}

CUresult cuGraphGetEdges(CUgraph handle, CUgraphNode* from, CUgraphNode* to, size_t* count) {
    return call("cuGraphGetEdges", [&](Driver& state) {
        require_results(count);
        if ((from == nullptr) != (to == nullptr)) {
            fail(CUDA_ERROR_INVALID_VALUE, "one of the two lists is null");
        }
        const std::shared_ptr<Graph> graph = state.graphs.require(handle);
        std::vector<CUgraphNode> begins, ends;
        for (const GraphNode& node : graph->nodes) {
            for (size_t before : node.after) {
                begins.push_back(graph->nodes[before].handle);
                ends.push_back(node.handle);
            }
        }
        give({from, *count}, begins);
        give({to, *count}, ends);
        *count = from == nullptr ? begins.size() : std::min(*count, begins.size());
    });
}

CUresult cuGraphNodeGetType(CUgraphNode handle, CUgraphNodeType* type) {
    return call("cuGraphNodeGetType", [&](Driver& state) {
        require_results(type);
        const std::shared_ptr<Graph> graph = state.graph_nodes.require(handle);
        const auto node = std::find_if(graph->nodes.begin(), graph->nodes.end(),
                                       [&](const GraphNode& n) { return n.handle == handle; });
        *type = node->work.kind;
    });
}

CUresult cuGraphInstantiateWithFlags(CUgraphExec* handle, CUgraph graph_handle,
                                     unsigned long long flags) {
    return call("cuGraphInstantiateWithFlags", [&](Driver& state) {
        require_results(handle);
        if (flags != 0 && flags != CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH) {
            fail(CUDA_ERROR_NOT_SUPPORTED,
                 "cuGraphInstantiate with flags %#llx: 0 and 1 are offered by the virtual GPU",
                 flags);
        }
        const std::shared_ptr<Graph> graph = state.graphs.require(graph_handle);
        for (const auto& capture : state.captures) {
            if (capture->graph == graph) {
                fail(CUDA_ERROR_ILLEGAL_STATE, "a stream is still capturing into the graph");
            }
        }
        auto exec = std::make_shared<GraphExec>();
        exec->context = graph->context;
        exec->nodes = graph->nodes;
        link_dependents(*exec);
        exec->handle = state.graph_execs.add(exec);
        *handle = exec->handle;
    });
}

CUresult cuGraphUpload(CUgraphExec handle, CUstream stream) {
    return call_in_context("cuGraphUpload", [&](Driver& state, Context& context) {
        // Graphs are ready when they are instantiated; what is left of an upload is its place in
        // the stream.
        state.graph_execs.require(handle);
        driver::enqueue(state, driver::stream_in(state, context, stream),
                        {.what = "cuGraphUpload"});
    });
}

CUresult cuGraphLaunch(CUgraphExec handle, CUstream stream) {
    return call_in_context("cuGraphLaunch", [&](Driver& state, Context& context) {
        const std::shared_ptr<GraphExec> exec = state.graph_execs.require(handle);
        if (exec->context != &context) {
            fail(CUDA_ERROR_INVALID_CONTEXT,
                 "the graph is of context %llu; the current one is %llu",
                 static_cast<unsigned long long>(exec->context->id),
                 static_cast<unsigned long long>(context.id));
        }
        driver::Stream& target = driver::stream_in(state, context, stream);
        if (target.legacy) driver::check_no_implicit_dependency(state, context);
        launch(state, *exec, target);
    });
}

CUresult cuGraphExecDestroy(CUgraphExec handle) {
    return call("cuGraphExecDestroy", [&](Driver& state) {
        state.graph_execs.require(handle);
        state.graph_execs.remove(handle);
    });
}

}  // extern "C"
}  // namespace fattn::vgpu::cuda
