// Compiles one source for one architecture with NVRTC and an empty include path: headers come from
// memory alone. A program of its own, run by the cuda_core leg on machines without a GPU or driver.
//   nvrtc_compile LIBNVRTC ARCHITECTURE SOURCE HEADER_ROOT HEADER...      (headers relative to
//   HEADER_ROOT)
#include <dlfcn.h>

#include <cstdio>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using Program = struct NvrtcProgram*;

std::string read_text(const std::string& path) {
    std::ifstream file(path);
    if (!file) {
        throw std::runtime_error("cannot read " + path);
    }
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

/// The functions of libnvrtc that are needed, loaded by full path; the builtins lie beside it.
class Nvrtc {
  public:
    explicit Nvrtc(const std::string& path) : library_(dlopen(path.c_str(), RTLD_NOW)) {
        if (library_ == nullptr) {
            throw std::runtime_error(dlerror());
        }
        load("nvrtcCreateProgram", create);
        load("nvrtcCompileProgram", compile);
        load("nvrtcGetProgramLogSize", log_size);
        load("nvrtcGetProgramLog", log);
        load("nvrtcGetCUBINSize", cubin_size);
    }

    int (*create)(Program*, const char* source, const char* name, int num_headers,
                  const char* const* headers, const char* const* names) = nullptr;
    int (*compile)(Program, int num_options, const char* const* options) = nullptr;
    int (*log_size)(Program, size_t*) = nullptr;
    int (*log)(Program, char*) = nullptr;
    int (*cubin_size)(Program, size_t*) = nullptr;

  private:
    template <class Function>
    void load(const char* name, Function& function) {
        function = reinterpret_cast<Function>(dlsym(library_, name));
        if (function == nullptr) {
            throw std::runtime_error(std::string("libnvrtc has no ") + name);
        }
    }

    void* library_;
};

int run(const std::vector<std::string>& arguments) {
    const Nvrtc nvrtc(arguments[0]);
    const std::string architecture = "--gpu-architecture=" + arguments[1];
    const std::string source = read_text(arguments[2]);
    std::vector<std::string> texts;
    for (size_t i = 4; i < arguments.size(); ++i) {
        texts.push_back(read_text(arguments[3] + "/" + arguments[i]));
    }
    std::vector<const char*> headers, names;
    for (size_t i = 0; i < texts.size(); ++i) {
        headers.push_back(texts[i].c_str());
        names.push_back(arguments[4 + i].c_str());
    }

    Program program = nullptr;
    if (nvrtc.create(&program, source.c_str(), arguments[2].c_str(),
                     static_cast<int>(headers.size()), headers.data(), names.data()) != 0) {
        throw std::runtime_error("nvrtcCreateProgram failed");
    }
    const char* options[] = {"--std=c++20", architecture.c_str()};
    const int status = nvrtc.compile(program, 2, options);
    size_t size = 0;
    nvrtc.log_size(program, &size);
    std::string log(size, '\0');
    nvrtc.log(program, log.data());
    std::printf("%s\n", log.c_str());
    if (status != 0) {
        return 1;
    }
    size_t cubin_bytes = 0;
    nvrtc.cubin_size(program, &cubin_bytes);
    std::printf("%zu bytes of machine code for %s\n", cubin_bytes, arguments[1].c_str());
    return cubin_bytes > 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
    const std::vector<std::string> arguments(argv + 1, argv + argc);
    if (arguments.size() < 5) {
        std::fprintf(stderr,
                     "usage: nvrtc_compile LIBNVRTC ARCHITECTURE SOURCE HEADER_ROOT HEADER...\n");
        return 2;
    }
    try {
        return run(arguments);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
