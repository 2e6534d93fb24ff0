// Private folders on Windows: made for their user alone, files in and out, what others may enter
// refused; and the program cache over one.
#include <gtest/gtest.h>

#include <filesystem>

#include "cuda/runtime/private_folder.h"
#include "cuda/runtime/program_cache.h"
#include "cuda/runtime/windows_text.h"

// After everything that its macros would change.
#include <windows.h>

namespace fattn::cuda {
namespace {

class PrivateFolderOnWindows : public testing::Test {
  protected:
    void SetUp() override {
        wchar_t base[MAX_PATH];
        ASSERT_NE(GetTempPathW(MAX_PATH, base), 0U);
        path = utf8(base) + "fattn \xC3\xA9 " +
               testing::UnitTest::GetInstance()->current_test_info()->name();
        std::filesystem::remove_all(utf16(path));
    }
    void TearDown() override { std::filesystem::remove_all(utf16(path)); }

    std::string path;
};

TEST_F(PrivateFolderOnWindows, FilesGoInAndOut) {
    PrivateFolder folder;
    const Status status = PrivateFolder::open(path + "\\a\\b", &folder);
    ASSERT_TRUE(status.ok()) << status.message();
    const std::string content("bytes\0 of any kind\r\n", 20);
    ASSERT_TRUE(folder.write("one", content));
    std::string read;
    ASSERT_TRUE(folder.read("one", &read));
    EXPECT_EQ(read, content);
    ASSERT_TRUE(folder.write("one", "new")) << "in place of the old one";
    ASSERT_TRUE(folder.read("one", &read));
    EXPECT_EQ(read, "new");
    const std::vector<FileEntry> files = folder.list();
    ASSERT_EQ(files.size(), 1U) << "no file beside it";
    EXPECT_EQ(files[0].name, "one");
    EXPECT_EQ(files[0].bytes, 3U);
    EXPECT_GT(files[0].last_use_nanoseconds, std::int64_t{1'600'000'000} * 1'000'000'000);
    folder.remove("one");
    EXPECT_FALSE(folder.read("one", &read));
    EXPECT_FALSE(folder.read("..", &read)) << "a folder is no file";
}

TEST_F(PrivateFolderOnWindows, AnOpenedFolderKeepsItsPath) {
    PrivateFolder folder;
    ASSERT_TRUE(PrivateFolder::open(path, &folder).ok());
    EXPECT_EQ(MoveFileExW(utf16(path).c_str(), utf16(path + "_moved").c_str(), 0), 0);
}

TEST_F(PrivateFolderOnWindows, WhatOthersMayEnterIsRefused) {
    // Without a list of its own it has that of the folder around it, or none.
    SECURITY_DESCRIPTOR everybody;
    ASSERT_NE(InitializeSecurityDescriptor(&everybody, SECURITY_DESCRIPTOR_REVISION), 0);
    ASSERT_NE(SetSecurityDescriptorDacl(&everybody, TRUE, nullptr, FALSE), 0);
    SECURITY_ATTRIBUTES attributes{sizeof(attributes), &everybody, FALSE};
    ASSERT_NE(CreateDirectoryW(utf16(path).c_str(), &attributes), 0);
    PrivateFolder folder;
    const Status status = PrivateFolder::open(path, &folder);
    EXPECT_EQ(status.code(), StatusCode::kUnsupported);
    EXPECT_NE(status.message().find("may enter it"), std::string::npos) << status.message();
}

TEST_F(PrivateFolderOnWindows, RelativePathsAndFilesAreRefused) {
    PrivateFolder folder;
    EXPECT_NE(PrivateFolder::open("here", &folder).message().find("is not absolute"),
              std::string::npos);
    const HANDLE file = CreateFileW(utf16(path).c_str(), GENERIC_WRITE, 0, nullptr, CREATE_NEW,
                                    FILE_ATTRIBUTE_NORMAL, nullptr);
    ASSERT_NE(file, INVALID_HANDLE_VALUE);
    CloseHandle(file);
    EXPECT_EQ(PrivateFolder::open(path, &folder).code(), StatusCode::kUnsupported);
}

TEST_F(PrivateFolderOnWindows, HoldsThePrograms) {
    ProgramCache cache;
    const Status status = ProgramCache::open(path, 1 << 20, &cache);
    ASSERT_TRUE(status.ok()) << status.message();
    Program program;
    program.target = "sm_80";
    program.source.text = "kernel";
    const Digest key = key_of(program, 12, 4);
    CompiledProgram compiled, found;
    compiled.ptx = "ptx";
    EXPECT_FALSE(cache.find(key, &found));
    ASSERT_TRUE(cache.store(key, compiled));
    ASSERT_TRUE(cache.find(key, &found));
    EXPECT_EQ(found.ptx, "ptx");
    EXPECT_EQ(cache.num_entries(), 1);
}

}  // namespace
}  // namespace fattn::cuda
