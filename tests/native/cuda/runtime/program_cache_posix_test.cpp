// The program cache: entries survive, damage costs a compilation and nothing else, old ones leave.
#include "cuda/runtime/program_cache.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "backend/text.h"
#include "cuda/temporary_folder.h"

namespace fattn::cuda {
namespace {

namespace fs = std::filesystem;

Program some_program() {
    Program program;
    program.source = {"a.cu", "extern \"C\" __global__ void a() {}"};
    program.headers = {{"a.h", "text"}, {"b.h", ""}};
    program.options = {"--std=c++20", "-DX"};
    program.target = "sm_80";
    program.expressions = {"f<1>"};
    return program;
}

CompiledProgram some_result(std::size_t size) {
    return {std::string(size, 'p'), std::string("\177ELF\0", 5), "a warning", {"_Z1fILi1EEvv"}};
}

Digest key_number(int number) { return sha256(text(number)); }

std::string file_of(const ProgramCache& cache, const Digest& key) {
    return cache.folder() + "/" + hex(key) + ".kernel";
}

/// A cache in a folder of its own.
struct OwnCache {
    explicit OwnCache(std::uint64_t max_bytes = kDefaultCacheBytes) {
        const Status status = ProgramCache::open(folder.path(), max_bytes, &cache);
        EXPECT_TRUE(status.ok()) << status.message();
    }
    TemporaryFolder folder;
    ProgramCache cache;
};

TEST(ProgramCache, GivesBackWhatWasStored) {
    const OwnCache own;
    CompiledProgram found;
    EXPECT_FALSE(own.cache.find(key_number(1), &found));
    ASSERT_TRUE(own.cache.store(key_number(1), some_result(1000)));
    ASSERT_TRUE(own.cache.find(key_number(1), &found));
    EXPECT_EQ(found.ptx, some_result(1000).ptx);
    EXPECT_EQ(found.cubin, some_result(1000).cubin);
    EXPECT_EQ(found.log, some_result(1000).log);
    EXPECT_EQ(found.symbols, some_result(1000).symbols);
    EXPECT_FALSE(own.cache.find(key_number(2), &found));
    EXPECT_EQ(own.cache.num_entries(), 1);
}

TEST(ProgramCache, EverythingThatDecidesTheResultIsInTheKey) {
    const Program base = some_program();
    std::vector<Program> others(9, base);
    others[0].source.name = "b.cu";
    others[1].source.text += " ";
    others[2].headers[0].text += " ";
    others[3].headers[0].name = "c.h";
    others[4].headers.pop_back();
    others[5].options[1] = "-DY";
    others[6].target = "sm_90";
    others[7].expressions[0] = "f<2>";
    // The same texts, cut differently: lengths are part of what is hashed.
    others[8].options = {"--std=c++20-DX"};
    std::vector<std::string> keys = {hex(key_of(base, 12, 4)), hex(key_of(base, 12, 5)),
                                     hex(key_of(base, 13, 4))};
    for (const Program& other : others) keys.push_back(hex(key_of(other, 12, 4)));
    EXPECT_EQ(hex(key_of(some_program(), 12, 4)), keys[0]);
    std::sort(keys.begin(), keys.end());
    EXPECT_EQ(std::unique(keys.begin(), keys.end()), keys.end());
}

TEST(ProgramCache, ATruncatedEntryIsRemoved) {
    const OwnCache own;
    ASSERT_TRUE(own.cache.store(key_number(1), some_result(40)));
    const std::string file = file_of(own.cache, key_number(1));
    const auto size = fs::file_size(file);
    for (std::uintmax_t kept = 0; kept < size; ++kept) {
        ASSERT_TRUE(own.cache.store(key_number(1), some_result(40)));
        fs::resize_file(file, kept);
        CompiledProgram found;
        EXPECT_FALSE(own.cache.find(key_number(1), &found)) << kept << " bytes kept";
        EXPECT_FALSE(fs::exists(file)) << kept << " bytes kept";
    }
}

TEST(ProgramCache, AChangedByteIsNoticed) {
    const OwnCache own;
    ASSERT_TRUE(own.cache.store(key_number(1), some_result(40)));
    const std::string file = file_of(own.cache, key_number(1));
    const auto size = fs::file_size(file);
    for (std::uintmax_t at = 0; at < size; ++at) {
        ASSERT_TRUE(own.cache.store(key_number(1), some_result(40)));
        {
            std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
            stream.seekg(static_cast<std::streamoff>(at));
            const int byte = stream.get();
            stream.seekp(static_cast<std::streamoff>(at));
            stream.put(static_cast<char>(byte ^ 1));
        }
        CompiledProgram found;
        EXPECT_FALSE(own.cache.find(key_number(1), &found)) << "byte " << at;
    }
}

TEST(ProgramCache, AnEntryUnderAnotherNameIsNoticed) {
    const OwnCache own;
    ASSERT_TRUE(own.cache.store(key_number(1), some_result(40)));
    fs::rename(file_of(own.cache, key_number(1)), file_of(own.cache, key_number(2)));
    CompiledProgram found;
    EXPECT_FALSE(own.cache.find(key_number(2), &found));
}

TEST(ProgramCache, AnEntryThatOthersCouldWriteIsRebuilt) {
    const OwnCache own;
    ASSERT_TRUE(own.cache.store(key_number(1), some_result(40)));
    ASSERT_EQ(::chmod(file_of(own.cache, key_number(1)).c_str(), 0666), 0);
    CompiledProgram found;
    EXPECT_FALSE(own.cache.find(key_number(1), &found));
    ASSERT_TRUE(own.cache.store(key_number(1), some_result(40)));
    EXPECT_TRUE(own.cache.find(key_number(1), &found));
}

TEST(ProgramCache, WhatWasUsedLongestAgoLeavesFirst) {
    const OwnCache own(10 * 1200);
    CompiledProgram found;
    const auto wait = [] { std::this_thread::sleep_for(std::chrono::milliseconds(12)); };
    for (int i = 0; i < 10; ++i) {
        ASSERT_TRUE(own.cache.store(key_number(i), some_result(1000)));
        wait();
    }
    ASSERT_EQ(own.cache.num_entries(), 10) << "all fit";
    ASSERT_TRUE(own.cache.find(key_number(0), &found)) << "a use makes an entry young";
    wait();
    for (int i = 10; i < 15; ++i) {
        ASSERT_TRUE(own.cache.store(key_number(i), some_result(1000)));
        wait();
    }
    EXPECT_LE(own.cache.used_bytes(), 10U * 1200);
    EXPECT_TRUE(own.cache.find(key_number(0), &found));
    EXPECT_FALSE(own.cache.find(key_number(1), &found));
    EXPECT_TRUE(own.cache.find(key_number(14), &found));
}

TEST(ProgramCache, WhatAnEndedProcessLeftIsSweptAfterAnHour) {
    const OwnCache own;
    const std::string old_file = own.cache.folder() + "/x.kernel.1.0.tmp";
    const std::string young_file = own.cache.folder() + "/y.kernel.1.0.tmp";
    std::ofstream(old_file) << "half";
    std::ofstream(young_file) << "half";
    fs::last_write_time(old_file, fs::file_time_type::clock::now() - std::chrono::hours(2));
    ASSERT_TRUE(own.cache.store(key_number(1), some_result(10)));
    EXPECT_FALSE(fs::exists(old_file));
    EXPECT_TRUE(fs::exists(young_file)) << "another process may be writing it";
}

TEST(ProgramCache, ProcessesStoreAndFindAtOnce) {
    const OwnCache own(20 * 3000);
    std::vector<pid_t> children;
    for (int child = 0; child < 6; ++child) {
        const pid_t pid = ::fork();
        ASSERT_GE(pid, 0);
        if (pid != 0) {
            children.push_back(pid);
            continue;
        }
        bool right = true;
        for (int i = 0; i < 300; ++i) {
            const int number = (i * 7 + child) % 40;
            CompiledProgram found;
            if (own.cache.find(key_number(number), &found)) {
                right =
                    right && found.ptx == some_result(2000 + static_cast<std::size_t>(number)).ptx;
            } else {
                own.cache.store(key_number(number),
                                some_result(2000 + static_cast<std::size_t>(number)));
            }
        }
        ::_exit(right ? 0 : 1);
    }
    for (const pid_t pid : children) {
        int status = 0;
        ASSERT_EQ(::waitpid(pid, &status, 0), pid);
        EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0)
            << "a process read a wrong entry";
    }
    EXPECT_GT(own.cache.num_entries(), 0);
    EXPECT_LE(own.cache.used_bytes(), 20U * 3000);
}

}  // namespace
}  // namespace fattn::cuda
