// Private folders: who is let in, and what a file must be to be read.
#include "cuda/runtime/private_folder.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "cuda/temporary_folder.h"

namespace fattn::cuda {
namespace {

namespace fs = std::filesystem;

TEST(PrivateFolder, IsMadeForItsUserAlone) {
    const TemporaryFolder temporary;
    const std::string path = temporary.path() + "/a/b/c";
    PrivateFolder folder;
    ASSERT_TRUE(PrivateFolder::open(path, &folder).ok());
    EXPECT_EQ(folder.path(), path);
    struct stat facts {};
    ASSERT_EQ(::stat(path.c_str(), &facts), 0);
    EXPECT_EQ(facts.st_mode & 0777U, 0700U);
    EXPECT_EQ(facts.st_uid, ::geteuid());
    PrivateFolder again;
    EXPECT_TRUE(PrivateFolder::open(path, &again).ok());
}

TEST(PrivateFolder, OneThatOthersMayEnterIsRefused) {
    const TemporaryFolder temporary;
    for (const mode_t mode : {0755U, 0701U, 0770U}) {
        ASSERT_EQ(::chmod(temporary.path().c_str(), mode), 0);
        PrivateFolder folder;
        const Status status = PrivateFolder::open(temporary.path(), &folder);
        EXPECT_EQ(status.code(), StatusCode::kUnsupported);
        EXPECT_NE(status.message().find("its mode must be 0700"), std::string::npos)
            << status.message();
    }
}

TEST(PrivateFolder, OneOfAnotherUserIsRefused) {
    if (::geteuid() != 0) GTEST_SKIP() << "only root can give a folder to another user";
    const TemporaryFolder temporary;
    ASSERT_EQ(::chown(temporary.path().c_str(), 65534, 65534), 0);
    PrivateFolder folder;
    const Status status = PrivateFolder::open(temporary.path(), &folder);
    EXPECT_EQ(status.code(), StatusCode::kUnsupported);
    EXPECT_NE(status.message().find("it belongs to user 65534"), std::string::npos);
}

TEST(PrivateFolder, LinksFilesAndRelativePathsAreRefused) {
    const TemporaryFolder temporary;
    fs::create_directory(temporary.path() + "/real");
    fs::permissions(temporary.path() + "/real", fs::perms::owner_all);
    fs::create_directory_symlink(temporary.path() + "/real", temporary.path() + "/link");
    std::ofstream(temporary.path() + "/file") << "text";
    PrivateFolder folder;
    for (const std::string& path : {temporary.path() + "/link", temporary.path() + "/file",
                                    std::string("relative/path"), std::string()}) {
        EXPECT_EQ(PrivateFolder::open(path, &folder).code(), StatusCode::kUnsupported) << path;
    }
}

TEST(PrivateFolder, FilesGoInAndOut) {
    const TemporaryFolder temporary;
    PrivateFolder folder;
    ASSERT_TRUE(PrivateFolder::open(temporary.path(), &folder).ok());
    std::string content;
    EXPECT_FALSE(folder.read("x", &content));
    const std::string bytes("a\0b", 3);
    ASSERT_TRUE(folder.write("x", bytes));
    ASSERT_TRUE(folder.read("x", &content));
    EXPECT_EQ(content, bytes);
    ASSERT_TRUE(folder.write("x", ""));
    ASSERT_TRUE(folder.read("x", &content));
    EXPECT_EQ(content, "");
    ASSERT_EQ(folder.list().size(), 1U) << "a written file leaves nothing else behind";
    folder.remove("x");
    EXPECT_TRUE(folder.list().empty());
}

TEST(PrivateFolder, FilesThatOthersMayHaveWrittenAreNotRead) {
    const TemporaryFolder temporary;
    PrivateFolder folder;
    ASSERT_TRUE(PrivateFolder::open(temporary.path(), &folder).ok());
    std::string content;
    const std::string file = temporary.path() + "/x";
    for (const mode_t mode : {0620U, 0602U, 0666U}) {
        ASSERT_TRUE(folder.write("x", "text"));
        ASSERT_EQ(::chmod(file.c_str(), mode), 0);
        EXPECT_FALSE(folder.read("x", &content)) << mode;
    }
    if (::geteuid() == 0) {
        ASSERT_TRUE(folder.write("x", "text"));
        ASSERT_EQ(::chown(file.c_str(), 65534, 65534), 0);
        EXPECT_FALSE(folder.read("x", &content)) << "of another user";
    }
    fs::remove(file);
    std::ofstream(temporary.path() + "/elsewhere") << "text";
    fs::create_symlink(temporary.path() + "/elsewhere", file);
    EXPECT_FALSE(folder.read("x", &content)) << "a link";
    fs::remove(file);
    ASSERT_EQ(::mkfifo(file.c_str(), 0600), 0);
    EXPECT_FALSE(folder.read("x", &content)) << "a pipe, which must not block";
}

}  // namespace
}  // namespace fattn::cuda
