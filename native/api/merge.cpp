// Merging partial results at the C boundary.
#include "api/device.h"
#include "api/growing.h"
#include "api/run_check.h"
#include "backend/text.h"

namespace fattn::api {
namespace {

constexpr int64 kMaxParts = 65536;

Status read_layouts(const fattn_merge_args& args, MergeProblem* problem) {
    FATTN_RETURN_IF_ERROR(read_layout(args.part, "args->part", &problem->part));
    const TensorLayout& part = problem->part;
    if (part.dtype != DType::kF32 && part.dtype != DType::kF16 && part.dtype != DType::kBF16) {
        return invalid(text("args->part.dtype is ", part.dtype, "; allowed are f32, f16, bf16"));
    }
    TensorLayout& o = problem->o;
    const int64* shape = part.shape;
    if (args.o_layout.rank == 0) {
        o = contiguous(shape[0], shape[1], shape[2], shape[3], part.dtype);
        return {};
    }
    FATTN_RETURN_IF_ERROR(read_layout(args.o_layout, "args->o_layout", &o));
    for (int axis = 0; axis < 4; ++axis) {
        FATTN_RETURN_IF_ERROR(
            check_extent(o, "args->o_layout", axis, shape[axis], "as in args->part"));
    }
    if (o.dtype == DType::kDefault) o.dtype = part.dtype;
    if (o.dtype != part.dtype && o.dtype != DType::kF32) {
        return invalid(text("args->o_layout.dtype is ", o.dtype, "; allowed are f32 and the ",
                            part.dtype, " of the parts"));
    }
    return check_no_self_overlap(o, "args->o_layout");
}

bool same_layout(const TensorLayout& a, const TensorLayout& b) {
    if (a.dtype != b.dtype) return false;
    for (int axis = 0; axis < 4; ++axis) {
        if (a.shape[axis] > 1 && a.strides[axis] != b.strides[axis]) return false;
    }
    return true;
}

/// Parts are too many for one list: each is checked beside the two outputs.
Status check_part(const fattn_device& device, const MergeProblem& p, int64 r) {
    const int64 num_rows = p.o.shape[0] * p.o.shape[1] * p.o.shape[2];
    const std::string o_name = text("args->o_parts[", r, "]");
    const std::string lse_name = text("args->lse_parts[", r, "]");
    RunMemoryChecker memory(device, 1, nullptr);
    FATTN_RETURN_IF_ERROR(memory.need("args->o", p.out, p.o, Role::kOutput));
    FATTN_RETURN_IF_ERROR(memory.may_array("args->lse", p.lse, num_rows, Role::kOutput));
    // A merge in place reads every row before it writes it.
    const bool o_in_place = p.o_parts[r] == p.out && same_layout(p.part, p.o);
    const bool lse_in_place = p.lse_parts[r] == p.lse;
    if (!o_in_place || p.out == nullptr) {
        FATTN_RETURN_IF_ERROR(memory.need(o_name.c_str(), p.o_parts[r], p.part, Role::kInput));
    }
    if (!lse_in_place || p.lse == nullptr) {
        FATTN_RETURN_IF_ERROR(
            memory.need_array(lse_name.c_str(), p.lse_parts[r], num_rows, Role::kInput));
    }
    return memory.check_overlaps();
}

Status merge(fattn_device* handle, const fattn_merge_args* given, const fattn_run* run) {
    if (handle == nullptr) return invalid("device is NULL");
    const Reference device(handle);
    fattn_merge_args args;
    RunOptions options;
    FATTN_RETURN_IF_ERROR(read_growing(given, "args", "fattn_merge_args", &args));
    const fattn_device_kind kind = device->description.kind;
    FATTN_RETURN_IF_ERROR(read_run(kind, run, &options));
    if (args.flags != 0) {
        return unsupported(text("args->flags is ", args.flags, "; this library knows none"));
    }
    if (args.num_parts < 1 || args.num_parts > kMaxParts) {
        return invalid(
            text("args->num_parts is ", args.num_parts, "; allowed are 1 to ", kMaxParts));
    }
    if (args.o_parts == nullptr || args.lse_parts == nullptr) {
        return invalid(text(args.o_parts == nullptr ? "args->o_parts" : "args->lse_parts",
                            " is NULL; ", args.num_parts, " pointers are needed"));
    }
    MergeProblem problem{.part = {},
                         .o = {},
                         .num_parts = args.num_parts,
                         .o_parts = args.o_parts,
                         .lse_parts = args.lse_parts,
                         .out = args.o,
                         .lse = args.lse};
    FATTN_RETURN_IF_ERROR(read_layouts(args, &problem));
    for (int64 r = 0; r < args.num_parts; ++r)
        FATTN_RETURN_IF_ERROR(check_part(*device, problem, r));
    return device->backend->merge(problem, options);
}

}  // namespace
}  // namespace fattn::api

fattn_status fattn_merge(fattn_device* device, const fattn_merge_args* args, const fattn_run* run) {
    return fattn::api::guarded([&] { return fattn::api::merge(device, args, run); });
}
