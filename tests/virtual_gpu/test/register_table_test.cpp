// Registers of kernels by a table of ptxas' reports.
#include <gtest/gtest.h>

#include <stdexcept>

#include "gpu/register_table.h"
#include "test/device.h"

namespace fattn::vgpu::test {
namespace {

constexpr const char* kTable =
    "# registers of some kernels\n"
    "module\ttarget\tkernel\tregisters\tshared\n"
    "m\tsm_80\twide\t200\t0\n"
    "m\tsm_90a\twide\t72\t0\n"
    "m\tsm_90a\tother\t40\t1024\n";

class RegisterTable : public ::testing::Test {
  protected:
    void SetUp() override { set_register_table(kTable); }
    void TearDown() override { set_register_table(""); }
};

TEST_F(RegisterTable, RowsAreOfAKernelAndOfTheModelsTarget) {
    EXPECT_EQ(registers_by_table("wide", kSm80), 200u);
    EXPECT_EQ(registers_by_table("wide", kSm89), 200u);
    EXPECT_EQ(registers_by_table("wide", kSm90a), 72u);
    EXPECT_EQ(registers_by_table("other", kSm90a), 40u);
    EXPECT_EQ(registers_by_table("other", kSm80), std::nullopt);
    set_register_table("");
    EXPECT_EQ(registers_by_table("wide", kSm80), std::nullopt);
}

TEST_F(RegisterTable, WhatIsNoTableIsRefusedAndChangesNothing) {
    EXPECT_THROW(set_register_table("module\tkernel\tregisters\n"), std::invalid_argument);
    EXPECT_THROW(set_register_table("target\tkernel\tregisters\nsm_80\tk\n"),
                 std::invalid_argument);
    EXPECT_THROW(set_register_table("target\tkernel\tregisters\nsm_80\tk\tmany\n"),
                 std::invalid_argument);
    EXPECT_THROW(set_register_table("target\tkernel\tregisters\nsm_80\tk\t256\n"),
                 std::invalid_argument);
    EXPECT_EQ(registers_by_table("wide", kSm80), 200u);
}

// 65536 registers hold 327 threads of 200: ten warps.
TEST_F(RegisterTable, ABlockThatDoesNotFitIsRefused) {
    Memory memory;
    Kernel kernel(
        memory, ".version 8.4\n.target sm_80\n.address_size 64\n.visible .entry wide() { ret; }\n",
        kSm80);
    EXPECT_FALSE(kernel.run(memory, {1}, {320}, Arguments()).fault);
    const LaunchResult result = kernel.run(memory, {1}, {352}, Arguments());
    ASSERT_TRUE(result.fault);
    EXPECT_NE(result.fault->text().find("no block fits on a multiprocessor"), std::string::npos)
        << result.fault->text();
}

}  // namespace
}  // namespace fattn::vgpu::test
