// The recursive-descent parser's class, whose parts lie in parser.cpp, parser_declarations.cpp and
// parser_body.cpp.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "gpu/module.h"
#include "ptx/lexer.h"
#include "ptx/syntax.h"

namespace fattn::vgpu::ptx {

class Parser {
  public:
    Parser(std::string_view text, const std::string& file)
        : text_(text), file_(file), tokens_(tokenize(text, file)) {}
    Module run();

  private:
    // --- tokens
    const Token& peek(size_t ahead = 0) const {
        return tokens_[std::min(at_ + ahead, tokens_.size() - 1)];
    }
    const Token& take() { return tokens_[at_ < tokens_.size() - 1 ? at_++ : at_]; }
    bool accept(char punct);
    bool accept_dot(std::string_view name);
    void expect(char punct, const char* what);
    std::string_view expect_name(const char* what);
    uint64_t expect_integer(const char* what);
    [[noreturn]] void fail(const std::string& message, const Token& at) const;
    [[noreturn]] void fail(const std::string& message) const { fail(message, peek()); }

    // --- declarations
    void header();
    void file_directive();
    void section();
    void module_variable(Space space, bool external);
    // `name` becomes the name as it stands in the text.
    Variable variable(Space space, bool external, std::string_view* name);
    void initialiser(Variable& into);
    void initial_values(Variable& into);
    Initial initial_value();
    std::optional<Space> variable_space(const Token& token) const;

    // --- functions
    void function(bool entry, bool external);
    void parameter_list(Function& into, bool results);
    void performance_directives(Function& into);
    Dim3 dimensions(const char* what);
    void body(Function& into);
    void statement();
    void register_declaration();
    void location();
    void instruction();
    void label();
    void branch_targets();
    void open_scope();
    void close_scope();

    // --- operands
    Operand operand();
    Operand primary();
    Operand number(bool negative);
    Operand name_operand(const Token& token);
    Operand memory();
    Operand vector(char close);
    uint64_t integer_value(const Token& token) const;

    struct Named {
        enum class What : uint8_t { kRegister, kFunctionVariable } what;
        uint32_t index;
    };
    // Registers that one declaration makes of a name and 0 to count - 1.
    struct Family {
        std::string_view prefix;
        uint64_t count;
        uint32_t first;
    };
    struct Scope {
        std::unordered_map<std::string_view, Named> names;
        std::vector<Family> families;
        uint32_t id;
    };
    static std::optional<Named> look_up_in(const Scope& scope, std::string_view name);
    std::optional<Named> look_up(std::string_view name) const;
    void declare(std::string_view name, Named what, const Token& at);
    void declare_family(const Family& made, const Token& at);

    std::string_view text_;
    const std::string& file_;
    std::vector<Token> tokens_;
    size_t at_ = 0;
    Module module_;
    std::unordered_map<std::string_view, uint32_t> module_variables_;
    Function* function_ = nullptr;
    std::vector<Scope> scopes_;
    uint32_t source_file_ = 0;
    uint32_t source_line_ = 0;
};

}  // namespace fattn::vgpu::ptx
