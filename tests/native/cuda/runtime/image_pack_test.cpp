// Image packs: contents survive, damage does not pass, and what the build embedded can be read.
#include "cuda/runtime/image_pack.h"

#include <gtest/gtest.h>

#include "cuda/runtime/embedded.h"
#include "cuda/runtime/kernel_packs.h"

namespace fattn::cuda {
namespace {

std::vector<Image> three_images() {
    return {{ImageKind::kCubin, "dense", "sm_80", std::string("\177ELF\0\1\2", 7)},
            {ImageKind::kPtx, "dense", "compute_80", std::string(5000, 'p')},
            {ImageKind::kSource, "core/types.h", "", ""}};
}

TEST(ImagePack, ReadsBackWhatWasWritten) {
    const std::vector<Image> images = three_images();
    const std::string bytes = write_pack(images);
    EXPECT_LT(bytes.size(), 400U);
    ImagePack pack;
    ASSERT_TRUE(ImagePack::open(bytes, "the pack", &pack).ok());
    ASSERT_EQ(pack.entries().size(), images.size());
    ImagePack keeping;
    ASSERT_TRUE(ImagePack::open(bytes, "the pack", &keeping).ok());
    keeping.keep_contents();
    for (std::size_t i = 0; i < images.size(); ++i) {
        const ImageEntry& entry = pack.entries()[i];
        EXPECT_EQ(entry.kind, images[i].kind);
        EXPECT_EQ(entry.name, images[i].name);
        EXPECT_EQ(entry.target, images[i].target);
        EXPECT_EQ(entry.bytes, images[i].content.size());
        // The second time without its checksum.
        for (int again = 0; again < 2; ++again) {
            std::string content;
            ASSERT_TRUE(pack.read(i, &content).ok());
            EXPECT_EQ(content, images[i].content);
            ASSERT_TRUE(keeping.read(i, &content).ok());
            EXPECT_EQ(content, images[i].content);
        }
    }
}

TEST(ImagePack, ATruncatedPackIsRefused) {
    const std::string bytes = write_pack(three_images());
    for (std::size_t size = 0; size < bytes.size(); ++size) {
        ImagePack pack;
        const Status status =
            ImagePack::open(std::string_view(bytes).substr(0, size), "the pack", &pack);
        EXPECT_EQ(status.code(), StatusCode::kInternal) << size << " bytes";
    }
    ImagePack pack;
    const Status status = ImagePack::open(bytes + "x", "the pack", &pack);
    EXPECT_EQ(status.message(), "the pack is damaged: bytes follow its end");
}

TEST(ImagePack, NoChangedByteGoesUnnoticed) {
    const std::vector<Image> images = three_images();
    const std::string bytes = write_pack(images, "origin");
    for (std::size_t at = 0; at < bytes.size(); ++at) {
        std::string damaged = bytes;
        damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
        ImagePack pack;
        if (!ImagePack::open(damaged, "the pack", &pack).ok()) continue;
        if (at % 2 == 0) pack.keep_contents();
        bool same = pack.entries().size() == images.size() && pack.origin() == "origin";
        for (std::size_t i = 0; same && i < images.size(); ++i) {
            std::string content;
            same = pack.read(i, &content).ok() && pack.entries()[i].name == images[i].name &&
                   pack.entries()[i].target == images[i].target &&
                   pack.entries()[i].kind == images[i].kind;
        }
        EXPECT_FALSE(same) << "byte " << at;
    }
}

TEST(ImagePack, ImagesOfOtherSourcesAreRefused) {
    const std::string sources = write_pack({{ImageKind::kSource, "core/types.h", "", "a"}});
    const std::string others = write_pack({{ImageKind::kSource, "core/types.h", "", "b"}});
    const std::string bytes = write_pack(three_images(), origin_of_sources(sources));
    const std::string nameless = write_pack(three_images());
    ImagePack pack, silent, empty;
    ASSERT_TRUE(ImagePack::open(bytes, "the pack", &pack).ok());
    ASSERT_TRUE(ImagePack::open(nameless, "the pack", &silent).ok());
    EXPECT_TRUE(check_origin(pack, "the pack", sources).ok());
    EXPECT_TRUE(check_origin(empty, "the pack", sources).ok());
    const std::string mine = origin_of_sources(sources).substr(0, 12);
    const std::string theirs = origin_of_sources(others).substr(0, 12);
    EXPECT_EQ(check_origin(pack, "the pack", others).message(),
              "the pack was compiled from kernel sources with the digest " + mine +
                  "; this library takes those with " + theirs +
                  ", whose tiles it launches: use the pack of the same build");
    EXPECT_EQ(check_origin(silent, "the pack", sources).code(), StatusCode::kInvalidArgument);
}

TEST(ImagePack, TheLibraryHoldsItsKernelSources) {
    ImagePack sources, images;
    ASSERT_TRUE(ImagePack::open(embedded_sources(), "sources", &sources).ok());
    ASSERT_TRUE(ImagePack::open(embedded_images(), "images", &images).ok());
    bool has_types = false;
    for (std::size_t i = 0; i < sources.entries().size(); ++i) {
        std::string content;
        ASSERT_TRUE(sources.read(i, &content).ok()) << sources.entries()[i].name;
        has_types |= sources.entries()[i].name == "core/types.h" &&
                     content.find("namespace fattn") != std::string::npos;
    }
    EXPECT_TRUE(has_types);
    for (std::size_t i = 0; i < images.entries().size(); ++i) {
        std::string content;
        ASSERT_TRUE(images.read(i, &content).ok()) << images.entries()[i].name;
        const bool is_ptx = images.entries()[i].kind == ImageKind::kPtx;
        EXPECT_EQ(content.substr(0, 4) == "\177ELF", !is_ptx) << images.entries()[i].name;
        if (is_ptx) {
            EXPECT_EQ(content.find("\t.loc"), std::string::npos) << "lines are for the PTX pack";
        }
    }
}

TEST(KernelPacks, AMissingSourceIsNamed) {
    ImagePack sources;
    ASSERT_TRUE(ImagePack::open(embedded_sources(), "sources", &sources).ok());
    Program program;
    const Status status = source_program(sources, "no_such_kernel", &program);
    EXPECT_EQ(status.code(), StatusCode::kUnsupported);
    EXPECT_EQ(status.message(), "the library holds no source cuda/device/no_such_kernel.cu");
}

}  // namespace
}  // namespace fattn::cuda
