// The driver API that the recorder needs, loaded from libcuda.so.1, and probes run over it. Used by
// record.cpp.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "cases/probes.h"

namespace fattn::vgpu {

using Pointer = unsigned long long;

struct DriverCalls {
    int (*init)(unsigned);
    int (*device_get)(int*, int);
    int (*retain)(void**, int);
    int (*set_current)(void*);
    int (*load)(void**, const void*, unsigned, int*, void**);
    int (*get_function)(void**, void*, const char*);
    int (*set_attribute)(void*, int, int);
    int (*allocate)(Pointer*, size_t);
    int (*release)(Pointer);
    int (*to_device)(Pointer, const void*, size_t);
    int (*to_host)(void*, Pointer, size_t);
    int (*launch)(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                  void*, void**, void**);
    int (*synchronize)();
    int (*encode)(void*, int, unsigned, void*, const uint64_t*, const uint64_t*, const unsigned*,
                  const unsigned*, int, int, int, int);
};

// What came of a launch: the call that failed and its error, or the words of the last buffer.
struct Answer {
    std::string call;  // empty: none failed
    int error = 0;
    bool context_lost = false;  // nothing more can be asked in this process
    std::vector<uint32_t> words;
};

// Of the first device; makes no context.
std::string device_name();

class Gpu {
  public:
    Gpu();  // with a context; ends the process when there is no driver or no device
    Answer run(const Probe& probe);

  private:
    int load(const std::string& text, void** module);
    bool launch(const Probe& probe, const std::vector<Pointer>& places, Answer& made);

    DriverCalls cuda_{};
    std::map<std::string, void*> modules_;  // by text
};

}  // namespace fattn::vgpu
