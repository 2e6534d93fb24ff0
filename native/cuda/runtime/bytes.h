// Reads and writes little-endian fields of byte strings; used by the formats that the runtime
// stores.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace fattn::cuda {

/// Appends fields to a string.
class ByteWriter {
  public:
    explicit ByteWriter(std::string* out) : out_(out) {}

    void number(std::uint64_t value, int bytes) {
        for (int i = 0; i < bytes; ++i) {
            out_->push_back(static_cast<char>(static_cast<unsigned char>(value >> (8 * i))));
        }
    }
    void u32(std::uint32_t value) { number(value, 4); }
    void u64(std::uint64_t value) { number(value, 8); }
    void raw(std::string_view bytes) { out_->append(bytes); }
    /// A string behind its length.
    void sized(std::string_view bytes) {
        u64(bytes.size());
        raw(bytes);
    }

  private:
    std::string* out_;
};

/// Takes fields off the front of bytes that may be damaged: past the end every read gives zero or
/// nothing, and ok() is false from then on.
class ByteReader {
  public:
    explicit ByteReader(std::string_view bytes) : bytes_(bytes) {}

    bool ok() const { return ok_; }
    std::size_t left() const { return bytes_.size(); }

    std::uint64_t number(int bytes) {
        const std::string_view field = raw(static_cast<std::uint64_t>(bytes));
        std::uint64_t value = 0;
        for (std::size_t i = field.size(); i > 0; --i) {
            value = value << 8 | static_cast<unsigned char>(field[i - 1]);
        }
        return value;
    }
    std::uint32_t u32() { return static_cast<std::uint32_t>(number(4)); }
    std::uint64_t u64() { return number(8); }
    std::string_view raw(std::uint64_t size) {
        if (!ok_ || size > bytes_.size()) {
            ok_ = false;
            return {};
        }
        const std::string_view field = bytes_.substr(0, static_cast<std::size_t>(size));
        bytes_.remove_prefix(field.size());
        return field;
    }
    std::string_view sized() { return raw(u64()); }

  private:
    std::string_view bytes_;
    bool ok_ = true;
};

}  // namespace fattn::cuda
