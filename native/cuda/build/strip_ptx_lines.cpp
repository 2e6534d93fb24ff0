// Copies PTX without its line information, which ptxas would otherwise carry into machine code; run
// by cmake/fattn_cuda_module.cmake. An output that would not change is left as it is, so that Ninja
// assembles nothing after edits that change lines alone.
//   strip_ptx_lines INPUT OUTPUT
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>

namespace {

bool is_directive(std::string_view line, std::string_view name) {
    return line.starts_with(name) && line.size() > name.size() &&
           (line[name.size()] == ' ' || line[name.size()] == '\t');
}

/// Drops .loc and .file lines and the section of debug strings that .loc lines refer to.
void strip(std::istream& in, std::ostream& out) {
    std::string line;
    bool in_section = false;
    while (std::getline(in, line)) {
        const std::size_t begin = line.find_first_not_of(" \t");
        const std::string_view rest =
            begin == std::string::npos ? std::string_view() : std::string_view(line).substr(begin);
        if (is_directive(rest, ".section")) in_section = true;
        if (!in_section && !is_directive(rest, ".loc") && !is_directive(rest, ".file")) {
            out << line << '\n';
        }
        if (in_section && rest.starts_with("}")) in_section = false;
    }
}

bool holds(const char* path, std::string_view text) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream found;
    found << file.rdbuf();
    return file && found.view() == text;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: strip_ptx_lines INPUT OUTPUT\n");
        return 2;
    }
    std::ifstream in(argv[1], std::ios::binary);
    std::ostringstream stripped;
    if (in) strip(in, stripped);
    bool done = in.eof();
    if (done && !holds(argv[2], stripped.view())) {
        std::ofstream out(argv[2], std::ios::binary);
        done = static_cast<bool>((out << stripped.view()).flush());
    }
    if (!done) {
        std::fprintf(stderr, "strip_ptx_lines: cannot copy %s to %s\n", argv[1], argv[2]);
        return 1;
    }
    return 0;
}
