// Digests against the examples of FIPS 180-4 and against themselves in parts.
#include "cuda/runtime/sha256.h"

#include <gtest/gtest.h>

namespace fattn::cuda {
namespace {

TEST(Sha256, ExamplesOfTheStandard) {
    EXPECT_EQ(hex(sha256("")), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    EXPECT_EQ(hex(sha256("abc")),
              "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    EXPECT_EQ(hex(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")),
              "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    EXPECT_EQ(hex(sha256(std::string(1000000, 'a'))),
              "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, PartsGiveTheDigestOfTheWhole) {
    std::string message;
    for (int length = 0; length < 200; ++length) {
        const std::string expected = hex(sha256(message));
        for (std::size_t cut = 0; cut <= message.size(); cut += 7) {
            Sha256 parts;
            parts.update(std::string_view(message).substr(0, cut));
            parts.update(std::string_view(message).substr(cut));
            EXPECT_EQ(hex(parts.finish()), expected) << length << " bytes cut at " << cut;
        }
        message.push_back(static_cast<char>(length * 37));
    }
}

}  // namespace
}  // namespace fattn::cuda
