// The public header read by a C11 compiler; header_test.cpp compares what C and C++ see of it.
#include <stddef.h>

#include "fused_attention/fused_attention.h"

size_t fattn_test_c_size_of_layout(void) { return sizeof(fattn_layout); }
size_t fattn_test_c_size_of_dense_problem(void) { return sizeof(fattn_dense_problem); }
size_t fattn_test_c_size_of_dense_forward_args(void) { return sizeof(fattn_dense_forward_args); }
size_t fattn_test_c_size_of_dense_backward_args(void) { return sizeof(fattn_dense_backward_args); }

fattn_status fattn_test_c_abi_version(uint32_t* version) {
    fattn_abi_description description = {0};
    description.struct_size = (uint32_t)sizeof description;
    const fattn_status status = fattn_abi_describe(&description);
    *version = description.abi_version;
    return status;
}
