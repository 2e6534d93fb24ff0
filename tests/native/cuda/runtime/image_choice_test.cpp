// Which images a GPU takes, by its compute capability.
#include "cuda/runtime/image_choice.h"

#include <gtest/gtest.h>

#include "backend/text.h"

namespace fattn::cuda {
namespace {

/// Targets of the images that fit, in the order in which they are tried.
std::string tried(const std::vector<std::string>& targets, int architecture) {
    std::vector<Image> images;
    for (const std::string& target : targets) {
        const bool ptx = target.starts_with("compute_");
        images.push_back({ptx ? ImageKind::kPtx : ImageKind::kCubin, "dense", target, "x"});
    }
    images.push_back({ImageKind::kCubin, "other", "sm_80", "x"});
    const std::string bytes = write_pack(images);
    ImagePack pack;
    EXPECT_TRUE(ImagePack::open(bytes, "the pack", &pack).ok());
    std::string order;
    for (const std::size_t i : images_for(pack, "dense", architecture)) {
        order += text(order.empty() ? "" : " ", pack.entries()[i].target);
    }
    return order;
}

TEST(ImageChoice, ShippedImagesOnEveryGeneration) {
    const std::vector<std::string> shipped = {"compute_80", "sm_80", "sm_90a"};
    EXPECT_EQ(tried(shipped, 75), "");
    EXPECT_EQ(tried(shipped, 80), "sm_80 compute_80");
    EXPECT_EQ(tried(shipped, 86), "sm_80 compute_80");
    EXPECT_EQ(tried(shipped, 89), "sm_80 compute_80");
    EXPECT_EQ(tried(shipped, 90), "sm_90a compute_80");
    EXPECT_EQ(tried(shipped, 100), "compute_80");
    EXPECT_EQ(tried(shipped, 120), "compute_80");
}

TEST(ImageChoice, NewestFirstInEachKind) {
    EXPECT_EQ(tried({"sm_80", "sm_86", "compute_80", "compute_86", "sm_87"}, 86),
              "sm_86 sm_80 compute_86 compute_80");
    EXPECT_EQ(tried({"sm_90", "sm_90a", "compute_90a", "compute_90"}, 90),
              "sm_90a sm_90 compute_90a compute_90");
    EXPECT_EQ(tried({"sm_90", "sm_90a", "compute_90a", "compute_90"}, 100), "compute_90");
}

TEST(ImageChoice, TargetsThatSayNothingAreLeftOut) {
    EXPECT_EQ(tried({"", "sm", "sm_", "sm_x"}, 90), "");
}

}  // namespace
}  // namespace fattn::cuda
