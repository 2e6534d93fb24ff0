// The functions that the virtual GPU does not offer: each says so by name. Called by programs that
// need more than is here.
#include "driver/entry.h"
#include "driver/refused_functions.h"

namespace fattn::vgpu::cuda {
namespace {

CUresult refuse(const char* function) {
    return driver::note_failure(
        function, {CUDA_ERROR_NOT_SUPPORTED, "the virtual GPU does not offer this function"});
}

}  // namespace

extern "C" {

// The caller's arguments stay its own: with an unnamed list a function leaves them alone, however
// many there are.
#define FATTN_REFUSE(name)                             \
    [[gnu::visibility("default")]] CUresult name(...); \
    CUresult name(...) { return refuse(#name); }
FATTN_REFUSED_CUDA_FUNCTIONS(FATTN_REFUSE)
#undef FATTN_REFUSE

}  // extern "C"
}  // namespace fattn::vgpu::cuda
