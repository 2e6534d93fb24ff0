// Takes two files of the build into the library's read-only data; their paths come from CMake.
#include "cuda/runtime/embedded.h"

#if defined(__ELF__)
#define FATTN_READ_ONLY_DATA ".section .rodata, \"a\"\n"
#define FATTN_HIDDEN(symbol) ".hidden " symbol "\n"
#define FATTN_PREVIOUS_SECTION ".previous\n"
#else
#define FATTN_READ_ONLY_DATA ".section .rdata, \"dr\"\n"
#define FATTN_HIDDEN(symbol)
#define FATTN_PREVIOUS_SECTION ".text\n"
#endif

// symbol and symbol_end bound the file's bytes.
#define FATTN_EMBED(symbol, file)                                                             \
    asm(FATTN_READ_ONLY_DATA ".balign 16\n.globl " symbol "\n" FATTN_HIDDEN(symbol) symbol    \
        ":\n.incbin \"" file "\"\n.globl " symbol "_end\n" FATTN_HIDDEN(symbol "_end") symbol \
        "_end:\n.byte 0\n" FATTN_PREVIOUS_SECTION)

FATTN_EMBED("fattn_embedded_images", FATTN_IMAGE_PACK);
FATTN_EMBED("fattn_embedded_sources", FATTN_SOURCE_PACK);

extern "C" {
extern const char fattn_embedded_images[], fattn_embedded_images_end[];
extern const char fattn_embedded_sources[], fattn_embedded_sources_end[];
}

namespace fattn::cuda {

std::string_view embedded_images() { return {fattn_embedded_images, fattn_embedded_images_end}; }

std::string_view embedded_sources() { return {fattn_embedded_sources, fattn_embedded_sources_end}; }

}  // namespace fattn::cuda
