// Keys, file format and eviction of the program cache.
#include "cuda/runtime/program_cache.h"

#include <algorithm>
#include <chrono>

#include "backend/text.h"
#include "cuda/runtime/bytes.h"
#include "cuda/runtime/environment.h"

namespace fattn::cuda {
namespace {

constexpr std::string_view kEntryMagic = "FATTNKC1";
constexpr std::string_view kSuffix = ".kernel";
constexpr std::int64_t kAbandonedNanoseconds = 3'600'000'000'000;  // an hour

std::string file_of(const Digest& key) { return hex(key) + std::string(kSuffix); }

/// Magic, key, digest of the rest, then PTX, cubin, log and symbols.
std::string write_entry(const Digest& key, const CompiledProgram& compiled) {
    std::string body;
    ByteWriter writer(&body);
    writer.sized(compiled.ptx);
    writer.sized(compiled.cubin);
    writer.sized(compiled.log);
    writer.u32(static_cast<std::uint32_t>(compiled.symbols.size()));
    for (const std::string& symbol : compiled.symbols) writer.sized(symbol);

    std::string out(kEntryMagic);
    out += bytes_of(key);
    out += bytes_of(sha256(body));
    return out + body;
}

bool read_entry(std::string_view bytes, const Digest& key, CompiledProgram* compiled) {
    ByteReader reader(bytes);
    if (reader.raw(kEntryMagic.size()) != kEntryMagic || reader.raw(key.size()) != bytes_of(key))
        return false;
    const std::string_view digest = reader.raw(key.size());
    const std::string_view body = reader.raw(reader.left());
    if (!reader.ok() || bytes_of(sha256(body)) != digest) return false;

    ByteReader fields(body);
    CompiledProgram found;
    found.ptx = fields.sized();
    found.cubin = fields.sized();
    found.log = fields.sized();
    const std::uint32_t count = fields.u32();
    for (std::uint32_t i = 0; i < count && fields.ok(); ++i) {
        found.symbols.emplace_back(fields.sized());
    }
    if (!fields.ok() || fields.left() != 0) return false;
    *compiled = std::move(found);
    return true;
}

bool is_entry(const FileEntry& file) {
    return file.name.size() == 64 + kSuffix.size() && file.name.ends_with(kSuffix);
}

Status open_process_cache(ProgramCache* cache) {
    std::string folder = environment_variable("FATTN_CUDA_CACHE");
    if (folder == "off") {
        return {StatusCode::kUnsupported, "the kernel cache is switched off by FATTN_CUDA_CACHE"};
    }
    if (!folder.empty()) return ProgramCache::open(folder, kDefaultCacheBytes, cache);
    folder = user_cache_folder();
    if (folder.empty()) {
        return {StatusCode::kUnsupported,
                text("there is no folder for the kernel cache: none of FATTN_CUDA_CACHE, ",
                     user_cache_variables(), " is set, or this process runs set-id")};
    }
    return ProgramCache::open(folder + "/fused_attention/kernels", kDefaultCacheBytes, cache);
}

}  // namespace

Digest key_of(const Program& program, int nvrtc_major, int nvrtc_minor) {
    std::string all;
    ByteWriter writer(&all);
    writer.raw(kEntryMagic);
    writer.u32(static_cast<std::uint32_t>(nvrtc_major));
    writer.u32(static_cast<std::uint32_t>(nvrtc_minor));
    writer.sized(program.target);
    const auto list = [&](const std::vector<std::string>& texts) {
        writer.u64(texts.size());
        for (const std::string& one : texts) writer.sized(one);
    };
    list(program.options);
    list(program.expressions);
    writer.sized(program.source.name);
    writer.sized(program.source.text);
    writer.u64(program.headers.size());
    for (const SourceText& header : program.headers) {
        writer.sized(header.name);
        writer.sized(header.text);
    }
    return sha256(all);
}

Status ProgramCache::open(const std::string& folder, std::uint64_t max_bytes, ProgramCache* cache) {
    const Status status = PrivateFolder::open(folder, &cache->folder_);
    cache->max_bytes_ = max_bytes;
    return status.ok() ? status : Status(status.code(), text("kernel cache: ", status.message()));
}

bool ProgramCache::find(const Digest& key, CompiledProgram* compiled) const {
    const std::string name = file_of(key);
    std::string content;
    if (!folder_.read(name, &content)) return false;
    if (read_entry(content, key, compiled)) return true;
    folder_.remove(name);
    return false;
}

bool ProgramCache::store(const Digest& key, const CompiledProgram& compiled) const {
    const bool done = folder_.write(file_of(key), write_entry(key, compiled));
    evict();
    return done;
}

void ProgramCache::evict() const {
    std::vector<FileEntry> files = folder_.list();
    std::sort(files.begin(), files.end(), [](const FileEntry& a, const FileEntry& b) {
        return a.last_use_nanoseconds > b.last_use_nanoseconds;
    });
    const std::int64_t now = std::chrono::duration_cast<std::chrono::nanoseconds>(
                                 std::chrono::system_clock::now().time_since_epoch())
                                 .count();
    std::uint64_t kept = 0;
    for (const FileEntry& file : files) {
        if (is_entry(file)) {
            kept += file.bytes;
            if (kept > max_bytes_) folder_.remove(file.name);
        } else if (file.name.ends_with(".tmp") &&
                   now - file.last_use_nanoseconds > kAbandonedNanoseconds) {
            folder_.remove(file.name);  // of a process that ended while it wrote
        }
    }
}

std::uint64_t ProgramCache::used_bytes() const {
    std::uint64_t sum = 0;
    for (const FileEntry& file : folder_.list()) sum += is_entry(file) ? file.bytes : 0;
    return sum;
}

int ProgramCache::num_entries() const {
    const std::vector<FileEntry> files = folder_.list();
    return static_cast<int>(std::count_if(files.begin(), files.end(), is_entry));
}

Status process_program_cache(const ProgramCache** cache) {
    struct Opened {
        Opened() : status(open_process_cache(&cache)) {}
        ProgramCache cache;
        Status status;
    };
    static const Opened* const opened = new Opened;
    *cache = opened->status.ok() ? &opened->cache : nullptr;
    return opened->status;
}

}  // namespace fattn::cuda
