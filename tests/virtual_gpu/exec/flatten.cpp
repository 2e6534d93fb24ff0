// Inlining of calls and resolution of labels.
#include "exec/flatten.h"

#include <algorithm>

#include "gpu/module.h"
#include "ptx/lexer.h"

namespace fattn::vgpu {
namespace {

using ptx::Function;
using ptx::Instruction;
using ptx::Operand;

class Flattener {
  public:
    Flattener(const ptx::Module& module, const std::string& file, std::string_view text)
        : module_(module), file_(file), text_(text) {}

    FlatFunction run(const Function& entry) {
        flat_.num_parameters = entry.num_parameters;
        inline_body(entry, {});
        for (auto [position, operand] : branches_)
            flat_.body[position].operands[operand].index =
                labels_[flat_.body[position].operands[operand].index];
        return std::move(flat_);
    }

  private:
    // What of the caller stands for a called function's own parameters.
    struct Actuals {
        std::vector<uint32_t> variables;  // results, then arguments
    };

    [[noreturn]] void fail(const Instruction& at, const std::string& message,
                           LoadError::Reason reason = LoadError::Reason::kUnsupported) const {
        throw LoadError(reason, ptx::describe_line(file_, text_, at.line, message), at.line);
    }

    void inline_body(const Function& function, const Actuals& actuals) {
        stack_.push_back(&function);
        const auto first_register = static_cast<uint32_t>(flat_.registers.size());
        flat_.registers.insert(flat_.registers.end(), function.registers.begin(),
                               function.registers.end());
        std::vector<uint32_t> variables = actuals.variables;
        for (size_t i = variables.size(); i < function.variables.size(); ++i) {
            variables.push_back(static_cast<uint32_t>(flat_.variables.size()));
            flat_.variables.push_back(function.variables[i]);
        }
        const auto first_label = static_cast<uint32_t>(labels_.size());
        labels_.resize(labels_.size() + function.labels.size() + 1);
        const auto end_label = static_cast<uint32_t>(labels_.size() - 1);

        size_t next_label = 0;
        for (uint32_t i = 0; i <= function.body.size(); ++i) {
            for (; next_label < function.labels.size() && function.labels[next_label].position == i;
                 ++next_label) {
                labels_[first_label + next_label] = static_cast<uint32_t>(flat_.body.size());
            }
            if (i == function.body.size()) break;
            Instruction made = function.body[i];
            made.guard += first_register;
            for (Operand& operand : made.operands) renumber(operand, first_register, variables);
            if (made.opcode == "call") {
                call(made);
            } else if (made.opcode == "bra") {
                if (made.operands.size() != 1 || made.operands[0].kind != Operand::Kind::kName)
                    fail(made, "bra takes one label");
                branch(made, function, first_label, made.operands[0]);
            } else if (made.opcode == "brx") {
                branch_by_index(made, function, first_label);
            } else if (made.opcode == "ret" && stack_.size() > 1) {
                jump(made, end_label);
            } else {
                flat_.body.push_back(std::move(made));
            }
        }
        labels_[end_label] = static_cast<uint32_t>(flat_.body.size());
        stack_.pop_back();
    }

    void renumber(Operand& operand, uint32_t first_register,
                  const std::vector<uint32_t>& variables) const {
        if (operand.kind == Operand::Kind::kRegister || operand.kind == Operand::Kind::kNegated)
            operand.index += first_register;
        if (operand.kind == Operand::Kind::kVariable && operand.function_local)
            operand.index = variables[operand.index];
        for (Operand& part : operand.parts) renumber(part, first_register, variables);
    }

    // The entry of `table`, which is by scope and name, that a name means.
    template <class Table>
    static auto find_in_scopes(const Table& table, const Function& function, uint32_t scope,
                               std::string_view name) {
        for (;; scope = function.scope_parents[scope]) {
            const auto found = table.find({scope, name});
            if (found != table.end() || scope == 0) return found;
        }
    }

    // A branch like `like` to a label of the function, behind everything that is there.
    void branch(const Instruction& like, const Function& function, uint32_t first_label,
                const Operand& label) {
        const auto found =
            find_in_scopes(function.label_numbers, function, label.scope, label.name);
        if (found == function.label_numbers.end()) {
            fail(like,
                 "the label " + std::string(label.name) + " stands nowhere in " + function.name,
                 LoadError::Reason::kSyntax);
        }
        jump(like, first_label + found->second);
    }

