// Loads PTX files as the virtual GPU would and prints what their entries need. Run by hand:
// fattn_virtual_gpu_info FILE...
#include <chrono>
#include <cstdio>
#include <fstream>
#include <sstream>

#include "gpu/module.h"

int main(int count, char** arguments) {
    int failed = 0;
    for (int i = 1; i < count; ++i) {
        std::ifstream file(arguments[i]);
        std::stringstream text;
        text << file.rdbuf();
        const std::string ptx = text.str();
        try {
            const auto begin = std::chrono::steady_clock::now();
            const auto module = fattn::vgpu::Module::load(ptx, arguments[i], fattn::vgpu::kSm90a);
            module->read_all();
            const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
            std::printf("%s: loaded in %.3f s\n", arguments[i], took.count());
            for (const auto& entry : module->entries()) {
                std::printf(
                    "  %-48s parameters %5u B, shared %6u B, local %5u B, about %3u registers, up "
                    "to %4u threads\n",
                    entry.name.c_str(), entry.parameter_bytes, entry.static_shared_bytes,
                    entry.local_bytes, entry.registers, entry.max_threads);
            }
        } catch (const fattn::vgpu::LoadError& error) {
            std::printf("%s\n", error.what());
            failed = 1;
        }
    }
    return failed;
}
