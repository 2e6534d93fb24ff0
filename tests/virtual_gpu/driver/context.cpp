// Contexts: their beginning and their end. Called by the context functions.
#include "driver/context.h"

#include "driver/failure.h"
#include "driver/pinned.h"

namespace fattn::vgpu::driver {
namespace {

// "2 blocks of device memory (cuMemAlloc_v2 #3, 512 bytes; ...)", or nothing.
std::string leaks_of(Driver& state, const Context& context) {
    uint64_t num_blocks = 0, bytes = 0, num_streams = 0, num_events = 0;
    std::string blocks;
    state.memory.for_each_live([&](const Allocation& allocation) {
        if (allocation.context != &context || allocation.kind == BlockKind::kVariable) return;
        ++num_blocks;
        bytes += allocation.block.size;
        if (num_blocks <= 8) blocks += "\n  " + allocation.name();
    });
    state.streams.for_each(
        [&](const Stream& stream) { num_streams += stream.context == &context; });
    state.events.for_each([&](const Event& event) { num_events += event.context == &context; });
    if (num_blocks + num_streams + num_events == 0) return {};
    return format_text(
               "context %llu of device %d is destroyed with %llu blocks of memory (%llu bytes), "
               "%llu streams and %llu events left behind",
               static_cast<unsigned long long>(context.id), context.device->ordinal,
               static_cast<unsigned long long>(num_blocks), static_cast<unsigned long long>(bytes),
               static_cast<unsigned long long>(num_streams),
               static_cast<unsigned long long>(num_events)) +
           blocks + (num_blocks > 8 ? "\n  ..." : "");
}

}  // namespace

std::shared_ptr<Context> make_context(Driver& state, Device& device, unsigned flags, bool primary) {
    auto context = std::make_shared<Context>();
    context->device = &device;
    context->id = state.next_id++;
    context->flags = flags;
    context->primary = primary;
    context->legacy = std::make_shared<Stream>();
    context->legacy->handle = cuda::kLegacyStream;
    context->legacy->context = context.get();
    context->legacy->id = state.next_id++;
    context->legacy->legacy = true;
    context->handle = state.contexts.add(context);
    return context;
}

void free_block(Driver& state, Allocation& allocation, const std::string& freed_by) {
    if (allocation.context != nullptr)
        allocation.context->device->used_bytes -= allocation.accounted;
    if (allocation.stream_ordered && allocation.context != nullptr) {
        allocation.context->device->pool->used -= allocation.accounted;
    }
    if (allocation.kind == BlockKind::kPinned) unmap_pinned(allocation);
    state.memory.release(allocation, freed_by);
}

void destroy_context(Driver& state, const std::shared_ptr<Context>& context) {
    if (context->sticky == cuda::CUDA_SUCCESS) state.queue.force_context(*context);
    state.queue.drop_context(*context);
    const std::string leaks = leaks_of(state, *context);
    if (!leaks.empty() && context->sticky == cuda::CUDA_SUCCESS) state.publish(leaks);

    std::vector<Allocation*> left;
    state.memory.for_each_live([&](Allocation& allocation) {
        if (allocation.context == context.get()) left.push_back(&allocation);
    });
    for (Allocation* allocation : left) {
        free_block(
            state, *allocation,
            format_text("the end of context %llu", static_cast<unsigned long long>(context->id)));
    }
    std::erase_if(state.captures, [&](const std::shared_ptr<Capture>& capture) {
        return capture->origin->context == context.get();
    });
    const auto ours = [&](const auto& object) { return object.context == context.get(); };
    state.functions.remove_if(
        [&](const Function& function) { return function.module->context == context.get(); });
    state.graph_nodes.remove_if(ours);
    state.graphs.remove_if(ours);
    state.graph_execs.remove_if(ours);
    state.modules.remove_if(ours);
    state.events.remove_if(ours);
    state.streams.remove_if(ours);
    state.libraries.for_each([&](Library& library) { library.modules.erase(context.get()); });
    state.contexts.remove(context->handle);
    context->destroyed = true;
}

}  // namespace fattn::vgpu::driver
