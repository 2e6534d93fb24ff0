// Fuzz target: the input chooses layouts, pointers and contents of partial results to merge. A
// merge is refused or stays within memory that is exactly as large as the layouts say, and a row
// that is absent everywhere comes out absent.
#include <algorithm>
#include <limits>
#include <vector>

#include "fuzz_input.h"

namespace fattn::fuzz {
namespace {

constexpr float kAbsent = -std::numeric_limits<float>::infinity();

/// Rows of LSE: absent, ordinary or any bits at all.
std::vector<float> choose_lse(Choices& in, int64_t num_rows) {
    std::vector<float> lse(static_cast<std::size_t>(num_rows));
    const Memory any(in, vector_layout(num_rows));
    for (std::size_t row = 0; row < lse.size(); ++row) {
        const uint8_t choice = in.byte();
        lse[row] = choice < 80    ? kAbsent
                   : choice < 230 ? static_cast<float>(choice) - 150
                                  : any.floats()[row];
    }
    return lse;
}

/// The layout of the merged result: left out, its own strides, or not what the parts need.
fattn_layout choose_result(Choices& in, const fattn_layout& part) {
    const uint8_t choice = in.byte();
    if (choice < 60) return {};
    int64_t shape[4];
    std::copy(part.shape, part.shape + 4, shape);
    if (choice > 250) shape[in.number(0, 3)] = in.number(0, 6);
    const fattn_dtype dtype = in.flag() ? FATTN_DTYPE_F32 : static_cast<fattn_dtype>(part.dtype);
    return choose_layout(in, shape, dtype, true);
}

fattn_layout contiguous(fattn_layout layout) {
    int64_t stride = 1;
    for (int axis = 3; axis >= 0; --axis) {
        layout.strides[axis] = stride;
        stride *= std::max<int64_t>(layout.shape[axis], 1);
    }
    return layout;
}

void require_absent_rows(const std::vector<std::vector<float>>& parts, const float* merged) {
    for (std::size_t row = 0; row < parts[0].size(); ++row) {
        const bool absent = std::all_of(parts.begin(), parts.end(),
                                        [row](const auto& lse) { return lse[row] == kAbsent; });
        if (absent) require(merged[row] == kAbsent);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
    Choices in(data, size);
    const fattn_dtype dtypes[] = {FATTN_DTYPE_F32, FATTN_DTYPE_F16, FATTN_DTYPE_BF16,
                                  FATTN_DTYPE_U8};
    const fattn_dtype dtype = dtypes[in.byte() < 250 ? in.number(0, 2) : 3];
    const int64_t num_parts = in.number(1, 4);
    fattn_merge_args args{};
    args.struct_size = sizeof(args);
    args.part = choose_layout(
        in, {in.number(0, 2), in.number(0, 3), in.number(0, 9), in.number(1, 20)}, dtype, false);
    args.o_layout = choose_result(in, args.part);
    args.num_parts = in.byte() < 250 ? num_parts : in.index(0);
    if (args.num_parts > num_parts) return 0;  // promises pointers that are not there

    const int64_t num_rows = args.part.shape[0] * args.part.shape[1] * args.part.shape[2];
    std::vector<Memory> outputs;
    std::vector<std::vector<float>> sums;
    std::vector<const void*> o_parts;
    std::vector<const float*> lse_parts;
    for (int64_t r = 0; r < num_parts; ++r) {
        outputs.emplace_back(in, args.part);
        sums.push_back(choose_lse(in, num_rows));
        o_parts.push_back(in.byte() < 250 ? outputs.back().data() : nullptr);
        lse_parts.push_back(in.byte() < 250 ? sums.back().data() : nullptr);
    }
    args.o_parts = in.byte() < 250 ? o_parts.data() : nullptr;
    args.lse_parts = in.byte() < 250 ? lse_parts.data() : nullptr;

    const Memory o(in, args.o_layout.rank == 0 ? contiguous(args.part) : args.o_layout);
    const Memory lse(in, vector_layout(num_rows));
    const auto place = static_cast<std::size_t>(in.number(0, num_parts - 1));
    const bool in_place = in.byte() > 200;
    args.o = in_place ? outputs[place].data() : o.data();
    args.lse = in.flag() ? lse.floats() : nullptr;
    fattn_run run{};
    run.struct_size = sizeof(run);
    run.max_threads = static_cast<int32_t>(in.number(0, 3));
    const fattn_status status = fattn_merge(cpu(), &args, &run);
    check(status);
    if (status == FATTN_STATUS_OK && args.lse != nullptr && args.num_parts == num_parts)
        require_absent_rows(sums, lse.floats());
    return 0;
}

}  // namespace fattn::fuzz
