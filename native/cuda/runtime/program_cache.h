// Keeps compiled programs on disk between processes; used by the kernel store and by programs of
// the user.
#pragma once

#include <cstdint>
#include <string>

#include "cuda/runtime/nvrtc.h"
#include "cuda/runtime/private_folder.h"
#include "cuda/runtime/sha256.h"

namespace fattn::cuda {

inline constexpr std::uint64_t kDefaultCacheBytes = std::uint64_t{256} << 20;

/// What decides the result of a compilation: sources, options, target, expressions, compiler.
Digest key_of(const Program& program, int nvrtc_major, int nvrtc_minor);

/// One file an entry, named by its key. Entries that were not used longest leave first when the
/// folder grows past its size. Safe for concurrent callers and processes; what goes wrong with a
/// file counts as its absence, and a damaged entry is removed.
class ProgramCache {
  public:
    /// Opens the cache in a folder. UNSUPPORTED with the reason when the folder cannot be used.
    static Status open(const std::string& folder, std::uint64_t max_bytes, ProgramCache* cache);

    const std::string& folder() const { return folder_.path(); }

    bool find(const Digest& key, CompiledProgram* compiled) const;
    /// False when the entry could not be written.
    bool store(const Digest& key, const CompiledProgram& compiled) const;

    /// Bytes of all entries at this moment.
    std::uint64_t used_bytes() const;
    int num_entries() const;

  private:
    void evict() const;

    PrivateFolder folder_;
    std::uint64_t max_bytes_ = 0;
};

/// The cache of this process: in the folder that FATTN_CUDA_CACHE names, else in the user's cache
/// folder. UNSUPPORTED with the reason when there is none, as when FATTN_CUDA_CACHE is "off".
Status process_program_cache(const ProgramCache** cache);

}  // namespace fattn::cuda
