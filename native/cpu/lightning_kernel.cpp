// Says which decayed sums the passes of linear attention are, and runs them; see
// lightning_kernel.h.
#include "cpu/lightning_kernel.h"

#include <algorithm>

#include "cpu/linear_sum.h"
#include "cpu/parallel.h"
#include "cpu/workspace.h"

namespace fattn::cpu {
namespace {

/// The sums of one problem. With S the running state, G the gradient of the state that a token
/// leaves and dO the gradient of o (of the sums before their division, when results are
/// normalised): o = q S, dq = S dO, dk = G v, dv = k G, each with what its own chunk adds.
class Sums {
  public:
    explicit Sums(const LightningProblem& problem) : p_(problem) {}

    LinearSumSpec output(const LightningForwardArgs& args) const {
        LinearSumSpec spec = forward_sum(q_rows(args.q), k_rows(args.k), v_rows(args.v));
        spec.states = {args.initial_state, args.final_state, false};
        spec.kind = p_.normalize ? LinearResult::kStoreQuotient : LinearResult::kStore;
        spec.result = args.o;
        spec.result_layout = &p_.o;
        spec.factor = p_.scale;
        return spec;
    }

    /// What turns dO into the gradients of the sums and of their weights.
    LinearSumSpec quotient_factors(const LightningBackwardArgs& args, float* factors) const {
        LinearSumSpec spec = forward_sum(q_rows(args.q), k_rows(args.k), v_rows(args.v));
        spec.states = {args.initial_state, nullptr, false};
        spec.kind = LinearResult::kQuotientFactors;
        spec.through = {args.d_o, &p_.d_o, true, FeatureMap::kIdentity, false, nullptr};
        spec.factors = factors;
        return spec;
    }

    LinearSumSpec d_q(const LightningBackwardArgs& args, const float* factors) const {
        LinearSumSpec spec =
            forward_sum(d_o_rows(args.d_o, factors), v_rows(args.v), k_rows(args.k));
        spec.states = {args.initial_state, nullptr, true};
        spec.result = args.d_q;
        spec.result_layout = &p_.d_q;
        spec.factor = p_.result_scale();
        store_through(q_rows(args.q), &spec);
        return spec;
    }

    LinearSumSpec d_k(const LightningBackwardArgs& args, const float* factors) const {
        LinearSumSpec spec =
            backward_sum(v_rows(args.v), d_o_rows(args.d_o, factors), q_rows(args.q));
        spec.states = {args.d_final_state, nullptr, true};
        spec.result = args.d_k;
        spec.result_layout = &p_.d_k;
        store_through(k_rows(args.k), &spec);
        return spec;
    }

    /// With the gradient of the initial state, which is where G ends.
    LinearSumSpec d_v(const LightningBackwardArgs& args, const float* factors) const {
        LinearSumSpec spec =
            backward_sum(k_rows(args.k), q_rows(args.q), d_o_rows(args.d_o, factors));
        spec.states = {args.d_final_state, args.d_initial_state, false};
        spec.result = args.d_v;
        spec.result_layout = &p_.d_v;
        if (args.d_v == nullptr) {
            spec.kind = LinearResult::kNone;
            spec.two_sided = false;
        }
        return spec;
    }

    LinearOperand q_rows(const void* q) const { return {q, &p_.q, true, p_.map, false, nullptr}; }
    LinearOperand k_rows(const void* k) const { return {k, &p_.k, false, p_.map, false, nullptr}; }
    /// With a column of ones that gathers the weights.
    LinearOperand v_rows(const void* v) const {
        return {v, &p_.v, false, FeatureMap::kIdentity, p_.normalize, nullptr};
    }

  private:
    LinearOperand d_o_rows(const void* d_o, const float* factors) const {
        return {d_o, &p_.d_o, true, FeatureMap::kIdentity, p_.normalize, factors};
    }

    LinearSumSpec forward_sum(const LinearOperand& left, const LinearOperand& right,
                              const LinearOperand& values) const {
        LinearSumSpec spec{};
        spec.left = left;
        spec.right = right;
        spec.values = values;
        spec.two_sided = !p_.causal;
        spec.weight = 1.0F;
        spec.kind = LinearResult::kStore;
        spec.factor = 1.0F;
        return spec;
    }

    LinearSumSpec backward_sum(const LinearOperand& left, const LinearOperand& right,
                               const LinearOperand& values) const {
        LinearSumSpec spec = forward_sum(left, right, values);
        spec.backwards = true;
        spec.per_kv_head = true;
        spec.weight = p_.result_scale();
        return spec;
    }

    void store_through(const LinearOperand& rows, LinearSumSpec* spec) const {
        if (p_.map == FeatureMap::kIdentity) return;
        spec->kind = LinearResult::kStoreThrough;
        spec->through = rows;
    }

    const LightningProblem& p_;
};

class CpuLightningKernel final : public LightningKernel {
  public:
    CpuLightningKernel(const LightningProblem& problem, const KernelTable& table,
                       WorkspacePool& pool, int default_threads)
        : problem_(problem),
          sums_(problem_),
          table_(table),
          pool_(pool),
          default_threads_(default_threads) {}

    WorkspaceSize workspace(Pass pass, int max_threads) const override {
        if (pass == Pass::kBackward && !problem_.backward) return {};
        const int num_threads = threads(max_threads);
        return {pass == Pass::kForward ? forward_bytes(num_threads) : backward_bytes(num_threads),
                0};
    }

    const char* name(Pass) const override { return table_.name; }

