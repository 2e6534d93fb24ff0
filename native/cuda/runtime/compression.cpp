// Greedy matching with one step of looking ahead, over chains of positions with equal beginnings.
#include "cuda/runtime/compression.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace fattn::cuda {
namespace {

constexpr int kHashBits = 17;
constexpr int kLongestChain = 64;
constexpr std::uint32_t kNone = 0xffffffffU;

void put(std::uint64_t value, std::string* out) {
    while (value >= 128) {
        out->push_back(static_cast<char>((value & 127) | 128));
        value >>= 7;
    }
    out->push_back(static_cast<char>(value));
}

bool take(std::string_view* in, std::uint64_t* value) {
    *value = 0;
    for (int shift = 0; shift < 63; shift += 7) {
        if (in->empty()) return false;
        const auto byte = static_cast<unsigned char>(in->front());
        in->remove_prefix(1);
        *value |= std::uint64_t{byte & 127U} << shift;
        if (byte < 128) return true;
    }
    return false;
}

struct Match {
    std::size_t length = 0;
    std::size_t distance = 0;
};

/// Positions of the input by a hash of the bytes that start there.
class Chains {
  public:
    explicit Chains(std::string_view bytes)
        : bytes_(bytes),
          head_(std::size_t{1} << kHashBits, kNone),
          previous_(bytes.size(), kNone) {}

    void insert(std::size_t at) {
        if (at + kShortestMatch > bytes_.size()) return;
        std::uint32_t& head = head_[hash(at)];
        previous_[at] = head;
        head = static_cast<std::uint32_t>(at);
    }

    /// The longest of the latest matches of what starts at a position that is not inserted yet.
    Match find(std::size_t at) const {
        Match best;
        if (at + kShortestMatch > bytes_.size()) return best;
        const std::size_t limit = bytes_.size() - at;
        std::uint32_t candidate = head_[hash(at)];
        for (int i = 0; i < kLongestChain && candidate != kNone; ++i) {
            const char* ours = bytes_.data() + at;
            const char* theirs = bytes_.data() + candidate;
            std::size_t length = 0;
            while (length < limit && ours[length] == theirs[length]) ++length;
            // A little longer at a great distance is not shorter when written.
            const std::size_t distance = at - candidate;
            if (length >= kShortestMatch && length > best.length + (distance >= 1U << 14 ? 1 : 0)) {
                best = {length, distance};
                if (length == limit) break;
            }
            candidate = previous_[candidate];
        }
        return best;
    }

  private:
    std::size_t hash(std::size_t at) const {
        std::uint64_t start = 0;
        std::memcpy(&start, bytes_.data() + at, kShortestMatch);
        return static_cast<std::size_t>((start * 0x9e3779b97f4a7c15U) >> (64 - kHashBits));
    }

    std::string_view bytes_;
    std::vector<std::uint32_t> head_;
    std::vector<std::uint32_t> previous_;
};

}  // namespace

std::string compress(std::string_view bytes) {
    std::string out;
    Chains chains(bytes);
    std::size_t at = 0, literals_begin = 0;
    Match match = chains.find(0);
    while (at < bytes.size()) {
        chains.insert(at);
        const Match next = at + 1 < bytes.size() ? chains.find(at + 1) : Match{};
        if (match.length == 0 || next.length > match.length) {
            match = next;
            ++at;
            continue;
        }
        put(at - literals_begin, &out);
        out.append(bytes.substr(literals_begin, at - literals_begin));
        put(match.length - kShortestMatch, &out);
        put(match.distance, &out);
        const std::size_t end = at + match.length;
        for (++at; at < end; ++at) chains.insert(at);
        literals_begin = at;
        match = at < bytes.size() ? chains.find(at) : Match{};
    }
    if (literals_begin < bytes.size()) {
        put(bytes.size() - literals_begin, &out);
        out.append(bytes.substr(literals_begin));
    }
    return out;
}

bool decompress(std::string_view in, std::size_t size, std::string* out) {
    out->clear();
    out->reserve(size);
    while (out->size() < size) {
        std::uint64_t literals = 0, length = 0, distance = 0;
        if (!take(&in, &literals) || literals > in.size() || literals > size - out->size()) {
            return false;
        }
        out->append(in.substr(0, static_cast<std::size_t>(literals)));
        in.remove_prefix(static_cast<std::size_t>(literals));
        if (out->size() == size) break;
        if (!take(&in, &length) || !take(&in, &distance)) return false;
        if (length > size || length + kShortestMatch > size - out->size()) return false;
        if (distance == 0 || distance > out->size()) return false;
        // A match may overlap what it writes: bytes are taken one by one.
        const std::size_t from = out->size() - static_cast<std::size_t>(distance);
        for (std::size_t i = 0; i < length + kShortestMatch; ++i) out->push_back((*out)[from + i]);
    }
    return in.empty();
}

}  // namespace fattn::cuda
