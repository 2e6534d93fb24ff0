// Compares results of a kernel with expected ones and says where and by how much they differ; used
// by all native tests.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "support/tensor.h"

namespace fattn::test {

/// Both in logical order with the tensor's shape. Non-finite values must agree exactly; finite ones
/// within allowed. An expected value too large for dtype is an infinity. context (the problem with
/// its seed) ends the message.
testing::AssertionResult near(const std::string& name, const std::vector<double>& expected,
                              const Tensor& actual, double allowed, const std::string& context);

/// The same bytes in every element and gap.
testing::AssertionResult same_bits(const std::string& name, const Tensor& expected,
                                   const Tensor& actual, const std::string& context);

}  // namespace fattn::test
