// A status holds its code and its sentence, and costs nothing while all is well.
#include "backend/status.h"

#include <gtest/gtest.h>

#include <utility>

#include "support/allocations.h"

namespace fattn {
namespace {

TEST(Status, IsOkUntilItSaysOtherwise) {
    const Status status;
    EXPECT_TRUE(status.ok());
    EXPECT_EQ(status.code(), StatusCode::kOk);
    EXPECT_EQ(status.message(), "");
}

TEST(Status, KeepsCodeAndSentence) {
    for (const StatusCode code : {StatusCode::kInvalidArgument, StatusCode::kCancelled,
                                  StatusCode::kWorkspaceTooSmall, StatusCode::kInternal}) {
        const Status status(code, "what went wrong");
        const Status copy = status;
        EXPECT_FALSE(copy.ok());
        EXPECT_EQ(copy.code(), code);
        EXPECT_EQ(copy.message(), "what went wrong");
    }
}

TEST(Status, SuccessAllocatesNothing) {
    const test::AllocationCount allocations;
    for (int i = 0; i < 10; ++i) {
        Status status;
        Status moved = std::move(status);
        if (!moved.ok()) FAIL();
    }
    EXPECT_EQ(allocations.so_far(), 0);
}

}  // namespace
}  // namespace fattn
