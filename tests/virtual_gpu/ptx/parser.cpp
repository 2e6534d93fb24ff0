// The parser's token helpers, the module level, and functions up to their bodies.
#include "ptx/parser.h"

#include <charconv>

#include "ptx/parser_state.h"

namespace fattn::vgpu::ptx {

Module parse(std::string_view text, const std::string& file) { return Parser(text, file).run(); }

void Parser::fail(const std::string& message, const Token& at) const {
    throw LoadError(LoadError::Reason::kSyntax, describe_line(file_, text_, at.line, message),
                    at.line);
}

bool Parser::accept(char punct) {
    if (!peek().is(punct)) return false;
    take();
    return true;
}

bool Parser::accept_dot(std::string_view name) {
    if (!peek().is_dot(name)) return false;
    take();
    return true;
}

void Parser::expect(char punct, const char* what) {
    if (!accept(punct))
        fail(std::string("expected '") + punct + "' " + what + ", found '" +
             std::string(peek().text) + "'");
}

std::string_view Parser::expect_name(const char* what) {
    if (peek().kind != Token::Kind::kName) {
        fail(std::string("expected ") + what + ", found '" + std::string(peek().text) + "'");
    }
    return take().text;
}

uint64_t Parser::integer_value(const Token& token) const {
    std::string_view digits = token.text;
    if (!digits.empty() && digits.back() == 'U') digits.remove_suffix(1);
    int base = 10;
    if (digits.size() > 2 && digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'X')) {
        digits.remove_prefix(2);
        base = 16;
    } else if (digits.size() > 2 && digits[0] == '0' && (digits[1] == 'b' || digits[1] == 'B')) {
        digits.remove_prefix(2);
        base = 2;
    } else if (digits.size() > 1 && digits[0] == '0') {
        digits.remove_prefix(1);
        base = 8;
    }
    uint64_t value = 0;
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
    if (error != std::errc() || end != digits.data() + digits.size()) {
        fail("'" + std::string(token.text) + "' is no integer of 64 bits", token);
    }
    return value;
}

uint64_t Parser::expect_integer(const char* what) {
    if (peek().kind != Token::Kind::kNumber) {
        fail(std::string("expected ") + what + ", found '" + std::string(peek().text) + "'");
    }
    return integer_value(take());
}

Module Parser::run() {
    header();
    while (peek().kind != Token::Kind::kEnd) {
        bool external = false;
        while (peek().is_dot("visible") || peek().is_dot("weak") || peek().is_dot("common") ||
               peek().is_dot("extern")) {
            external |= take().is_dot("extern");
        }
        const Token& token = peek();
        if (const auto space = variable_space(token)) {
            module_variable(*space, external);
        } else if (accept_dot("entry")) {
            function(true, external);
        } else if (accept_dot("func")) {
            function(false, external);
        } else if (token.is_dot("file")) {
            file_directive();
        } else if (token.is_dot("section")) {
            section();
        } else if (accept_dot("pragma")) {
            take();
            expect(';', "after .pragma");
        } else {
            fail("'" + std::string(token.text) +
                 "' starts nothing that a module may hold: variables, .func, .entry, .file, "
                 ".section, .pragma");
        }
    }
    return std::move(module_);
}

void Parser::header() {
    if (!accept_dot("version"))
        fail("a PTX text begins with .version, found '" + std::string(peek().text) + "'");
    module_.version = std::string(take().text);
    if (!accept_dot("target"))
        fail(".target follows .version, found '" + std::string(peek().text) + "'");
    module_.target = expect_name("a target such as sm_80");
    while (accept(',')) {
        const std::string option(expect_name("a target option"));
        if (option != "debug" && option != "texmode_independent")
            fail("the target option " + option + " is not known; debug is");
    }
    if (!accept_dot("address_size"))
        fail(".address_size follows .target, found '" + std::string(peek().text) + "'");
    if (const uint64_t bits = expect_integer("an address size"); bits != 64) {
        fail("address_size is " + std::to_string(bits) + "; 64 is the only one");
    }
}

void Parser::function(bool entry, bool external) {
    Function made;
    made.entry = entry;
    made.line = peek().line;
    scopes_.clear();
    scopes_.push_back({{}, {}, 0});
    made.scope_parents.push_back(0);
    function_ = &made;
    source_file_ = 0;
    source_line_ = 0;
    if (!entry && peek().is('(')) parameter_list(made, true);
    made.name = expect_name("a function's name");
    if (peek().is('(')) parameter_list(made, false);
    accept_dot("noreturn");
    performance_directives(made);
    if (peek().is('{')) {
        if (external) fail("the .extern function " + made.name + " has a body");
        made.defined = true;
        body(made);
    } else {
        expect(';', "or a body after a function's head");
    }
    function_ = nullptr;
    if (made.defined || external) module_.functions.push_back(std::move(made));
}

void Parser::parameter_list(Function& into, bool results) {
    expect('(', "before parameters");
    while (!accept(')')) {
        if (peek().is_dot("reg")) {
            take();
            const Token& at = peek();
            const auto type = at.kind == Token::Kind::kDot ? type_of(at.text) : std::nullopt;
            if (!type) fail("expected a type after .reg, found '" + std::string(at.text) + "'");
            take();
            const std::string_view name = expect_name("a parameter's name");
            const auto index = static_cast<uint32_t>(into.registers.size());
            into.registers.push_back({std::string(name), *type});
            declare(name, {Named::What::kRegister, index}, at);
            (results ? into.register_results : into.register_arguments).push_back(index);
        } else {
            const Token& at = peek();
            if (!accept_dot("param"))
                fail("expected .param or .reg, found '" + std::string(at.text) + "'");
            std::string_view name;
            into.variables.push_back(variable(Space::kParam, false, &name));
            declare(
                name,
                {Named::What::kFunctionVariable, static_cast<uint32_t>(into.variables.size() - 1)},
                at);
            ++(results ? into.num_results : into.num_parameters);
        }
        if (!peek().is(')')) expect(',', "between parameters");
    }
}

Dim3 Parser::dimensions(const char* what) {
    Dim3 made{1, 1, 1};
    made.x = static_cast<uint32_t>(expect_integer(what));
    if (accept(',')) made.y = static_cast<uint32_t>(expect_integer(what));
    if (accept(',')) made.z = static_cast<uint32_t>(expect_integer(what));
    return made;
}

void Parser::performance_directives(Function& into) {
    for (;;) {
        if (accept_dot("maxntid")) {
            into.max_threads = dimensions("a block dimension");
        } else if (accept_dot("reqntid")) {
            into.required_threads = dimensions("a block dimension");
        } else if (accept_dot("minnctapersm")) {
            into.min_blocks_per_sm = static_cast<uint32_t>(expect_integer("a number of blocks"));
        } else if (accept_dot("maxnctapersm") || accept_dot("maxnreg") ||
                   accept_dot("maxclusterrank")) {
            expect_integer("a limit");  // bounds for ptxas, which does not run here
        } else if (accept_dot("reqnctapercluster")) {
            into.required_cluster = dimensions("a cluster dimension");
        } else if (accept_dot("explicitcluster")) {
            into.explicit_cluster = true;
        } else if (accept_dot("pragma")) {
            take();
            expect(';', "after .pragma");
        } else {
            return;
        }
    }
}

}  // namespace fattn::vgpu::ptx
