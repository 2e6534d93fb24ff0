// Failures and the names of result codes. Called by every function of the driver.
#include "driver/failure.h"

#include <cstdarg>
#include <cstdio>

namespace fattn::vgpu::driver {
namespace {

std::string vformat(const char* format, va_list arguments) {
    va_list again;
    va_copy(again, arguments);
    const int length = std::vsnprintf(nullptr, 0, format, again);
    va_end(again);
    std::string text(static_cast<size_t>(length > 0 ? length : 0), '\0');
    std::vsnprintf(text.data(), text.size() + 1, format, arguments);
    return text;
}

}  // namespace

std::string format_text(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    std::string text = vformat(format, arguments);
    va_end(arguments);
    return text;
}

void fail(cuda::CUresult code, const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    std::string text = vformat(format, arguments);
    va_end(arguments);
    throw Failure{.code = code, .text = std::move(text)};
}

const char* result_name(cuda::CUresult code) {
    switch (code) {
#define FATTN_NAME(name, value, sentence) \
    case cuda::name:                      \
        return #name;
        FATTN_CUDA_RESULTS(FATTN_NAME)
#undef FATTN_NAME
    }
    return nullptr;
}

const char* result_sentence(cuda::CUresult code) {
    switch (code) {
#define FATTN_SENTENCE(name, value, sentence) \
    case cuda::name:                          \
        return sentence;
        FATTN_CUDA_RESULTS(FATTN_SENTENCE)
#undef FATTN_SENTENCE
    }
    return nullptr;
}

}  // namespace fattn::vgpu::driver
