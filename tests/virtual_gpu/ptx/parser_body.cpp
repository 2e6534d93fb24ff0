// The parser's function bodies: scopes, registers, labels, instructions and their operands.
#include <charconv>
#include <cstring>

#include "ptx/parser_state.h"

namespace fattn::vgpu::ptx {

namespace {

// N of a name that is the prefix and N, written without zeros before it; nothing for any other
// name.
std::optional<uint64_t> number_behind(std::string_view prefix, std::string_view name) {
    if (!name.starts_with(prefix) || name.size() == prefix.size()) return std::nullopt;
    const std::string_view digits = name.substr(prefix.size());
    if (digits.size() > 1 && digits[0] == '0') return std::nullopt;
    uint64_t number = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
    return number;
}

}  // namespace

std::optional<Parser::Named> Parser::look_up_in(const Scope& scope, std::string_view name) {
    for (const Family& family : scope.families) {
        const auto number = number_behind(family.prefix, name);
        if (number && *number < family.count) {
            return Named{Named::What::kRegister, family.first + static_cast<uint32_t>(*number)};
        }
    }
    const auto found = scope.names.find(name);
    if (found == scope.names.end()) return std::nullopt;
    return found->second;
}

std::optional<Parser::Named> Parser::look_up(std::string_view name) const {
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
        if (const auto found = look_up_in(*scope, name)) return found;
    }
    return std::nullopt;
}

void Parser::declare(std::string_view name, Named what, const Token& at) {
    if (look_up_in(scopes_.back(), name))
        fail("the name " + std::string(name) + " is declared twice in one scope", at);
    scopes_.back().names.emplace(name, what);
}

void Parser::declare_family(const Family& made, const Token& at) {
    Scope& scope = scopes_.back();
    const auto twice = [&](std::string_view name) {
        fail("the name " + std::string(name) + " is declared twice in one scope", at);
    };
    for (const auto& [name, what] : scope.names) {
        const auto number = number_behind(made.prefix, name);
        if (number && *number < made.count) twice(name);
    }
    for (const Family& other : scope.families) {
        if (other.prefix == made.prefix) twice(std::string(made.prefix) + "0");
    }
    scope.families.push_back(made);
}

void Parser::open_scope() {
    const auto id = static_cast<uint32_t>(function_->scope_parents.size());
    function_->scope_parents.push_back(scopes_.back().id);
    scopes_.push_back({{}, {}, id});
}

void Parser::close_scope() { scopes_.pop_back(); }

void Parser::body(Function& into) {
    expect('{', "before a body");
    const size_t outer = scopes_.size();
    for (;;) {
        if (peek().kind == Token::Kind::kEnd) fail("the body of " + into.name + " is not closed");
        if (peek().is('{')) {
            take();
            open_scope();
        } else if (peek().is('}')) {
            take();
            if (scopes_.size() == outer) return;
            close_scope();
        } else {
            statement();
        }
    }
}

void Parser::statement() {
    const Token& token = peek();
    if (token.is(';')) {
        take();
        return;
    }
    if (token.is_dot("reg")) return register_declaration();
    if (token.is_dot("loc")) return location();
    if (token.is_dot("param") || token.is_dot("local") || token.is_dot("shared")) {
        take();
        const Space space = token.text == "param"   ? Space::kParam
                            : token.text == "local" ? Space::kLocal
                                                    : Space::kShared;
        std::string_view name;
        function_->variables.push_back(variable(space, false, &name));
        const auto index = static_cast<uint32_t>(function_->variables.size() - 1);
        declare(name, {Named::What::kFunctionVariable, index}, token);
        return expect(';', "after a variable");
    }
    if (token.is_dot("branchtargets")) return branch_targets();
    if (token.is_dot("pragma")) {  // a hint to ptxas: loop unrolling, bytes used of a vector
        take();
        take();
        return expect(';', "after .pragma");
    }
    if (token.kind == Token::Kind::kDot)
        fail("the directive ." + std::string(token.text) + " is not known in a body");
    if (token.kind == Token::Kind::kName && peek(1).is(':') && !peek(2).is(':')) return label();
    instruction();
}

