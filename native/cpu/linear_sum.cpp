// Cuts a decayed sum into segments and runs it; see linear_sum.h.
//
// Where heads are few the tokens are cut into segments: first every segment finds the state that
// its own tokens leave, then each head's states are passed on from segment to segment, then every
// segment runs from the state before it.
#include "cpu/linear_sum.h"

#include <algorithm>

#include "core/linear_state.h"
#include "cpu/parallel.h"
#include "cpu/workspace.h"

namespace fattn::cpu {
namespace {

constexpr int64 kMostSegments = 16;
constexpr int64 kEnoughUnits = 16;  // with so many, sequences are not cut
constexpr int64 kLeastRows = 1024;  // tokens of a segment

uint64 float_bytes(int64 floats) { return line_up(static_cast<uint64>(floats) * sizeof(float)); }

}  // namespace

LinearRows linear_rows(const LightningProblem& problem, const LinearOperand& operand, int64 b,
                       int64 q_head, int64 token, bool backwards) {
    const TensorLayout& layout = *operand.layout;
    const int64 bytes = bits_of(layout.dtype) / 8;
    const int64 head = operand.of_q_heads ? q_head : problem.kv_head(q_head);
    const int64 direction = backwards ? -1 : 1;
    const int64 factor_at = ((b * problem.num_q_heads + q_head) * problem.len + token) * 2;
    return {.data = static_cast<const char*>(operand.data) + layout.row(b, head, token) * bytes,
            .stride = direction * layout.strides[2] * bytes,
            .dtype = layout.dtype,
            .extent = layout.shape[3],
            .map = operand.map,
            .extra = operand.extra,
            .factors = operand.factors == nullptr ? nullptr : operand.factors + factor_at,
            .factor_stride = direction * 2};
}

/// Query heads of one batch entry that are run together.
struct LinearSum::Unit {
    int64 b;
    int64 first_head;
    int64 num_heads;
};

/// The pieces of a workspace.
struct LinearSum::Memory {
    float* states;  // [B, Hq, directions, segments], each state_floats; one segment: per thread
    std::byte* threads;
    uint64 thread_bytes;

