// The lines that an H100 gave (recordings/h100.txt), for the tests that compare them with the
// interpreter and the driver.
#pragma once

#include <fstream>
#include <sstream>
#include <string>

namespace fattn::vgpu {

// Calls visit(kind, name, the words behind them) for every line.
template <class Visit>
void for_each_recorded_line(const Visit& visit) {
    std::ifstream file(std::string(FATTN_VIRTUAL_GPU_DIR) + "/recordings/h100.txt");
    for (std::string line; std::getline(file, line);) {
        std::stringstream words(line);
        std::string kind, name;
        words >> kind >> name;
        visit(kind, name, words);
    }
}

}  // namespace fattn::vgpu
