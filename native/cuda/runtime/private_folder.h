// A folder that only this user can read and write, and files in it; used by the kernel cache.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "backend/status.h"

namespace fattn::cuda {

/// What a listing tells of a file.
struct FileEntry {
    std::string name;
    std::uint64_t bytes = 0;
    std::int64_t last_use_nanoseconds = 0;
};

/// The folder where programs of this user keep caches, as the environment names it; empty where it
/// does not.
std::string user_cache_folder();
/// The variables that could have named one, as a list in words.
const char* user_cache_variables();

/// An opened folder, which nobody can exchange in between: on POSIX systems everything goes through
/// the opened folder, never again through its path; on Windows an opened folder keeps its path.
/// Safe for concurrent callers and processes.
class PrivateFolder {
  public:
    /// Opens the folder, making it and its parents where they are missing. UNSUPPORTED with the
    /// reason when it is a link, belongs to another user or lets other users in (on Windows: others
    /// than the system and its administrators).
    static Status open(const std::string& path, PrivateFolder* folder);

    PrivateFolder() = default;
    PrivateFolder(PrivateFolder&& other) noexcept;
    PrivateFolder& operator=(PrivateFolder&& other) noexcept;
    ~PrivateFolder();

    const std::string& path() const { return path_; }

    /// Reads a file and marks it as used now. False for a file that is not there, is no plain file
    /// of this user that only he can write, or cannot be read.
    bool read(const std::string& name, std::string* content) const;

    /// Writes a file beside its place and renames it, so that a reader finds the old one, the new
    /// one or none. False when the system refuses; nothing is then left behind.
    bool write(const std::string& name, std::string_view content) const;

    void remove(const std::string& name) const;
    std::vector<FileEntry> list() const;

  private:
    std::string path_;
    std::intptr_t opened_ = -1;  // descriptor or handle
};

}  // namespace fattn::cuda