    Status forward(const LightningForwardArgs& args, const RunOptions& run) const override {
        if (problem_.len == 1) return step(args, run);
        const int num_threads = threads(run.max_threads);
        ScopedWorkspace workspace(pool_, run, forward_bytes(num_threads));
        if (!workspace.status().ok()) return workspace.status();
        return run_sum(sums_.output(args), args.slopes, num_threads, run.cancel, workspace.data());
    }

    Status backward(const LightningBackwardArgs& args, const RunOptions& run) const override {
        const int num_threads = threads(run.max_threads);
        ScopedWorkspace workspace(pool_, run, backward_bytes(num_threads));
        if (!workspace.status().ok()) return workspace.status();
        float* factors = problem_.normalize ? reinterpret_cast<float*>(workspace.data()) : nullptr;
        std::byte* memory = workspace.data() + factor_bytes();
        const auto sum = [&](const LinearSumSpec& spec) {
            return run_sum(spec, args.slopes, num_threads, run.cancel, memory);
        };
        if (factors != nullptr) {
            if (Status s = sum(sums_.quotient_factors(args, factors)); !s.ok()) return s;
        }
        if (args.d_q != nullptr) {
            if (Status s = sum(sums_.d_q(args, factors)); !s.ok()) return s;
        }
        if (args.d_k != nullptr) {
            if (Status s = sum(sums_.d_k(args, factors)); !s.ok()) return s;
        }
        if (args.d_v != nullptr || args.d_initial_state != nullptr) {
            return sum(sums_.d_v(args, factors));
        }
        return {};
    }

    Status step(const LightningForwardArgs& args, const RunOptions& run) const override {
        const int num_threads = threads(run.max_threads);
        ScopedWorkspace workspace(pool_, run, step_bytes(num_threads));
        if (!workspace.status().ok()) return workspace.status();
        const int64 state = problem_.state_rows() * problem_.state_columns();
        return parallel_for(
            problem_.batch * problem_.num_q_heads, num_threads, run.cancel,
            [&](int64 index, int slot) {
                const int64 b = index / problem_.num_q_heads;
                const int64 h = index % problem_.num_q_heads;
                const auto rows = [&](const LinearOperand& operand) {
                    return linear_rows(problem_, operand, b, h, 0, false);
                };
                LinearStepTask task{};
                task.q = rows(sums_.q_rows(args.q));
                task.k = rows(sums_.k_rows(args.k));
                task.v = rows(sums_.v_rows(args.v));
                task.slope = args.slopes[h];
                if (args.initial_state != nullptr) task.state = args.initial_state + index * state;
                if (args.final_state != nullptr) task.new_state = args.final_state + index * state;
                task.out.kind =
                    problem_.normalize ? LinearResult::kStoreQuotient : LinearResult::kStore;
                task.out.data = static_cast<char*>(args.o) +
                                problem_.o.row(b, h, 0) * (bits_of(problem_.o.dtype) / 8);
                task.out.dtype = problem_.o.dtype;
                task.out.extent = problem_.head_dim_v;
                task.out.factor = problem_.scale;
                task.scratch = workspace.data() + static_cast<uint64>(slot) * step_bytes(1);
                table_.linear.step(task);
            });
    }

  private:
    int threads(int max_threads) const { return threads_of_run(max_threads, default_threads_); }

    Status run_sum(const LinearSumSpec& spec, const float* slopes, int num_threads,
                   const int32* cancel, std::byte* memory) const {
        return LinearSum(problem_, table_, slopes, spec).run(num_threads, cancel, memory);
    }

    uint64 sum_bytes(const LinearSumSpec& spec, int num_threads) const {
        return LinearSum(problem_, table_, nullptr, spec).workspace(num_threads);
    }

    uint64 step_bytes(int num_threads) const {
        const int threads = threads_with_tasks(problem_.batch * problem_.num_q_heads, num_threads);
        return static_cast<uint64>(threads) *
               line_up(table_.linear.step_scratch(problem_.state_rows(), problem_.state_columns()));
    }

    uint64 forward_bytes(int num_threads) const {
        if (problem_.len == 1) return step_bytes(num_threads);
        return sum_bytes(sums_.output({}), num_threads);
    }

    /// Two floats for every row whose result is divided.
    uint64 factor_bytes() const {
        if (!problem_.normalize) return 0;
        const int64 rows = problem_.batch * problem_.num_q_heads * problem_.len;
        return line_up(static_cast<uint64>(rows) * 2 * sizeof(float));
    }

    /// Every sum in turn in the same memory, d_v both as it is when wanted and when it is not.
    uint64 backward_bytes(int num_threads) const {
        int32 wanted = 0;
        const LightningBackwardArgs args{};
        LightningBackwardArgs with_d_v{};
        with_d_v.d_v = &wanted;
        uint64 most = 0;
        for (const LinearSumSpec& spec :
             {sums_.quotient_factors(args, nullptr), sums_.d_q(args, nullptr),
              sums_.d_k(args, nullptr), sums_.d_v(args, nullptr), sums_.d_v(with_d_v, nullptr)}) {
            most = std::max(most, sum_bytes(spec, num_threads));
        }
        return factor_bytes() + most;
    }

    const LightningProblem problem_;
    const Sums sums_;
    const KernelTable& table_;
    WorkspacePool& pool_;
    const int default_threads_;
};

}  // namespace

std::unique_ptr<LightningKernel> make_lightning_kernel(const LightningProblem& problem,
                                                       const KernelTable& table,
                                                       WorkspacePool& pool, int default_threads) {
    return std::make_unique<CpuLightningKernel>(problem, table, pool, default_threads);
}

}  // namespace fattn::cpu
