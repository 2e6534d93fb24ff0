// Statuses and texts at the C boundary: exceptions, threads, lengths.
#include "api/status.h"

#include <gtest/gtest.h>

#include <cstring>
#include <new>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>

namespace fattn::api {
namespace {

TEST(Status, ASuccessKeepsTheTextOfTheLastFailure) {
    EXPECT_EQ(report(invalid("first")), FATTN_STATUS_INVALID_ARGUMENT);
    EXPECT_EQ(report(Status()), FATTN_STATUS_OK);
    EXPECT_STREQ(fattn_last_error(), "first");
    EXPECT_EQ(report(unsupported("second")), FATTN_STATUS_UNSUPPORTED);
    EXPECT_STREQ(fattn_last_error(), "second");
}

TEST(Status, EveryThreadHasItsOwnText) {
    (void)report(invalid("of the main thread"));
    std::thread other([] {
        EXPECT_STREQ(fattn_last_error(), "");
        (void)report(invalid("of the other thread"));
        EXPECT_STREQ(fattn_last_error(), "of the other thread");
    });
    other.join();
    EXPECT_STREQ(fattn_last_error(), "of the main thread");
}

TEST(Status, EveryExceptionBecomesAStatus) {
    EXPECT_EQ(guarded([]() -> Status { throw std::bad_alloc(); }), FATTN_STATUS_OUT_OF_MEMORY);
    EXPECT_STREQ(fattn_last_error(), "the system has no memory left for this call");
    EXPECT_EQ(guarded([]() -> Status { throw std::logic_error("a defect"); }),
              FATTN_STATUS_INTERNAL);
    EXPECT_STREQ(fattn_last_error(), "a defect");
    EXPECT_EQ(guarded([]() -> Status { throw 7; }), FATTN_STATUS_INTERNAL);
    EXPECT_STREQ(fattn_last_error(), "an unknown exception was caught; this is a defect");
    EXPECT_EQ(guarded([] { return Status(); }), FATTN_STATUS_OK);
}

TEST(Status, ALongTextIsCutBetweenCharacters) {
    // 1023 bytes fit; the two-byte character that would straddle the end is left out whole.
    const std::string head(1022, 'x');
    (void)report(invalid(head + "\xC3\xA9 and more"));
    EXPECT_EQ(std::string(fattn_last_error()), head);
    (void)report(invalid(head + "yz"));
    EXPECT_EQ(std::string(fattn_last_error()), head + "y");
    (void)report(invalid(head + "y"));
    EXPECT_EQ(std::string(fattn_last_error()), head + "y");
}

TEST(Status, EveryStatusHasANameOfItsOwn) {
    std::set<std::string> names;
    for (fattn_status status = FATTN_STATUS_OK; status <= FATTN_STATUS_INTERNAL; ++status) {
        names.insert(fattn_status_name(status));
    }
    EXPECT_EQ(names.size(), FATTN_STATUS_INTERNAL + 1u);
    EXPECT_EQ(names.count("unknown status"), 0u);
    EXPECT_STREQ(fattn_status_name(FATTN_STATUS_INVALID_ARGUMENT), "invalid argument");
    EXPECT_STREQ(fattn_status_name(99), "unknown status");
}

}  // namespace
}  // namespace fattn::api
