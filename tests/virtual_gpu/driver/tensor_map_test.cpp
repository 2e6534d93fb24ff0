// Tensor maps: the rules of the documentation one by one, and what the 128 bytes say.
#include <functional>

#include "driver/virtual_driver.h"
#include "gpu/tensor_map.h"

namespace fattn::vgpu::cuda {
namespace {

// A map that is right, to be made wrong in one place.
struct Arguments {
    CUtensorMapDataType type = CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
    unsigned rank = 3;
    uint64_t address = 0x0d00'0000'0000'1000;
    uint64_t dims[5] = {128, 1000, 8, 1, 1};
    uint64_t strides[4] = {256, 256000, 0, 0};
    unsigned box[5] = {64, 128, 1, 1, 1};
    unsigned element_strides[5] = {1, 1, 1, 1, 1};
    CUtensorMapInterleave interleave = CU_TENSOR_MAP_INTERLEAVE_NONE;
    CUtensorMapSwizzle swizzle = CU_TENSOR_MAP_SWIZZLE_128B;
    CUtensorMapL2promotion promotion = CU_TENSOR_MAP_L2_PROMOTION_L2_128B;
    CUtensorMapFloatOOBfill fill = CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE;
};

CUresult encode(const Arguments& a, CUtensorMap* map) {
    return api().cuTensorMapEncodeTiled(map, a.type, a.rank, reinterpret_cast<void*>(a.address),
                                        a.dims, a.strides, a.box, a.element_strides, a.interleave,
                                        a.swizzle, a.promotion, a.fill);
}

using TensorMaps = DriverTest;

TEST_F(TensorMaps, HoldWhatWasAskedFor) {
    CUtensorMap map;
    ASSERT_OK(encode({}, &map));
    TensorMapLayout layout;
    std::memcpy(&layout, &map, sizeof(layout));
    EXPECT_EQ(layout.magic, kTensorMapMagic);
    EXPECT_EQ(layout.data_type, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16);
    EXPECT_EQ(layout.rank, 3);
    EXPECT_EQ(layout.address, 0x0d00'0000'0000'1000u);
    EXPECT_EQ(layout.dims[1], 1000u);
    EXPECT_EQ(layout.strides[1], 256000u);
    EXPECT_EQ(layout.box[1], 128);
    EXPECT_EQ(layout.element_strides[2], 1u);
    EXPECT_EQ(layout.swizzle, CU_TENSOR_MAP_SWIZZLE_128B);
    ASSERT_OK(
        api().cuTensorMapReplaceAddress(&map, reinterpret_cast<void*>(0x0d00'0000'0000'2000)));
    std::memcpy(&layout, &map, sizeof(layout));
    EXPECT_EQ(layout.address, 0x0d00'0000'0000'2000u);
    EXPECT_FAILS(api().cuTensorMapReplaceAddress(&map, reinterpret_cast<void*>(uintptr_t{8})),
                 CUDA_ERROR_INVALID_VALUE, "multiple of 16");
    CUtensorMap nothing{};
    EXPECT_FAILS(
        api().cuTensorMapReplaceAddress(&nothing, reinterpret_cast<void*>(uintptr_t{4096})),
        CUDA_ERROR_INVALID_VALUE, "not made by");
}

TEST_F(TensorMaps, EveryRuleIsChecked) {
    struct Rule {
        const char* words;
        std::function<void(Arguments&)> breaks;
    };
    const Rule rules[] = {
        {"tensorRank is 0; 1 to 5", [](Arguments& a) { a.rank = 0; }},
        {"tensorRank is 6; 1 to 5", [](Arguments& a) { a.rank = 6; }},
        {"tensorRank is 2; 3 to 5",
         [](Arguments& a) {
             a.rank = 2;
             a.interleave = CU_TENSOR_MAP_INTERLEAVE_16B;
         }},
        {"a multiple of 16 is allowed", [](Arguments& a) { a.address += 8; }},
        {"a multiple of 32 is allowed",
         [](Arguments& a) {
             a.interleave = CU_TENSOR_MAP_INTERLEAVE_32B;
             a.swizzle = CU_TENSOR_MAP_SWIZZLE_32B;
             a.address += 16;
         }},
        {"globalAddress is 0", [](Arguments& a) { a.address = 0; }},
        {"globalDim[1] is 0", [](Arguments& a) { a.dims[1] = 0; }},
        {"globalDim[0] is 4294967297", [](Arguments& a) { a.dims[0] = (uint64_t{1} << 32) + 1; }},
        {"globalStrides[0] is 264", [](Arguments& a) { a.strides[0] = 264; }},
        {"globalStrides[1] is 1099511627776",
         [](Arguments& a) { a.strides[1] = uint64_t{1} << 40; }},
        {"multiples of 32 below 2^40",
         [](Arguments& a) {
             a.interleave = CU_TENSOR_MAP_INTERLEAVE_32B;
             a.swizzle = CU_TENSOR_MAP_SWIZZLE_32B;
             a.strides[0] = 272;
         }},
        {"boxDim[2] is 0", [](Arguments& a) { a.box[2] = 0; }},
        {"boxDim[1] is 257", [](Arguments& a) { a.box[1] = 257; }},
        {"boxDim[0] has 40 bytes; a multiple of 16", [](Arguments& a) { a.box[0] = 20; }},
        {"boxDim[0] has 256 bytes; the swizzle allows 128", [](Arguments& a) { a.box[0] = 128; }},
        {"the swizzle allows 32", [](Arguments& a) { a.swizzle = CU_TENSOR_MAP_SWIZZLE_32B; }},
        {"elementStrides[1] is 0", [](Arguments& a) { a.element_strides[1] = 0; }},
        {"elementStrides[2] is 9", [](Arguments& a) { a.element_strides[2] = 9; }},
        {"allows the 32-byte swizzle",
         [](Arguments& a) { a.interleave = CU_TENSOR_MAP_INTERLEAVE_32B; }},
        {"NaN in a tensor of integers",
         [](Arguments& a) {
             a.type = CU_TENSOR_MAP_DATA_TYPE_UINT16;
             a.fill = CU_TENSOR_MAP_FLOAT_OOB_FILL_NAN_REQUEST_ZERO_FMA;
         }},
        {"tensorDataType is 13", [](Arguments& a) { a.type = CUtensorMapDataType(13); }},
        {"interleave is 3", [](Arguments& a) { a.interleave = CUtensorMapInterleave(3); }},
        {"swizzle is 4", [](Arguments& a) { a.swizzle = CUtensorMapSwizzle(4); }},
        {"l2Promotion is 4", [](Arguments& a) { a.promotion = CUtensorMapL2promotion(4); }},
        {"oobFill is 2", [](Arguments& a) { a.fill = CUtensorMapFloatOOBfill(2); }},
    };
    for (const Rule& rule : rules) {
        Arguments arguments;
        rule.breaks(arguments);
        CUtensorMap map;
        EXPECT_FAILS(encode(arguments, &map), CUDA_ERROR_INVALID_VALUE, rule.words);
    }
}

TEST_F(TensorMaps, WhatTheRulesAllowIsTaken) {
    Arguments wide;
    wide.swizzle = CU_TENSOR_MAP_SWIZZLE_NONE;
    wide.box[0] = 256;
    CUtensorMap map;
    EXPECT_OK(encode(wide, &map));
    Arguments line;
    line.rank = 1;
    line.box[0] = 8;
    EXPECT_OK(encode(line, &map));
    Arguments filled;
    filled.fill = CU_TENSOR_MAP_FLOAT_OOB_FILL_NAN_REQUEST_ZERO_FMA;
    EXPECT_OK(encode(filled, &map));
    alignas(64) char misplaced[256];
    EXPECT_FAILS(encode({}, reinterpret_cast<CUtensorMap*>(misplaced + 16)),
                 CUDA_ERROR_INVALID_VALUE, "a multiple of 64");
}

TEST_F(TensorMaps, NeedCapability9) {
    CUcontext ampere = nullptr;
    ASSERT_OK(api().cuCtxCreate_v2(&ampere, 0, 1));
    CUtensorMap map;
    EXPECT_FAILS(encode({}, &map), CUDA_ERROR_NOT_SUPPORTED, "sm_80 has 8.0");
    ASSERT_OK(api().cuCtxDestroy_v2(ampere));
}

}  // namespace
}  // namespace fattn::vgpu::cuda
