// The size rules of growing structs; see growing.h.
#include "api/growing.h"

namespace fattn::api {

Status check_struct_size(const void* given, std::size_t own_size, const char* name,
                         const char* type) {
    if (given == nullptr) return invalid(text(name, " is NULL; a ", type, " is needed"));
    uint32 size;
    std::memcpy(&size, given, sizeof(size));
    if (size < 2 * sizeof(uint32) || size > kLargestStructSize) {
        return invalid(text(name, "->struct_size is ", size, "; set it to sizeof(", type, "), ",
                            own_size, " in this library"));
    }
    if (size > own_size) {
        const auto* bytes = static_cast<const unsigned char*>(given);
        if (std::any_of(bytes + own_size, bytes + size, [](unsigned char b) { return b != 0; })) {
            return unsupported(text(name, "->struct_size is ", size, " and fields past byte ",
                                    own_size, " are set; this library knows ", own_size,
                                    " bytes of ", type, " and cannot honour the rest"));
        }
    }
    return {};
}

}  // namespace fattn::api