    // brx.idx becomes a comparison and a branch for each label of its list, in order; no lane may
    // come behind the last.
    void branch_by_index(const Instruction& made, const Function& function, uint32_t first_label) {
        const bool known = !made.modifiers.empty() && made.modifiers[0] == "idx";
        if (!known || made.operands.size() != 2 || made.operands[1].kind != Operand::Kind::kName)
            fail(made, "the form is brx.idx index, list");
        const Operand& name = made.operands[1];
        const auto list = find_in_scopes(function.branch_lists, function, name.scope, name.name);
        if (list == function.branch_lists.end()) {
            fail(made,
                 "there is no .branchtargets " + std::string(name.name) + " in " + function.name,
                 LoadError::Reason::kSyntax);
        }
        const auto end_label = static_cast<uint32_t>(labels_.size());
        labels_.push_back(0);
        if (made.guarded) {
            Instruction over = made;
            over.guard_negated = !over.guard_negated;
            jump(over, end_label);
        }
        Operand chosen, number;
        chosen.kind = Operand::Kind::kRegister;
        chosen.index = static_cast<uint32_t>(flat_.registers.size());
        flat_.registers.push_back({"_", ptx::Type::kPred});
        for (const std::string_view target : list->second) {
            Instruction compare = made;
            compare.guarded = false;
            compare.opcode = "setp";
            compare.modifiers = {"eq", "u32"};
            compare.operands = {chosen, made.operands[0], number};
            flat_.body.push_back(compare);
            ++number.value;
            Instruction taken = made;
            taken.guarded = true;
            taken.guard = chosen.index;
            taken.guard_negated = false;
            Operand label = name;
            label.name = target;
            branch(taken, function, first_label, label);
        }
        Instruction outside = made;
        outside.guarded = false;
        outside.opcode = kBranchOutside;
        outside.modifiers.clear();
        outside.operands.clear();
        flat_.body.push_back(outside);
        labels_[end_label] = static_cast<uint32_t>(flat_.body.size());
    }

    void jump(const Instruction& like, uint32_t label) {
        Instruction made = like;
        made.opcode = "bra";
        if (like.opcode != "bra") made.modifiers.clear();
        Operand operand;
        operand.kind = Operand::Kind::kName;
        operand.index = label;
        made.operands = {operand};
        branches_.push_back({static_cast<uint32_t>(flat_.body.size()), 0});
        flat_.body.push_back(std::move(made));
    }

    // call[.uni] (results), name, (arguments), with either list absent.
    void call(const Instruction& made) {
        std::vector<Operand> lists[2];
        const Operand* callee = nullptr;
        for (const Operand& operand : made.operands) {
            if (operand.kind == Operand::Kind::kVector) {
                lists[callee != nullptr] = operand.parts;
            } else if (!callee) {
                callee = &operand;
            } else {
                fail(
                    made,
                    "calls through a prototype are not offered: the called function must be named");
            }
        }
        if (!callee || callee->kind != Operand::Kind::kName)
            fail(made, "calls through a register are not offered");
        if (callee->name == kAssertFail || callee->name == kPrint) {
            Instruction stand_in = made;
            stand_in.opcode = callee->name;
            stand_in.modifiers.clear();
            stand_in.operands = lists[1];
            stand_in.operands.insert(stand_in.operands.end(), lists[0].begin(), lists[0].end());
            flat_.body.push_back(std::move(stand_in));
            return;
        }
        const auto found =
            std::find_if(module_.functions.begin(), module_.functions.end(),
                         [&](const Function& f) { return f.defined && f.name == callee->name; });
        if (found == module_.functions.end())
            fail(made, "the function " + std::string(callee->name) + " has no body in this module");
        const Function& function = *found;
        if (std::find(stack_.begin(), stack_.end(), &function) != stack_.end()) {
            fail(made, "the function " + function.name +
                           " calls itself; calls are inlined, so recursion is not offered");
        }
        if (made.guarded) fail(made, "a guarded call is not offered; branch around it");

        Actuals actuals;
        const auto bind = [&](const std::vector<Operand>& given,
                              const std::vector<uint32_t>& registers, uint32_t in_memory,
                              bool results) {
            if (given.size() != registers.size() + in_memory || (!registers.empty() && in_memory)) {
                fail(made, "the call gives " + std::to_string(given.size()) + " operands where " +
                               function.name + " takes " +
                               std::to_string(registers.size() + in_memory));
            }
            for (const Operand& operand : given) {
                if (!registers.empty()) {
                    fail(made,
                         std::string(results ? "results" : "arguments") +
                             " in registers are not offered; compilers pass .param variables");
                }
                if (operand.kind != Operand::Kind::kVariable || !operand.function_local)
                    fail(made, "a call passes .param variables");
                actuals.variables.push_back(operand.index);
            }
        };
        bind(lists[0], function.register_results, function.num_results, true);
        bind(lists[1], function.register_arguments, function.num_parameters, false);
        inline_body(function, actuals);
    }

    const ptx::Module& module_;
    const std::string& file_;
    std::string_view text_;
    FlatFunction flat_;
    std::vector<const Function*> stack_;
    std::vector<uint32_t> labels_;  // positions
    std::vector<std::pair<uint32_t, uint32_t>> branches_;
};

}  // namespace

FlatFunction flatten(const ptx::Module& module, const ptx::Function& entry, const std::string& file,
                     std::string_view text) {
    return Flattener(module, file, text).run(entry);
}

}  // namespace fattn::vgpu
