// A container of kernel images or kernel sources, compressed one by one; made by the build's
// packer, embedded into the library or kept as a file, read by the kernel store.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "backend/status.h"

namespace fattn::cuda {

enum class ImageKind : std::uint32_t { kSource = 0, kPtx = 1, kCubin = 2 };

/// What a pack knows of an image without unpacking it.
struct ImageEntry {
    ImageKind kind = ImageKind::kSource;
    std::string name;    // of the device source, as "dense_forward_bf16"; of a source its path
    std::string target;  // "sm_80", "sm_90a"; of PTX "compute_80"; of a source empty
    std::uint64_t bytes = 0;
    std::uint64_t stored_bytes = 0;
};

struct Image {
    ImageKind kind = ImageKind::kSource;
    std::string name;
    std::string target;
    std::string content;
};

/// The container's bytes; images keep their order. origin: of images, the digest of the pack of
/// sources that they were compiled from.
std::string write_pack(const std::vector<Image>& images, std::string_view origin = {});

/// What a pack of images says of a pack of sources: kernels, and the tables of tiles that the host
/// reads too.
std::string origin_of_sources(std::string_view pack_of_sources);

/// Views a container, whose bytes must outlive it.
class ImagePack {
  public:
    /// INTERNAL naming what is wrong for bytes that are no container or a damaged one. what names
    /// the container in errors.
    static Status open(std::string_view bytes, std::string what, ImagePack* pack);

    const std::vector<ImageEntry>& entries() const { return entries_; }
    const std::string& origin() const { return origin_; }

    /// From here on what an entry unpacks to is kept, for packs that every device of the process
    /// reads again.
    void keep_contents() { keeps_ = true; }

    /// Unpacks an entry and compares it with its checksum; once that has held for the entry of
    /// this pack or of a copy, it is not made again. Any thread may call this.
    Status read(std::size_t entry, std::string* content) const;

  private:
    struct Unpacked {
        std::atomic<bool> held = false;  // its checksum has
        std::once_flag once;
        std::string kept;  // once `once` was called
    };

    std::string what_;
    std::string origin_;
    bool keeps_ = false;
    std::vector<ImageEntry> entries_;
    std::vector<std::string_view> stored_;
    std::vector<std::string_view> checksums_;
    std::shared_ptr<std::vector<Unpacked>> unpacked_;  // of each entry
};

}  // namespace fattn::cuda
