// The queue of operations. Called by everything that issues work or waits for it.
#include "driver/queue.h"

#include <algorithm>

#include "driver/capture.h"
#include "driver/driver.h"
#include "driver/failure.h"

namespace fattn::vgpu::driver {
namespace {

using State = Operation::State;

// A host function that nobody waits for runs this long after it was issued.
constexpr auto kHostFunctionDelay = std::chrono::milliseconds(20);

void add_if_pending(std::vector<OperationRef>& after, double& ready_us,
                    const OperationRef& before) {
    if (!before) return;
    if (before->done()) {
        ready_us = std::max(ready_us, before->end_us);
    } else {
        after.push_back(before);
    }
}

}  // namespace

uint64_t Queue::random() {
    // SplitMix64: the sequence is a function of the seed alone.
    uint64_t mixed = random_ += 0x9e3779b97f4a7c15;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    return mixed ^ (mixed >> 31);
}

OperationRef Queue::add(OperationRef operation) {
    operation->serial = next_serial_++;
    if (operation->work.host_function != nullptr) start_host_thread();
    pending_.push_back(operation);
    return operation;
}

OperationRef Queue::submit(Stream& stream, Work work, const std::vector<OperationRef>& also_after) {
    auto operation = std::make_shared<Operation>();
    Context& context = *stream.context;
    operation->context = driver_.contexts.require(context.handle);
    add_if_pending(operation->after, operation->ready_us, stream.last);
    if (stream.legacy) {
        for (const OperationRef& last : context.abandoned) {
            add_if_pending(operation->after, operation->ready_us, last);
        }
        context.abandoned.clear();
        for (const auto& [thread, own] : context.per_thread) {
            add_if_pending(operation->after, operation->ready_us, own->last);
        }
        driver_.streams.for_each([&](const Stream& other) {
            if (other.context == &context && other.blocking()) {
                add_if_pending(operation->after, operation->ready_us, other.last);
            }
        });
    } else if (stream.blocking()) {
        add_if_pending(operation->after, operation->ready_us, context.legacy->last);
    }
    for (const OperationRef& before : also_after) {
        add_if_pending(operation->after, operation->ready_us, before);
    }
    if (work.poison_host_write && !host_range_in_use(work.host_write)) work.poison_host_write();
    if (work.order) {
        work.order->keeps_traces = true;
        // Anything else than the kernel before it has to have ended.
        if (work.order->programmatic && stream.last && also_after.empty())
            work.order->before = stream.last->work.order;
    }
    operation->work = std::move(work);
    stream.last = add(operation);
    let_seed_run();
    return operation;
}

OperationRef Queue::submit_detached(Context& context, Work work, std::vector<OperationRef> after) {
    auto operation = std::make_shared<Operation>();
    operation->context = driver_.contexts.require(context.handle);
    for (const OperationRef& before : after) {
        add_if_pending(operation->after, operation->ready_us, before);
    }
    operation->work = std::move(work);
    return add(operation);
}

bool Queue::host_range_in_use(const Work::Range& range) const {
    return std::any_of(pending_.begin(), pending_.end(), [&](const OperationRef& operation) {
        return operation->work.kind == cuda::CU_GRAPH_NODE_TYPE_KERNEL ||
               operation->work.kind == cuda::CU_GRAPH_NODE_TYPE_HOST ||
               operation->work.host_read.overlaps(range) ||
               operation->work.host_write.overlaps(range);
    });
}

bool Queue::ready(const Operation& operation) {
    return operation.state == State::kPending &&
           std::all_of(operation.after.begin(), operation.after.end(),
                       [](const OperationRef& before) { return before->done(); });
}

// An operation before the target, or the target itself, that everything is done for.
OperationRef Queue::first_before(const OperationRef& target) const {
    OperationRef at = target;
    while (true) {
        const auto open = std::find_if(at->after.begin(), at->after.end(),
                                       [](const OperationRef& before) { return !before->done(); });
        if (open == at->after.end()) return at;
        at = OperationRef(*open);
    }
}

// The target and all before it that is not done, by serial: each comes after everything that it
// waits for.
std::vector<OperationRef> Queue::ancestors(const OperationRef& target) const {
    std::vector<OperationRef> found;
    std::set<const Operation*> seen;
    std::vector<OperationRef> open = {target};
    while (!open.empty()) {
        const OperationRef operation = open.back();
        open.pop_back();
        if (operation->done() || !seen.insert(operation.get()).second) continue;
        found.push_back(operation);
        open.insert(open.end(), operation->after.begin(), operation->after.end());
    }
    std::sort(found.begin(), found.end(),
              [](const auto& a, const auto& b) { return a->serial < b->serial; });
    return found;
}

void Queue::let_seed_run() {
    switch (driver_.settings.order) {
        case Asynchrony::kLate:
            return;
        case Asynchrony::kEarly:
            run_all_ready();
            return;
        case Asynchrony::kSeeded:
            break;
    }
    while (!pending_.empty() && random() % 2 == 0) {
        auto chosen = pending_.begin();
        std::advance(chosen, static_cast<ptrdiff_t>(random() % pending_.size()));
        const OperationRef operation = first_before(*chosen);
        if (!ready(*operation) || operation->work.host_function != nullptr) return;
        run(operation);
    }
}

// By serial, so that one pass reaches everything that is not behind a host function.
void Queue::run_all_ready() {
    const std::vector<OperationRef> all(pending_.begin(), pending_.end());
    for (const OperationRef& operation : all) {
        if (ready(*operation) && operation->work.host_function == nullptr) run(operation);
    }
}

void Queue::force(const OperationRef& target) {
    for (const OperationRef& operation : ancestors(target)) {
        const bool seeded = driver_.settings.order == Asynchrony::kSeeded;
        while (seeded && !pending_.empty() && random() % 4 == 0) {
            auto chosen = pending_.begin();
            std::advance(chosen, static_cast<ptrdiff_t>(random() % pending_.size()));
            const OperationRef other = first_before(*chosen);
            if (!ready(*other) || other->work.host_function != nullptr) break;
            run(other);
        }
        if (!operation->done()) wait_for(operation);
    }
}

// Runs an operation whose ancestors have been forced, or waits for the thread that does.
void Queue::wait_for(const OperationRef& target) {
    while (!target->done()) {
        if (target->work.host_function == nullptr && ready(*target)) {
            run(target);
            continue;
        }
        target->demanded = true;
        driver_.changed.notify_all();
        std::unique_lock lock(driver_.mutex, std::adopt_lock);
        driver_.changed.wait(lock);
        lock.release();
    }
}

bool Queue::approach(const OperationRef& target) {
    if (!target || target->done()) return true;
    const OperationRef next = first_before(target);
    if (next->work.host_function != nullptr) {
        next->demanded = true;
        driver_.changed.notify_all();
    } else if (ready(*next)) {
        run(next);
    }
    return false;
}

void Queue::force_context(const Context& context) {
    const std::vector<OperationRef> all(pending_.begin(), pending_.end());
    for (const OperationRef& operation : all) {
        if (operation->context.get() == &context) force(operation);
    }
}

void Queue::drop_context(const Context& context) {
    const std::vector<OperationRef> all(pending_.begin(), pending_.end());
    for (const OperationRef& operation : all) {
        if (operation->context.get() == &context && operation->state == State::kPending) {
            finish(operation, 0);
        }
    }
}

void Queue::run(const OperationRef& operation) {
    operation->state = State::kRunning;
    Context& context = *operation->context;
    double duration_us = 0;
    if (context.sticky == cuda::CUDA_SUCCESS && operation->work.run) {
        try {
            duration_us = operation->work.run();
        } catch (const Failure& failure) {
            context.sticky = failure.code;
            context.sticky_text = failure.text;
            driver_.publish(failure.text);
        }
    }
    finish(operation, duration_us);
}

void Queue::finish(const OperationRef& operation, double duration_us) {
    for (const OperationRef& before : operation->after) {
        operation->ready_us = std::max(operation->ready_us, before->end_us);
    }
    operation->end_us = operation->ready_us + duration_us;
    operation->state = State::kDone;
    operation->after.clear();
    operation->work.run = nullptr;
    pending_.remove(operation);
    driver_.changed.notify_all();
}

void Queue::start_host_thread() {
    if (host_thread_started_) {
        driver_.changed.notify_all();
        return;
    }
    host_thread_started_ = true;
    std::thread([this] { run_host_functions(); }).detach();
}

// The host functions' thread: one after the other, in order of issue.
void Queue::run_host_functions() {
    this_thread().in_host_function = true;
    std::unique_lock lock(driver_.mutex);
    while (true) {
        const auto is_host_function = [](const OperationRef& operation) {
            return operation->work.host_function != nullptr;
        };
        const auto found = std::find_if(pending_.begin(), pending_.end(), is_host_function);
        if (found == pending_.end()) {
            driver_.changed.wait(lock);
            continue;
        }
        const OperationRef operation = *found;
        driver_.changed.wait_for(lock, kHostFunctionDelay,
                                 [&] { return operation->demanded || operation->done(); });
        // Everything before it is forced from here; host functions before it have already run.
        for (const OperationRef& before : ancestors(operation)) {
            if (before != operation && !before->done()) wait_for(before);
        }
        if (operation->done()) continue;
        operation->state = State::kRunning;
        if (operation->context->sticky == cuda::CUDA_SUCCESS) {
            lock.unlock();
            operation->work.host_function(operation->work.host_argument);
            lock.lock();
        }
        finish(operation, 0);
        if (driver_.settings.order == Asynchrony::kEarly) run_all_ready();
    }
}

OperationRef enqueue(Driver& state, Stream& stream, Work work) {
    if (stream.capture) {
        capture_work(state, stream, std::move(work));
        return nullptr;
    }
    if (stream.legacy) check_no_implicit_dependency(state, *stream.context);
    return state.queue.submit(stream, std::move(work));
}

}  // namespace fattn::vgpu::driver
