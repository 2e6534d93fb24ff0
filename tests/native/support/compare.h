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

/// As near, but the root mean square of the errors within allowed times that of the expected
/// values, which counts as at least least_size.
testing::AssertionResult near_rms(const std::string& name, const std::vector<double>& expected,
                                  const Tensor& actual, double allowed, const std::string& context,
                                  double least_size = 1e-30);

/// The same bytes in every element and gap.
testing::AssertionResult same_bits(const std::string& name, const Tensor& expected,
                                   const Tensor& actual, const std::string& context);

}  // namespace fattn::test
