// What a container's processor quota is worth, read from texts and from folders laid out as Linux
// lays them.
#include "cpu/cpu_quota.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace fattn::cpu {
namespace {

TEST(CpuQuota, AQuotaIsWorthTheProcessorsItFillsAPartCountedAsOne) {
    EXPECT_EQ(processors_of_quota("200000", "100000"), 2);
    EXPECT_EQ(processors_of_quota("200001\n", "100000\n"), 3);
    EXPECT_EQ(processors_of_quota("1000", "100000"), 1);
    EXPECT_EQ(processors_of_quota("9223372036854775807", "1"), 1 << 20);
}

TEST(CpuQuota, WhatIsNotAPositiveNumberIsNoQuota) {
    for (const char* quota : {"-1", "0", "max", "", "12x", "99999999999999999999"})
        EXPECT_EQ(processors_of_quota(quota, "100000"), kNoQuota) << quota;
    for (const char* period : {"0", "-100000", "", "max"})
        EXPECT_EQ(processors_of_quota("100000", period), kNoQuota) << period;
}

TEST(CpuQuota, VersionTwoSaysQuotaAndPeriodOnOneLine) {
    EXPECT_EQ(processors_of_cpu_max("150000 100000\n"), 2);
    EXPECT_EQ(processors_of_cpu_max("max 100000\n"), kNoQuota);
    EXPECT_EQ(processors_of_cpu_max("150000\n"), kNoQuota);
    EXPECT_EQ(processors_of_cpu_max(""), kNoQuota);
}

TEST(CpuQuota, TheGroupIsThatOfTheControllersLine) {
    constexpr std::string_view kGroups =
        "12:cpuset:/a\n5:cpu,cpuacct:/docker/b\nbroken\n1:name=systemd:/c\n0::/d.slice/e:f";
    EXPECT_EQ(group_path(kGroups, "cpu"), "/docker/b");
    EXPECT_EQ(group_path(kGroups, "cpuacct"), "/docker/b");
    EXPECT_EQ(group_path(kGroups, ""), "/d.slice/e:f");
    EXPECT_EQ(group_path(kGroups, "memory"), "");
    EXPECT_EQ(group_path("", ""), "");
}

/// A folder that stands for the root of a machine.
class QuotaMachine : public testing::Test {
  protected:
    void SetUp() override {
        root_ = std::filesystem::path(testing::TempDir()) /
                ("fattn_quota_" +
                 std::string(testing::UnitTest::GetInstance()->current_test_info()->name()));
        std::filesystem::remove_all(root_);
    }
    void TearDown() override { std::filesystem::remove_all(root_); }

    void write(const std::string& path, const std::string& text) {
        const std::filesystem::path file = root_ / path;
        std::filesystem::create_directories(file.parent_path());
        std::ofstream(file) << text;
    }
    int processors() const { return quota_processors(root_.string()); }

  private:
    std::filesystem::path root_;
};

TEST_F(QuotaMachine, WithoutControlGroupsThereIsNoQuota) { EXPECT_EQ(processors(), kNoQuota); }

TEST_F(QuotaMachine, VersionTwoTakesTheSmallestQuotaOnTheWayUp) {
    write("proc/self/cgroup", "0::/outer/middle/inner\n");
    write("sys/fs/cgroup/outer/middle/inner/cpu.max", "max 100000\n");
    EXPECT_EQ(processors(), kNoQuota);
    write("sys/fs/cgroup/outer/cpu.max", "300000 100000\n");
    EXPECT_EQ(processors(), 3);
    write("sys/fs/cgroup/outer/middle/inner/cpu.max", "400000 100000\n");
    EXPECT_EQ(processors(), 3);
    write("sys/fs/cgroup/outer/middle/cpu.max", "50000 100000\n");
    EXPECT_EQ(processors(), 1);
}

TEST_F(QuotaMachine, AContainersOwnFolderIsTheHierarchysRoot) {
    write("proc/self/cgroup", "0::/\n");
    write("sys/fs/cgroup/cpu.max", "200000 100000\n");
    EXPECT_EQ(processors(), 2);
}

TEST_F(QuotaMachine, VersionOneIsReadWhereTheGroupsFolderIsHidden) {
    write("proc/self/cgroup", "4:cpu,cpuacct:/docker/0123\n0::/docker/0123\n");
    write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "500000\n");
    write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    EXPECT_EQ(processors(), 5);
    write("sys/fs/cgroup/cpu/docker/0123/cpu.cfs_quota_us", "-1\n");
    write("sys/fs/cgroup/cpu/docker/0123/cpu.cfs_period_us", "100000\n");
    EXPECT_EQ(processors(), 5);
}

}  // namespace
}  // namespace fattn::cpu