    std::byte* thread(int slot) const { return threads + static_cast<uint64>(slot) * thread_bytes; }
};

LinearSum::LinearSum(const LightningProblem& problem, const KernelTable& table, const float* slopes,
                     const LinearSumSpec& spec)
    : problem_(problem),
      table_(table),
      slopes_(slopes),
      spec_(spec),
      num_rows_(spec.right.size()),
      num_columns_(spec.values.size()),
      state_floats_(table.linear.state_floats(num_rows_, num_columns_)),
      most_heads_(spec.per_kv_head
                      ? ceil_div(problem.num_q_heads, max_of<int64>(problem.num_kv_heads, 1))
                      : 1),
      num_segments_(1),
      segment_rows_(problem.len) {
    const int64 most =
        spec.two_sided
            ? kMostSegments
            : min_of(kMostSegments, ceil_div(kEnoughUnits, max_of<int64>(num_units(), 1)));
    num_segments_ = clamp_to<int64>(ceil_div(problem.len, kLeastRows), 1, most);
    segment_rows_ = ceil_div(problem.len, num_segments_);
    if (segment_rows_ > 0) num_segments_ = ceil_div(problem.len, segment_rows_);
}

int64 LinearSum::num_units() const {
    return problem_.batch * (spec_.per_kv_head ? problem_.num_kv_heads : problem_.num_q_heads);
}

LinearSum::Unit LinearSum::unit(int64 index) const {
    if (!spec_.per_kv_head) {
        return {index / problem_.num_q_heads, index % problem_.num_q_heads, 1};
    }
    // The query heads h with floor(h Hk / Hq) = the key head.
    const int64 kv_head = index % problem_.num_kv_heads;
    const int64 first = ceil_div(kv_head * problem_.num_q_heads, problem_.num_kv_heads);
    const int64 last = ceil_div((kv_head + 1) * problem_.num_q_heads, problem_.num_kv_heads);
    return {index / problem_.num_kv_heads, first, last - first};
}

int64 LinearSum::shared_state_floats() const {
    if (num_segments_ == 1) return 0;
    return problem_.batch * problem_.num_q_heads * num_directions() * num_segments_ * state_floats_;
}

int64 LinearSum::partial_stride() const { return round_up<int64>(num_columns_, 16); }

uint64 LinearSum::thread_bytes() const {
    const int64 states = num_segments_ == 1 ? most_heads_ * num_directions() * state_floats_ : 0;
    const int64 partial = spec_.two_sided ? segment_rows_ * partial_stride() : 0;
    return line_up(table_.linear.scratch(num_rows_, num_columns_)) +
           line_up(static_cast<uint64>(most_heads_) * sizeof(LinearHead)) + float_bytes(states) +
           float_bytes(partial);
}

uint64 LinearSum::workspace(int num_threads) const {
    const int threads = threads_with_tasks(most_tasks(), num_threads);
    return float_bytes(shared_state_floats()) + static_cast<uint64>(threads) * thread_bytes();
}

LinearScanTask LinearSum::scan_task(const Memory& memory, const Unit& unit, int64 segment,
                                    int direction, int slot, const int32* cancel) const {
    std::byte* at = memory.thread(slot);
    LinearScanTask task{};
    task.scratch = at;
    at += line_up(table_.linear.scratch(num_rows_, num_columns_));
    task.heads = reinterpret_cast<LinearHead*>(at);
    at += line_up(static_cast<uint64>(most_heads_) * sizeof(LinearHead));
    auto* own_states = reinterpret_cast<float*>(at);

    const bool other = direction == 1;
    const bool backwards = spec_.backwards != other;
    const int64 begin = segment * segment_rows_;
    const int64 end = std::min(problem_.len, begin + segment_rows_);
    const int64 token = backwards ? std::max<int64>(end - 1, 0) : begin;
    task.num_rows = end - begin;
    task.num_heads = unit.num_heads;
    task.weight = spec_.weight;
    task.shift = spec_.backwards && !other ? 1 : 0;
    task.strict = other;
    task.cancel = cancel;
    for (int64 h = 0; h < unit.num_heads; ++h) {
        const int64 head = unit.first_head + h;
        const auto rows = [&](const LinearOperand& operand) {
            return linear_rows(problem_, operand, unit.b, head, token, backwards);
        };
        const int64 order = backwards ? num_segments_ - 1 - segment : segment;
        const int64 directions = num_directions();
        float* state =
            num_segments_ == 1
                ? own_states + (h * directions + direction) * state_floats_
                : memory.states +
                      (((unit.b * problem_.num_q_heads + head) * directions + direction) *
                           num_segments_ +
                       order) *
                          state_floats_;
        task.heads[h] = {.left = rows(spec_.left),
                         .right = rows(spec_.right),
                         .values = rows(spec_.values),
                         .slope = slopes_[head],
                         .state = state};
    }

    LinearOutput& out = task.out;
    out.kind = spec_.kind;
    out.factor = spec_.factor;
    if (spec_.result != nullptr) {
        const TensorLayout& layout = *spec_.result_layout;
        const int64 bytes = bits_of(layout.dtype) / 8;
        const int64 head = spec_.per_kv_head ? problem_.kv_head(unit.first_head) : unit.first_head;
        out.data = static_cast<char*>(spec_.result) + layout.row(unit.b, head, token) * bytes;
        out.stride = (backwards ? -1 : 1) * layout.strides[2] * bytes;
        out.dtype = layout.dtype;
        out.extent = layout.shape[3];
    }
    if (spec_.through.data != nullptr) {
        out.through =
            linear_rows(problem_, spec_.through, unit.b, unit.first_head, token, backwards);
    }
    if (spec_.factors != nullptr) {
        out.factors =
            spec_.factors +
            ((unit.b * problem_.num_q_heads + unit.first_head) * problem_.len + token) * 2;
        out.factor_stride = backwards ? -2 : 2;
    }
    if (spec_.two_sided) {
        const int64 states = num_segments_ == 1 ? most_heads_ * num_directions() : 0;
        at += float_bytes(states * state_floats_);
        out.partial = reinterpret_cast<float*>(at) + (token - begin) * partial_stride();
        out.partial_stride = (backwards ? -1 : 1) * partial_stride();
        if (other) out.kind = LinearResult::kPartial;
    }
    return task;
}

Status LinearSum::find_local_states(const Memory& memory, int num_threads,
                                    const int32* cancel) const {
    // Each segment's state is found at the place of the next segment's, which it becomes part of.
    const int64 per_direction = num_segments_ - 1;
    const int64 per_unit = num_directions() * per_direction;
    return parallel_for(num_units() * per_unit, num_threads, cancel, [&](int64 index, int slot) {
        const int direction = static_cast<int>(index % per_unit / per_direction);
        const bool backwards = spec_.backwards != (direction == 1);
        const int64 order = index % per_direction;
        const int64 segment = backwards ? num_segments_ - 1 - order : order;
        LinearScanTask task =
            scan_task(memory, unit(index / per_unit), segment, direction, slot, cancel);
        task.out.kind = LinearResult::kNone;
        for (int64 h = 0; h < task.num_heads; ++h) {
            task.heads[h].state += state_floats_;
            table_.linear.load_state(nullptr, false, num_rows_, num_columns_, task.heads[h].state);
        }
        table_.linear.scan(task);
    });
}

Status LinearSum::pass_states_on(const Memory& memory, int num_threads, const int32* cancel) const {
    const int64 num_heads = problem_.batch * problem_.num_q_heads;
    return parallel_for(num_heads * num_directions(), num_threads, cancel, [&](int64 index, int) {
        const int64 head = index / num_directions();
        const bool other = index % num_directions() == 1;
        const bool backwards = spec_.backwards != other;
        float* state = memory.states + index * num_segments_ * state_floats_;
        const float* initial = other || spec_.states.initial == nullptr
                                   ? nullptr
                                   : spec_.states.initial + head * num_rows_ * num_columns_;
        table_.linear.load_state(initial, spec_.states.transposed, num_rows_, num_columns_, state);
        for (int64 order = 0; order + 1 < num_segments_; ++order) {
            const int64 segment = backwards ? num_segments_ - 1 - order : order;
            const int64 rows = std::min(segment_rows_, problem_.len - segment * segment_rows_);
            const float remaining = decay(slopes_[head % problem_.num_q_heads], rows);
            float* next = state + state_floats_;
            for (int64 i = 0; i < state_floats_; ++i) next[i] += remaining * state[i];
            state = next;
        }
    });
}

void LinearSum::scan_segment(const Memory& memory, int64 index, int64 segment, int slot,
                             const int32* cancel) const {
    const Unit unit = this->unit(index);
    for (int direction = static_cast<int>(num_directions()) - 1; direction >= 0; --direction) {
        const LinearScanTask task = scan_task(memory, unit, segment, direction, slot, cancel);
        const LinearStates& states = spec_.states;
        const auto place_of = [&](auto* all, int64 h) {
            return all +
                   (unit.b * problem_.num_q_heads + unit.first_head + h) * num_rows_ * num_columns_;
        };
        for (int64 h = 0; h < task.num_heads && num_segments_ == 1; ++h) {
            const bool given = direction == 0 && states.initial != nullptr;
            table_.linear.load_state(given ? place_of(states.initial, h) : nullptr,
                                     states.transposed, num_rows_, num_columns_,
                                     task.heads[h].state);
        }
        table_.linear.scan(task);
        const int64 last = spec_.backwards ? 0 : num_segments_ - 1;
        if (direction == 1 || segment != last || states.final == nullptr) continue;
        for (int64 h = 0; h < task.num_heads; ++h) {
            table_.linear.store_state(task.heads[h].state, states.transposed, num_rows_,
                                      num_columns_, place_of(states.final, h));
        }
    }
}

Status LinearSum::run(int num_threads, const int32* cancel, std::byte* workspace) const {
    const Memory memory{reinterpret_cast<float*>(workspace),
                        workspace + float_bytes(shared_state_floats()), thread_bytes()};
    if (num_segments_ > 1) {
        if (Status status = find_local_states(memory, num_threads, cancel); !status.ok()) {
            return status;
        }
        if (Status status = pass_states_on(memory, num_threads, cancel); !status.ok()) {
            return status;
        }
    }
    return parallel_for(
        num_units() * num_segments_, num_threads, cancel, [&](int64 index, int slot) {
            scan_segment(memory, index / num_segments_, index % num_segments_, slot, cancel);
        });
}

}  // namespace fattn::cpu
