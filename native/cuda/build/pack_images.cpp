// The build's packer: puts files into an image pack as a list says; run by
// cmake/fattn_image_pack.cmake.
//   pack_images OUTPUT LIST
// Each line of LIST is KIND NAME TARGET FILE, with "-" for a target that a source does not have.
// Kinds:
//   source, cubin     the file as it is
//   ptx               PTX without its line information, which would say nothing to a user
//   ptx_with_lines    PTX as the compiler made it
#include <cstdio>
#include <fstream>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <string>

#include "cuda/runtime/image_pack.h"

namespace {

using fattn::cuda::Image;
using fattn::cuda::ImageKind;

std::string read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error("cannot read " + path);
    return {std::istreambuf_iterator<char>(file), {}};
}

/// Drops .loc and .file lines and the section of debug strings that .loc lines refer to.
std::string without_lines(const std::string& ptx) {
    std::istringstream in(ptx);
    std::string out, line;
    bool in_section = false;
    while (std::getline(in, line)) {
        const std::size_t begin = line.find_first_not_of(" \t");
        const std::string_view word =
            begin == std::string::npos ? std::string_view() : std::string_view(line).substr(begin);
        if (word.starts_with(".section")) in_section = true;
        const bool dropped = in_section || word.starts_with(".loc\t") ||
                             word.starts_with(".loc ") || word.starts_with(".file\t") ||
                             word.starts_with(".file ");
        if (!dropped) out += line + "\n";
        if (in_section && word.starts_with("}")) in_section = false;
    }
    return out;
}

Image image_of(const std::string& kind, const std::string& path) {
    Image image;
    image.content = read_file(path);
    if (kind == "source") {
        image.kind = ImageKind::kSource;
    } else if (kind == "cubin") {
        image.kind = ImageKind::kCubin;
    } else if (kind == "ptx" || kind == "ptx_with_lines") {
        image.kind = ImageKind::kPtx;
        if (kind == "ptx") image.content = without_lines(image.content);
    } else {
        throw std::runtime_error("unknown kind " + kind +
                                 "; allowed are source, cubin, ptx, ptx_with_lines");
    }
    return image;
}

void pack(const std::string& output, const std::string& list) {
    std::istringstream lines(read_file(list));
    std::vector<Image> images;
    std::string kind, name, target, path;
    while (lines >> kind >> name >> target && std::getline(lines >> std::ws, path)) {
        Image image = image_of(kind, path);
        image.name = name;
        image.target = target == "-" ? "" : target;
        images.push_back(std::move(image));
    }
    std::ofstream file(output, std::ios::binary);
    const std::string bytes = fattn::cuda::write_pack(images);
    if (!file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()))) {
        throw std::runtime_error("cannot write " + output);
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: pack_images OUTPUT LIST\n");
        return 2;
    }
    try {
        pack(argv[1], argv[2]);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "pack_images: %s\n", error.what());
        return 1;
    }
    return 0;
}
