// Opens the embedded packs and the PTX pack; puts sources together for NVRTC.
#include "cuda/runtime/kernel_packs.h"

#include <fstream>
#include <iterator>
#include <utility>

#include "backend/text.h"
#include "cuda/runtime/embedded.h"
#include "cuda/runtime/environment.h"
#include "cuda/runtime/error.h"

namespace fattn::cuda {
namespace {

constexpr const char* kPtxPackName = "fused_attention.ptxpack";

struct Opened {
    explicit Opened(const Driver& driver) : status(open(driver)) {}

    Status open(const Driver& driver) {
        const std::string images = "the library's pack of kernels";
        FATTN_CUDA_RETURN_IF_ERROR(ImagePack::open(embedded_images(), images, &packs.images));
        FATTN_CUDA_RETURN_IF_ERROR(check_origin(packs.images, images, embedded_sources()));
        FATTN_CUDA_RETURN_IF_ERROR(ImagePack::open(
            embedded_sources(), "the library's pack of kernel sources", &packs.sources));
        packs.ptx_status = open_ptx(driver);
        return {};
    }

    Status open_ptx(const Driver& driver) {
        const std::string named = environment_variable("FATTN_PTX_PACK");
        if (named.empty() && !driver.named()) return {};
        packs.ptx_path = named.empty() ? text(folder_of(driver.path()), "/", kPtxPackName) : named;
        std::ifstream file(packs.ptx_path, std::ios::binary);
        if (!file) {
            const bool wanted = !named.empty();
            const std::string path = wanted ? packs.ptx_path : std::exchange(packs.ptx_path, "");
            return wanted ? Status(StatusCode::kInvalidArgument,
                                   text("the PTX pack ", path,
                                        " named by FATTN_PTX_PACK cannot be read"))
                          : Status();
        }
        ptx_bytes.assign(std::istreambuf_iterator<char>(file), {});
        const std::string what = text("the PTX pack ", packs.ptx_path);
        FATTN_CUDA_RETURN_IF_ERROR(ImagePack::open(ptx_bytes, what, &packs.ptx));
        packs.ptx.keep_contents();
        return check_origin(packs.ptx, what, embedded_sources());
    }

    KernelPacks packs;
    std::string ptx_bytes;
    Status status;
};

}  // namespace

Status process_kernel_packs(const Driver& driver, const KernelPacks** packs) {
    static const Opened* const opened = new Opened(driver);
    *packs = &opened->packs;
    return opened->status;
}

Status check_origin(const ImagePack& images, const std::string& what,
                    std::string_view pack_of_sources) {
    constexpr std::size_t kShown = 12;
    const std::string expected = origin_of_sources(pack_of_sources);
    if (images.entries().empty() || images.origin() == expected) return {};
    return {StatusCode::kInvalidArgument,
            text(what, " was compiled from kernel sources with the digest ",
                 images.origin().empty() ? "(none)" : images.origin().substr(0, kShown),
                 "; this library takes those with ", expected.substr(0, kShown),
                 ", whose tiles it launches: use the pack of the same build")};
}

Status source_program(const ImagePack& sources, const std::string& name, Program* program) {
    const std::string main = text("cuda/device/", name, ".cu");
    Program made;
    for (std::size_t i = 0; i < sources.entries().size(); ++i) {
        const std::string& path = sources.entries()[i].name;
        const bool is_main = path == main;
        if (!is_main && !path.ends_with(".h")) continue;
        SourceText source{path, {}};
        FATTN_CUDA_RETURN_IF_ERROR(sources.read(i, &source.text));
        if (is_main) {
            made.source = std::move(source);
        } else {
            made.headers.push_back(std::move(source));
        }
    }
    if (made.source.name.empty()) {
        return {StatusCode::kUnsupported, text("the library holds no source ", main)};
    }
    made.options = {"--std=c++20"};
    *program = std::move(made);
    return {};
}

}  // namespace fattn::cuda
