// The parser's variables, initialisers, and debug sections.
#include <algorithm>
#include <cstring>

#include "ptx/parser_state.h"

namespace fattn::vgpu::ptx {

std::optional<Space> Parser::variable_space(const Token& token) const {
    if (token.is_dot("global")) return Space::kGlobal;
    if (token.is_dot("const")) return Space::kConst;
    if (token.is_dot("shared")) return Space::kShared;
    return std::nullopt;
}

void Parser::module_variable(Space space, bool external) {
    take();
    const Token& at = peek();
    std::string_view name;
    Variable made = variable(space, external, &name);
    expect(';', "after a variable");
    if (external && space != Space::kShared) {
        throw LoadError(LoadError::Reason::kUnsupported,
                        describe_line(file_, text_, at.line,
                                      "the .extern variable " + made.name +
                                          " needs another module; modules are not linked here, "
                                          "only .extern .shared is known"),
                        at.line);
    }
    if (!module_variables_.emplace(name, static_cast<uint32_t>(module_.variables.size())).second)
        fail("the variable " + made.name + " is declared twice", at);
    module_.variables.push_back(std::move(made));
}

// After the space: [.align N] [.v2 | .v4] .type [.ptr ...] name [dimensions] [= initialiser].
Variable Parser::variable(Space space, bool external, std::string_view* name) {
    Variable made;
    made.space = space;
    made.external = external;
    made.line = peek().line;
    uint32_t align = 0, width = 1;
    for (;;) {
        const Token& at = peek();
        if (at.kind != Token::Kind::kDot) break;
        take();
        if (at.text == "align") {
            align = static_cast<uint32_t>(expect_integer("an alignment"));
            if (align == 0 || (align & (align - 1)) != 0)
                fail("an alignment is a power of two, not " + std::to_string(align), at);
        } else if (at.text == "v2") {
            width = 2;
        } else if (at.text == "v4") {
            width = 4;
        } else if (const auto type = type_of(at.text)) {
            made.type = *type;
        } else if (at.text == "ptr" || at.text == "global" || at.text == "shared" ||
                   at.text == "const" || at.text == "local") {
            continue;  // .ptr and what it points to: nothing to allocate
        } else {
            fail("'." + std::string(at.text) + "' is not known in a declaration", at);
        }
    }
    const Token& at = peek();
    *name = expect_name("a variable's name");
    made.name = *name;
    uint64_t count = 1;
    while (accept('[')) {
        if (accept(']')) {
            count = 0;
            continue;
        }
        count *= expect_integer("an array's length");
        expect(']', "after an array's length");
    }
    if (made.type == Type::kPred || made.type == Type::kNone)
        fail("the variable " + made.name + " has no type that memory can hold", at);
    made.alignment = std::max(align, align ? 1u : bytes_of(made.type) * width);
    made.bytes = count * width * bytes_of(made.type);
    if (made.bytes == 0 && !(space == Space::kShared && external)) {
        fail("the variable " + made.name +
                 " has no length; only .extern .shared arrays may lack one",
             at);
    }
    if (accept('=')) initialiser(made);
    return made;
}

void Parser::initialiser(Variable& into) {
    if (peek().is('{')) {
        take();
        initial_values(into);
    } else {
        into.initial.push_back(initial_value());
    }
}

void Parser::initial_values(Variable& into) {
    while (!accept('}')) {
        if (accept('{')) {
            initial_values(into);
        } else {
            into.initial.push_back(initial_value());
        }
        if (!peek().is('}')) expect(',', "between initial values");
    }
}

Initial Parser::initial_value() {
    Initial made;
    const bool generic = peek().is_name("generic");
    if (generic) {
        take();
        expect('(', "after generic");
    }
    if (peek().kind == Token::Kind::kName) {
        made.symbol = std::string(take().text);
    } else {
        const bool negative = accept('-');
        Operand value = number(negative);
        made.bits = value.value;
    }
    if (generic) expect(')', "after generic(");
    if (!made.symbol.empty() && (peek().is('+') || peek().is('-'))) {
        const bool minus = take().is('-');
        const auto addend = static_cast<int64_t>(expect_integer("an offset"));
        made.addend = minus ? -addend : addend;
    }
    return made;
}

void Parser::file_directive() {
    take();
    const auto index = static_cast<size_t>(expect_integer("a file's number"));
    if (peek().kind != Token::Kind::kString) fail("expected a file's name");
    if (index > 65535) fail("a file's number is at most 65535");
    module_.source_files.resize(std::max(module_.source_files.size(), index + 1));
    module_.source_files[index] = std::string(take().text);
    while (accept(',')) take();
}

// Debug information has no effect on what runs: a section is passed over to its closing brace.
void Parser::section() {
    take();
    take();
    expect('{', "after a section's name");
    for (int depth = 1; depth > 0;) {
        const Token& token = take();
        if (token.kind == Token::Kind::kEnd) fail("a section is not closed");
        depth += token.is('{') ? 1 : token.is('}') ? -1 : 0;
    }
}

}  // namespace fattn::vgpu::ptx
