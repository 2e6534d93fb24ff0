// A folder of its own for a test, removed with all that is in it.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <random>
#include <string>

namespace fattn::cuda {

class TemporaryFolder {
  public:
    TemporaryFolder() {
        std::random_device random;
        std::filesystem::path made;
        do {
            made =
                std::filesystem::temp_directory_path() / ("fattn_test_" + std::to_string(random()));
        } while (!std::filesystem::create_directory(made));
        std::filesystem::permissions(made, std::filesystem::perms::owner_all);
        path_ = made.string();
    }
    ~TemporaryFolder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;

    const std::string& path() const { return path_; }

  private:
    std::string path_;
};

}  // namespace fattn::cuda
