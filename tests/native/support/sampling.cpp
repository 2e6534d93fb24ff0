// Reads the sampling of random tests from the environment.
#include "support/sampling.h"

#include <cstdlib>
#include <iostream>
#include <string>

namespace fattn::test {

namespace {

constexpr int kReduction = 16;

bool environment_is(const char* variable, const char* wanted) {
    const char* value = std::getenv(variable);
    return value != nullptr && std::string(value) == wanted;
}

bool mode_is(const char* name) { return environment_is("FATTN_TEST_MODE", name); }

}  // namespace

bool runs_everything() { return mode_is("full"); }

bool runs_little() { return mode_is("reduced"); }

bool runs_target(uint32 target, uint32 available) {
    const uint32 those = available >> target;
    return (those & 1U) != 0 && (those == 1 || !environment_is("FATTN_TEST_TARGETS", "best"));
}

Sampling sampling(int sampled, int full) {
    Sampling result{1, runs_everything() ? full : sampled};
    if (runs_little()) result.count = (sampled + kReduction - 1) / kReduction;
    if (const char* seed = std::getenv("FATTN_TEST_SEED"))
        result.first_seed = std::strtoull(seed, nullptr, 10);
    if (const char* count = std::getenv("FATTN_TEST_COUNT")) result.count = std::atoi(count);
    std::cout << "FATTN_TEST_SEED=" << result.first_seed << " FATTN_TEST_COUNT=" << result.count
              << "\n";
    return result;
}

}  // namespace fattn::test
