// The contract between gatherers and the gathered loops, as far as it is arithmetic: how a chunk
// says which tiles are its own.
#include "cpu/gatherer.h"

#include <gtest/gtest.h>

namespace fattn::cpu {
namespace {

TEST(KeyChunk, ChunksCutThingsIntoNeighboursOfNearlyEqualSize) {
    for (int64 n = 0; n <= 20; ++n)
        for (int64 count = 1; count <= 8; ++count) {
            int64 at = 0;
            for (int64 index = 0; index < count; ++index) {
                const KeyChunk chunk{index, count};
                EXPECT_EQ(chunk.first_of(n), at);
                EXPECT_GE(chunk.end_of(n) - at, n / count);
                EXPECT_LE(chunk.end_of(n) - at, n / count + 1);
                at = chunk.end_of(n);
            }
            EXPECT_EQ(at, n);
        }
}

}  // namespace
}  // namespace fattn::cpu
