// Tokens of PTX, and the form of load errors.
#include "ptx/lexer.h"

#include <cctype>

#include "gpu/module.h"

namespace fattn::vgpu::ptx {
namespace {

bool starts_name(char c) {
    return std::isalpha(static_cast<unsigned char>(c)) || c == '_' || c == '$' || c == '%';
}
bool continues_name(char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '$';
}

class Lexer {
  public:
    Lexer(std::string_view text, const std::string& file) : text_(text), file_(file) {}

    std::vector<Token> run() {
        tokens_.reserve(text_.size() / 4);
        for (;;) {
            skip_blank();
            if (at_ >= text_.size()) break;
            next();
        }
        tokens_.push_back({Token::Kind::kEnd, line_, "end of file", text_.data() + text_.size()});
        return std::move(tokens_);
    }

  private:
    char peek(size_t ahead = 0) const {
        return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
    }

    [[noreturn]] void fail(const std::string& message) const {
        throw LoadError(LoadError::Reason::kSyntax, describe_line(file_, text_, line_, message),
                        line_);
    }

    void skip_blank() {
        while (at_ < text_.size()) {
            const char c = text_[at_];
            if (c == '\n') {
                ++line_;
                ++at_;
            } else if (std::isspace(static_cast<unsigned char>(c)) || c == '\0') {
                ++at_;
            } else if (c == '/' && peek(1) == '/') {
                while (at_ < text_.size() && text_[at_] != '\n') ++at_;
            } else if (c == '/' && peek(1) == '*') {
                const size_t end = text_.find("*/", at_ + 2);
                if (end == std::string_view::npos) fail("a comment is not closed");
                for (; at_ < end + 2; ++at_) line_ += text_[at_] == '\n';
            } else {
                return;
            }
        }
    }

    void emit(Token::Kind kind, size_t from, size_t to) {
        tokens_.push_back({kind, line_, text_.substr(from, to - from), text_.data() + at_});
    }

    void next() {
        const size_t begin = at_;
        size_t end = at_ + 1;
        const char c = peek();
        if (starts_name(c)) {
            while (end < text_.size() && continues_name(text_[end])) ++end;
            emit(Token::Kind::kName, begin, end);
        } else if (c == '.' && continues_name(peek(1))) {
            // .shared::cta and .mbarrier::complete_tx::bytes are one token.
            while (end < text_.size() &&
                   (continues_name(text_[end]) ||
                    (text_[end] == ':' && end + 2 < text_.size() && text_[end + 1] == ':' &&
                     continues_name(text_[end + 2])))) {
                end += text_[end] == ':' ? 2 : 1;
            }
            emit(Token::Kind::kDot, begin + 1, end);
        } else if (std::isdigit(static_cast<unsigned char>(c))) {
            end = number_end(begin);
            emit(Token::Kind::kNumber, begin, end);
        } else if (c == '"') {
            while (end < text_.size() && text_[end] != '"') ++end;
            if (end >= text_.size()) fail("a string is not closed");
            emit(Token::Kind::kString, begin + 1, end);
            ++end;
        } else if (std::string_view(",;:[](){}+-@!=|<>*/~&^%").find(c) != std::string_view::npos) {
            emit(Token::Kind::kPunct, begin, end);
        } else {
            fail(std::string("the character '") + c + "' starts no token");
        }
        at_ = end;
    }

    size_t number_end(size_t begin) const {
        size_t end = begin;
        const bool hex_float = text_[begin] == '0' && (peek(1) == 'f' || peek(1) == 'F' ||
                                                       peek(1) == 'd' || peek(1) == 'D');
        const bool hex = text_[begin] == '0' && (peek(1) == 'x' || peek(1) == 'X');
        if (hex || hex_float) {
            end += 2;
            while (end < text_.size() && std::isalnum(static_cast<unsigned char>(text_[end])))
                ++end;
            return end;
        }
        while (end < text_.size() &&
               (std::isalnum(static_cast<unsigned char>(text_[end])) || text_[end] == '.' ||
                ((text_[end] == '+' || text_[end] == '-') &&
                 (text_[end - 1] == 'e' || text_[end - 1] == 'E')))) {
            ++end;
        }
        return end;
    }

    std::string_view text_;
    const std::string& file_;
    std::vector<Token> tokens_;
    size_t at_ = 0;
    uint32_t line_ = 1;
};

}  // namespace

std::vector<Token> tokenize(std::string_view text, const std::string& file) {
    return Lexer(text, file).run();
}

std::string describe_line(const std::string& file, std::string_view text, uint32_t line,
                          const std::string& message) {
    size_t begin = 0;
    for (uint32_t i = 1; i < line; ++i) {
        const size_t end = text.find('\n', begin);
        if (end == std::string_view::npos) break;
        begin = end + 1;
    }
    std::string_view found = text.substr(begin, text.find('\n', begin) - begin);
    while (!found.empty() && std::isspace(static_cast<unsigned char>(found.front())))
        found.remove_prefix(1);
    return file + ":" + std::to_string(line) + ": " + message + "\n    " + std::string(found);
}

}  // namespace fattn::vgpu::ptx
