// Layout of the container: magic, origin, number of entries, the entries' fields, then their
// compressed bytes.
#include "cuda/runtime/image_pack.h"

#include "backend/text.h"
#include "cuda/runtime/bytes.h"
#include "cuda/runtime/compression.h"
#include "cuda/runtime/sha256.h"

namespace fattn::cuda {
namespace {

constexpr std::string_view kPackMagic = "FATTNPK2";
constexpr std::uint64_t kChecksumBytes = 16;
constexpr std::uint64_t kLargestImage = std::uint64_t{1} << 31;

}  // namespace

std::string origin_of_sources(std::string_view pack_of_sources) {
    return hex(sha256(pack_of_sources));
}

std::string write_pack(const std::vector<Image>& images, std::string_view origin) {
    std::string out, content;
    ByteWriter writer(&out);
    writer.raw(kPackMagic);
    writer.sized(origin);
    writer.u32(static_cast<std::uint32_t>(images.size()));
    for (const Image& image : images) {
        const std::string stored = compress(image.content);
        const Digest digest = sha256(image.content);
        writer.u32(static_cast<std::uint32_t>(image.kind));
        writer.sized(image.name);
        writer.sized(image.target);
        writer.u64(image.content.size());
        writer.u64(stored.size());
        writer.raw(bytes_of(digest).substr(0, kChecksumBytes));
        content += stored;
    }
    return out + content;
}

Status ImagePack::open(std::string_view bytes, std::string what, ImagePack* pack) {
    const auto damaged = [&](const char* why) -> Status {
        return {StatusCode::kInternal, text(what, " is damaged: ", why)};
    };
    ByteReader reader(bytes);
    if (reader.raw(kPackMagic.size()) != kPackMagic)
        return damaged("it does not begin as an image pack");
    ImagePack opened;
    opened.origin_ = reader.sized();
    const std::uint32_t count = reader.u32();
    for (std::uint32_t i = 0; i < count && reader.ok(); ++i) {
        ImageEntry entry;
        const std::uint32_t kind = reader.u32();
        if (kind > static_cast<std::uint32_t>(ImageKind::kCubin)) {
            return damaged("an entry is of an unknown kind");
        }
        entry.kind = static_cast<ImageKind>(kind);
        entry.name = reader.sized();
        entry.target = reader.sized();
        entry.bytes = reader.u64();
        entry.stored_bytes = reader.u64();
        opened.checksums_.push_back(reader.raw(kChecksumBytes));
        if (entry.bytes > kLargestImage) return damaged("an entry is larger than 2 GiB");
        opened.entries_.push_back(std::move(entry));
    }
    for (const ImageEntry& entry : opened.entries_) {
        opened.stored_.push_back(reader.raw(entry.stored_bytes));
    }
    if (!reader.ok()) return damaged("it ends too early");
    if (reader.left() != 0) return damaged("bytes follow its end");
    opened.what_ = std::move(what);
    opened.unpacked_ = std::make_shared<std::vector<Unpacked>>(opened.entries_.size());
    *pack = std::move(opened);
    return {};
}

Status ImagePack::read(std::size_t entry, std::string* content) const {
    const ImageEntry& wanted = entries_[entry];
    Unpacked& unpacked = (*unpacked_)[entry];
    if (keeps_ && unpacked.held) {
        *content = unpacked.kept;
        return {};
    }
    if (!decompress(stored_[entry], static_cast<std::size_t>(wanted.bytes), content) ||
        (!unpacked.held &&
         bytes_of(sha256(*content)).substr(0, kChecksumBytes) != checksums_[entry])) {
        return {StatusCode::kInternal, text(what_, " is damaged at the image ", wanted.name,
                                            wanted.target.empty() ? "" : " for ", wanted.target)};
    }
    if (keeps_) std::call_once(unpacked.once, [&] { unpacked.kept = *content; });
    unpacked.held = true;
    return {};
}

}  // namespace fattn::cuda
