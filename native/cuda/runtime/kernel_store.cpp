// The order of the search for a module, and its reasons.
#include "cuda/runtime/kernel_store.h"

#include "backend/text.h"
#include "cuda/runtime/error.h"
#include "cuda/runtime/image_choice.h"

namespace fattn::cuda {
namespace {

/// Sources in this folder are made for one architecture alone.
constexpr std::string_view kSpecificFolder = "sm90/";

}  // namespace

Status process_origins(const Driver& driver, ImageOrigins* origins) {
    FATTN_CUDA_RETURN_IF_ERROR(process_kernel_packs(driver, &origins->packs));
    origins->nvrtc_status = process_nvrtc(&origins->nvrtc);
    origins->cache_status = process_program_cache(&origins->cache);
    return {};
}

Status compile_cached(const Nvrtc& nvrtc, const ProgramCache* cache, const Program& program,
                      CompiledProgram* compiled, bool* from_cache) {
    const Digest key = key_of(program, nvrtc.major(), nvrtc.minor());
    *from_cache = cache != nullptr && cache->find(key, compiled);
    if (*from_cache) return {};
    FATTN_CUDA_RETURN_IF_ERROR(nvrtc.compile(program, compiled));
    // A program that could not be kept is compiled again another time.
    if (cache != nullptr) static_cast<void>(cache->store(key, *compiled));
    return {};
}

Status load_compiled(std::shared_ptr<const Device> device, const std::string& name,
                     const CompiledProgram& compiled, std::unique_ptr<const Module>* module) {
    std::string refused;
    if (!compiled.cubin.empty()) {
        const Status status = Module::load(device, name, compiled.cubin, module);
        if (status.code() != StatusCode::kUnsupported) return status;
        refused = status.message();
    }
    const Status status = Module::load(device, name, compiled.ptx, module);
    if (status.ok() || refused.empty()) return status;
    return {status.code(), text("its machine code: ", refused, "; its PTX: ", status.message())};
}

Status KernelStore::function(const std::string& module, const std::string& kernel,
                             Function* function) {
    std::shared_ptr<Slot> slot;
    {
        const std::lock_guard lock(mutex_);
        std::shared_ptr<Slot>& place = slots_[module];
        if (place == nullptr) place = std::make_shared<Slot>();
        slot = place;
    }
    const std::lock_guard lock(slot->mutex);
    if (slot->module == nullptr) FATTN_CUDA_RETURN_IF_ERROR(load(module, slot.get()));
    return slot->module->function(kernel, function);
}

std::string KernelStore::origin_of(const std::string& module) const {
    std::shared_ptr<Slot> slot;
    {
        const std::lock_guard lock(mutex_);
        const auto found = slots_.find(module);
        if (found == slots_.end()) return {};
        slot = found->second;
    }
    const std::lock_guard lock(slot->mutex);
    return slot->origin;
}

Status KernelStore::load(const std::string& name, Slot* slot) const {
    const KernelPacks& packs = *origins_.packs;
    std::string reasons;
    if (!packs.ptx_path.empty()) {
        const Status status =
            packs.ptx_status.ok() ? load_prebuilt(packs.ptx, name, slot) : packs.ptx_status;
        if (status.ok() || status.code() != StatusCode::kUnsupported) return status;
        reasons = text("PTX pack: ", status.message(), "; ");
    }
    const Status prebuilt = load_prebuilt(packs.images, name, slot);
    if (prebuilt.ok() || prebuilt.code() != StatusCode::kUnsupported) return prebuilt;
    const Status compiled = load_from_source(name, slot);
    if (compiled.ok()) return compiled;
    return {compiled.code(),
            text("the kernels ", name, " cannot run on CUDA device ", device_->properties().ordinal,
                 " (", device_->properties().name, ", sm_", device_->properties().architecture,
                 "): ", reasons, "prebuilt: ", prebuilt.message(),
                 "; from source: ", compiled.message())};
}

Status KernelStore::load_prebuilt(const ImagePack& pack, const std::string& name,
                                  Slot* slot) const {
    const int architecture = device_->properties().architecture;
    std::string refused;
    for (const std::size_t i : images_for(pack, name, architecture)) {
        const std::string& target = pack.entries()[i].target;
        std::string image;
        FATTN_CUDA_RETURN_IF_ERROR(pack.read(i, &image));
        const Status status = Module::load(device_, name, image, &slot->module);
        if (status.ok()) {
            slot->origin = text("prebuilt ", target);
            return status;
        }
        if (status.code() != StatusCode::kUnsupported) return status;
        refused += text(refused.empty() ? "" : ", ", target, ": ", status.message());
    }
    if (!refused.empty()) return {StatusCode::kUnsupported, refused};
    return {StatusCode::kUnsupported, text("images for sm_", architecture,
                                           " are none among those held: ", targets_of(pack, name))};
}

Status KernelStore::load_from_source(const std::string& name, Slot* slot) const {
    Program program;
    FATTN_CUDA_RETURN_IF_ERROR(source_program(origins_.packs->sources, name, &program));
    if (origins_.nvrtc == nullptr) {
        return {StatusCode::kUnsupported, origins_.nvrtc_status.message()};
    }
    FATTN_CUDA_RETURN_IF_ERROR(origins_.nvrtc->target_for(
        device_->properties().architecture, name.starts_with(kSpecificFolder), &program.target));
    CompiledProgram compiled;
    bool from_cache = false;
    FATTN_CUDA_RETURN_IF_ERROR(
        compile_cached(*origins_.nvrtc, origins_.cache, program, &compiled, &from_cache));
    FATTN_CUDA_RETURN_IF_ERROR(load_compiled(device_, name, compiled, &slot->module));
    slot->origin = text(from_cache ? "cache " : "NVRTC ", program.target);
    return {};
}

}  // namespace fattn::cuda