void Parser::register_declaration() {
    take();
    const Token& at = peek();
    const auto type = at.kind == Token::Kind::kDot ? type_of(at.text) : std::nullopt;
    if (!type) fail("expected a register type, found '" + std::string(at.text) + "'");
    take();
    do {
        const std::string_view name = expect_name("a register's name");
        const auto first = static_cast<uint32_t>(function_->registers.size());
        if (accept('<')) {
            const uint64_t count = expect_integer("a number of registers");
            expect('>', "after a number of registers");
            if (count > 1'000'000) fail("a million registers are the limit of one declaration", at);
            declare_family({name, count, first}, at);
            for (uint64_t i = 0; i < count; ++i)
                function_->registers.push_back({std::string(name) + std::to_string(i), *type});
        } else {
            declare(name, {Named::What::kRegister, first}, at);
            function_->registers.push_back({std::string(name), *type});
        }
    } while (accept(','));
    expect(';', "after registers");
}

void Parser::location() {
    take();
    source_file_ = static_cast<uint32_t>(expect_integer("a file's number"));
    source_line_ = static_cast<uint32_t>(expect_integer("a line"));
    expect_integer("a column");
    // function_name NAME [+ N], inlined_at F L C
    while (accept(',')) {
        if (peek().is_name("function_name")) {
            take();
            expect_name("a section's label");
            if (accept('+')) expect_integer("an offset");
        } else if (peek().is_name("inlined_at")) {
            take();
            expect_integer("a file's number");
            expect_integer("a line");
            expect_integer("a column");
        } else {
            fail("'" + std::string(peek().text) + "' is not known in .loc");
        }
    }
}

void Parser::label() {
    const Token& at = take();
    take();
    const auto number = static_cast<uint32_t>(function_->labels.size());
    if (!function_->label_numbers.emplace(std::pair{scopes_.back().id, at.text}, number).second)
        fail("the label " + std::string(at.text) + " stands twice", at);
    function_->labels.push_back(
        {at.text, scopes_.back().id, static_cast<uint32_t>(function_->body.size())});
}

// .branchtargets A, B, ...; behind a label, which brx.idx names.
void Parser::branch_targets() {
    const Token& at = take();
    if (function_->labels.empty() || function_->labels.back().position != function_->body.size() ||
        function_->labels.back().scope != scopes_.back().id)
        fail(".branchtargets stands behind a label", at);
    auto& list = function_->branch_lists[{scopes_.back().id, function_->labels.back().name}];
    do {
        list.push_back(expect_name("a label"));
    } while (accept(','));
    expect(';', "after .branchtargets");
}

void Parser::instruction() {
    Instruction made;
    const Token& first = peek();
    made.line = first.line;
    made.source_file = source_file_;
    made.source_line = source_line_;
    if (accept('@')) {
        made.guarded = true;
        made.guard_negated = accept('!');
        const Token& at = peek();
        const std::string_view name = expect_name("a predicate");
        const auto named = look_up(name);
        if (!named || named->what != Named::What::kRegister ||
            function_->registers[named->index].type != Type::kPred) {
            fail(std::string(name) + " is no predicate register", at);
        }
        made.guard = named->index;
    }
    if (peek().kind != Token::Kind::kName)
        fail("expected an instruction, found '" + std::string(peek().text) + "'");
    made.opcode = take().text;
    while (peek().kind == Token::Kind::kDot) made.modifiers.push_back(take().text);
    if (!peek().is(';')) {
        do {
            made.operands.push_back(operand());
        } while (accept(','));
    }
    const char* end = peek().begin;
    expect(';', "after an instruction");
    made.text = std::string_view(first.begin, static_cast<size_t>(end - first.begin));
    function_->body.push_back(std::move(made));
}

Operand Parser::operand() {
    Operand first = primary();
    if (!accept('|')) return first;
    Operand pair;
    pair.kind = Operand::Kind::kPair;
    pair.parts.push_back(std::move(first));
    pair.parts.push_back(primary());
    return pair;
}

Operand Parser::primary() {
    const Token& token = peek();
    if (token.kind == Token::Kind::kNumber) return number(false);
    if (accept('-')) return number(true);
    if (accept('+')) return number(false);
    if (accept('!')) {
        const Token& at = take();
        Operand made = name_operand(at);
        if (made.kind != Operand::Kind::kRegister)
            fail("'!' stands before a predicate register", at);
        made.kind = Operand::Kind::kNegated;
        return made;
    }
    if (accept('[')) return memory();
    if (accept('{')) return vector('}');
    if (accept('(')) return vector(')');
    if (token.kind != Token::Kind::kName)
        fail("'" + std::string(token.text) + "' starts no operand");
    take();
    Operand made = name_operand(token);
    // An address as a constant: variable + 16.
    if (made.kind == Operand::Kind::kVariable && (peek().is('+') || peek().is('-'))) {
        const bool minus = take().is('-');
        const uint64_t offset = expect_integer("an offset");
        made.value = minus ? 0 - offset : offset;
    }
    return made;
}

