// The functions of NVRTC that the library uses, as a table that nvrtc.cpp loads and that tests
// compare with nvrtc.h.
#pragma once

#include <cstddef>

namespace fattn::cuda {

using NvrtcProgram = struct NvrtcProgramObject*;

enum class NvrtcResult : int {
    kSuccess = 0,
    kOutOfMemory = 1,
    kInvalidProgram = 4,
    kInvalidOption = 5,
    kCompilation = 6,
    kBuiltinOperationFailure = 7
};

// X(member, name, parameters); every function returns an NvrtcResult
#define FATTN_NVRTC_FUNCTIONS(X)                                                              \
    X(version, "nvrtcVersion", (int*, int*))                                                  \
    X(num_architectures, "nvrtcGetNumSupportedArchs", (int*))                                 \
    X(architectures, "nvrtcGetSupportedArchs", (int*))                                        \
    X(create_program, "nvrtcCreateProgram",                                                   \
      (NvrtcProgram*, const char*, const char*, int, const char* const*, const char* const*)) \
    X(destroy_program, "nvrtcDestroyProgram", (NvrtcProgram*))                                \
    X(add_name_expression, "nvrtcAddNameExpression", (NvrtcProgram, const char*))             \
    X(compile_program, "nvrtcCompileProgram", (NvrtcProgram, int, const char* const*))        \
    X(lowered_name, "nvrtcGetLoweredName", (NvrtcProgram, const char*, const char**))         \
    X(log_size, "nvrtcGetProgramLogSize", (NvrtcProgram, std::size_t*))                       \
    X(log, "nvrtcGetProgramLog", (NvrtcProgram, char*))                                       \
    X(ptx_size, "nvrtcGetPTXSize", (NvrtcProgram, std::size_t*))                              \
    X(ptx, "nvrtcGetPTX", (NvrtcProgram, char*))                                              \
    X(cubin_size, "nvrtcGetCUBINSize", (NvrtcProgram, std::size_t*))                          \
    X(cubin, "nvrtcGetCUBIN", (NvrtcProgram, char*))

/// One pointer a function of the table, all set once NVRTC is loaded.
struct NvrtcFunctions {
    const char* (*error_string)(NvrtcResult) = nullptr;  // nvrtcGetErrorString
#define FATTN_DECLARE_FUNCTION(member, name, parameters) NvrtcResult(*member) parameters = nullptr;
    FATTN_NVRTC_FUNCTIONS(FATTN_DECLARE_FUNCTION)
#undef FATTN_DECLARE_FUNCTION
};

}  // namespace fattn::cuda
