// The build's packer: puts files into an image pack as a list says; run by
// cmake/fattn_image_pack.cmake.
//   pack_images OUTPUT LIST [SOURCES]
// SOURCES is the pack of sources that images were compiled from, which the pack then says. Each
// line of LIST is KIND NAME TARGET FILE, with "-" for a target that a source does not have; kinds
// are source, ptx and cubin.
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

Image image_of(const std::string& kind, const std::string& path) {
    Image image;
    image.content = read_file(path);
    if (kind == "source") {
        image.kind = ImageKind::kSource;
    } else if (kind == "cubin") {
        image.kind = ImageKind::kCubin;
    } else if (kind == "ptx") {
        image.kind = ImageKind::kPtx;
    } else {
        throw std::runtime_error("unknown kind " + kind + "; allowed are source, ptx, cubin");
    }
    return image;
}

void pack(const std::string& output, const std::string& list, const std::string& origin) {
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
    const std::string bytes = fattn::cuda::write_pack(images, origin);
    if (!file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()))) {
        throw std::runtime_error("cannot write " + output);
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3 && argc != 4) {
        std::fprintf(stderr, "usage: pack_images OUTPUT LIST [SOURCES]\n");
        return 2;
    }
    try {
        pack(argv[1], argv[2], argc == 4 ? fattn::cuda::origin_of_sources(read_file(argv[3])) : "");
    } catch (const std::exception& error) {
        std::fprintf(stderr, "pack_images: %s\n", error.what());
        return 1;
    }
    return 0;
}
