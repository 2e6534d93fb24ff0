// Runs the dense keys on a GPU, forward and backward: random problems against the double-precision
// reference, then times at the shapes that kernels are compared at. A program of its own that needs
// only the driver.
//   dense_on_device CUBINS OUT check SECONDS [FIRST_SEED]   writes OUT/dense_check.json
//   dense_on_device CUBINS OUT time                         writes OUT/dense_time.json
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>

#include "dense_runs.h"

int main(int argc, char** argv) {
    if (argc < 4) {
        std::fprintf(stderr,
                     "usage: dense_on_device CUBINS OUT check SECONDS [FIRST_SEED] | time\n");
        return 2;
    }
    try {
        const fattn::gpu::Device device(0);
        std::printf("%s, sm_%d, %d multiprocessors\n", device.name().c_str(), device.architecture(),
                    device.num_multiprocessors());
        fattn::gpu::DenseKernels kernels(argv[1], device.architecture());
        const std::string out = argv[2];
        if (std::string(argv[3]) == "time") {
            return fattn::gpu::time_dense(kernels, device, out + "/dense_time.json");
        }
        const double seconds = argc > 4 ? std::atof(argv[4]) : 40;
        const unsigned long long seed = argc > 5 ? std::strtoull(argv[5], nullptr, 10) : 1;
        return fattn::gpu::check_dense(kernels, seconds, seed, out + "/dense_check.json");
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
