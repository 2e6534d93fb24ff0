// Decides how many problems the errors of plain evaluations rest on.
#include "support/plain_search.h"

namespace fattn::test {
namespace {

/// The errors of a row's results hang together through its sum, so many results of few rows show
/// too little. Where scores are large nearly all rows see one key alone, without an error: the few
/// others count.
constexpr int64 kEnoughRows = 256;
constexpr int64 kEnoughRowsOfLargeScores = 4096;
constexpr double kLargeScores = 8;  // times ordinary ones
/// Sums over all rows of a head, of which a case has few.
constexpr int64 kEnoughSums = 64;
constexpr int kPlainSearchMostReplicas = 200;
/// Multiply-adds that the replicas of one case may cost, and while rows or sums are missing.
constexpr double kPlainSearchReplicaWork = 5e6;
constexpr double kReplicaWorkForRows = 2e7;
/// How many times more of both a thorough estimate may take.
constexpr int kThoroughness = 100;
/// The largest of so many errors differs from draw to draw, most where it comes from a few rows
/// with large scores, and the kernels of all targets and problems make many draws. A thorough
/// estimate makes so many.
constexpr int64 kDraws = 16;

}  // namespace

bool wide_counts(Effort effort, DType dtype, bool f32_output) {
    return effort == Effort::kThorough || (dtype != DType::kF32 && f32_output);
}

bool PlainSearch::lacks_rows(int64 num_rows, int64 num_sums) const {
    const bool few_rows_do = magnitude_ < kLargeScores && effort_ == Effort::kQuick;
    return num_rows < (few_rows_do ? kEnoughRows : kEnoughRowsOfLargeScores) ||
           (num_sums > 0 &&
            num_sums < (effort_ == Effort::kQuick ? kEnoughSums : PlainError::kEnough));
}

bool PlainSearch::wants_another(int64 num_rows, std::initializer_list<const PlainError*> errors,
                                int64 num_sums) {
    const bool lacks = lacks_rows(num_rows, num_sums);
    bool enough = !lacks;
    const int64 draws = effort_ == Effort::kQuick ? 1 : kDraws;
    for (const PlainError* error : errors)
        if (error->count() > 0 && error->count() < draws * PlainError::kEnough) enough = false;
    const int factor = effort_ == Effort::kQuick ? 1 : kThoroughness;
    if (enough || num_evaluated_ == factor * kPlainSearchMostReplicas) return false;
    if (spent_ + work_ > factor * (lacks ? kReplicaWorkForRows : kPlainSearchReplicaWork))
        return false;
    spent_ += work_;
    ++num_evaluated_;
    return true;
}

}  // namespace fattn::test
