// The ways from handles to the work of their device.
#include "api/work.h"

#include "backend/text.h"

namespace fattn::api {

Status work_of(fattn_device* device, const char* what, DeviceWork** work) {
    if (device == nullptr) return invalid("device is NULL");
    *work = device->backend->work();
    if (*work != nullptr) return {};
    return unsupported(text("device is the CPU, where calls return when the work is done; ", what,
                            " are of CUDA devices (fattn_device_open)"));
}

Status check_same_device(fattn_device* a, fattn_device* b, const char* on_what) {
    // Two handles may be of the same context, as two opened of one GPU are.
    if (a == b || a->backend->work()->context() == b->backend->work()->context()) return {};
    return invalid(text(on_what, " are of two contexts, on CUDA devices ", a->description.index,
                        " and ", b->description.index, "; both must be of one"));
}

}  // namespace fattn::api