Operand Parser::number(bool negative) {
    const Token& token = take();
    if (token.kind != Token::Kind::kNumber)
        fail("expected a number, found '" + std::string(token.text) + "'", token);
    Operand made;
    const std::string_view text = token.text;
    if (text.size() == 10 && text[0] == '0' && (text[1] == 'f' || text[1] == 'F')) {
        uint32_t bits = 0;
        const auto [end, error] = std::from_chars(text.data() + 2, text.data() + 10, bits, 16);
        if (error != std::errc() || end != text.data() + 10)
            fail("0f takes eight hexadecimal digits", token);
        made.kind = Operand::Kind::kFloatBits;
        made.value = negative ? bits ^ 0x80000000u : bits;
        return made;
    }
    if (text.size() == 18 && text[0] == '0' && (text[1] == 'd' || text[1] == 'D')) {
        uint64_t bits = 0;
        const auto [end, error] = std::from_chars(text.data() + 2, text.data() + 18, bits, 16);
        if (error != std::errc() || end != text.data() + 18)
            fail("0d takes sixteen hexadecimal digits", token);
        made.kind = Operand::Kind::kFloat;
        made.value = negative ? bits ^ (uint64_t{1} << 63) : bits;
        return made;
    }
    const bool hexadecimal = text.size() > 1 && (text[1] == 'x' || text[1] == 'X');
    if (!hexadecimal && text.find_first_of(".eE") != std::string_view::npos) {
        double value = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        if (error != std::errc() || end != text.data() + text.size())
            fail("this is no floating-point number", token);
        if (negative) value = -value;
        made.kind = Operand::Kind::kFloat;
        std::memcpy(&made.value, &value, 8);
        return made;
    }
    made.value = negative ? 0 - integer_value(token) : integer_value(token);
    return made;
}

Operand Parser::name_operand(const Token& token) {
    Operand made;
    made.name = token.text;
    made.scope = scopes_.back().id;
    if (made.name == "_") {
        made.kind = Operand::Kind::kSink;
    } else if (const auto named = look_up(made.name)) {
        made.index = named->index;
        made.kind = named->what == Named::What::kRegister ? Operand::Kind::kRegister
                                                          : Operand::Kind::kVariable;
        made.function_local = named->what == Named::What::kFunctionVariable;
    } else if (made.name == "WARP_SZ") {
        made.kind = Operand::Kind::kInteger;
        made.value = 32;
    } else if (made.name[0] == '%') {
        made.kind = Operand::Kind::kSpecial;
        if (peek().is_dot("x") || peek().is_dot("y") || peek().is_dot("z") || peek().is_dot("w")) {
            const Token& axis = take();
            if (axis.begin != token.begin + token.text.size())
                fail(
                    "'." + std::string(axis.text) + "' does not stand at " + std::string(made.name),
                    axis);
            made.name = std::string_view(token.text.data(), token.text.size() + 2);
        }
    } else if (const auto variable = module_variables_.find(made.name);
               variable != module_variables_.end()) {
        made.kind = Operand::Kind::kVariable;
        made.index = variable->second;
    } else {
        made.kind = Operand::Kind::kName;
    }
    return made;
}

// [base], [base + 16], [base + -16], [16], [base, {x, y}], [base, {x, y}], after its opening
// bracket.
Operand Parser::memory() {
    Operand made;
    made.kind = Operand::Kind::kMemory;
    const Token& at = peek();
    if (at.kind == Token::Kind::kNumber) {
        Operand base;
        base.value = integer_value(take());
        made.parts.push_back(base);
    } else {
        take();
        if (at.kind != Token::Kind::kName)
            fail("an address begins with a register, a variable or a number", at);
        made.parts.push_back(name_operand(at));
        if (made.parts[0].kind == Operand::Kind::kName)
            fail("the name " + std::string(made.parts[0].name) + " is not declared", at);
        while (peek().is('+') || peek().is('-')) {
            bool minus = take().is('-');
            if (accept('-')) minus = !minus;
            const uint64_t offset = expect_integer("an offset");
            made.value += minus ? 0 - offset : offset;
        }
    }
    while (accept(',')) made.parts.push_back(primary());
    expect(']', "after an address");
    return made;
}

Operand Parser::vector(char close) {
    Operand made;
    made.kind = Operand::Kind::kVector;
    while (!accept(close)) {
        made.parts.push_back(primary());
        if (!peek().is(close)) expect(',', "between elements");
    }
    return made;
}

}  // namespace fattn::vgpu::ptx
