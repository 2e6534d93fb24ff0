// The public header and the shared library as a C program meets them.
#include <gtest/gtest.h>

#include "fused_attention/fused_attention.h"

extern "C" {
size_t fattn_test_c_size_of_layout(void);
size_t fattn_test_c_size_of_dense_problem(void);
size_t fattn_test_c_size_of_dense_forward_args(void);
size_t fattn_test_c_size_of_dense_backward_args(void);
fattn_status fattn_test_c_abi_version(uint32_t* version);
}

TEST(Header, IsTheSameInCAndInCpp) {
    EXPECT_EQ(fattn_test_c_size_of_layout(), sizeof(fattn_layout));
    EXPECT_EQ(fattn_test_c_size_of_dense_problem(), sizeof(fattn_dense_problem));
    EXPECT_EQ(fattn_test_c_size_of_dense_forward_args(), sizeof(fattn_dense_forward_args));
    EXPECT_EQ(fattn_test_c_size_of_dense_backward_args(), sizeof(fattn_dense_backward_args));
}

TEST(Header, VersionIsTheLibrarys) {
    uint32_t version = 0;
    ASSERT_EQ(fattn_test_c_abi_version(&version), FATTN_STATUS_OK) << fattn_last_error();
    EXPECT_EQ(version, static_cast<uint32_t>(FATTN_ABI_VERSION));
}
