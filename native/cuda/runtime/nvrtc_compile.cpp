// One compilation: program in, PTX, machine code, log and symbols out.
#include "backend/text.h"
#include "cuda/runtime/error.h"
#include "cuda/runtime/nvrtc.h"
#include "cuda/runtime/nvrtc_functions.h"

namespace fattn::cuda {
namespace {

/// A program of NVRTC for as long as the object lives.
class ProgramHandle {
  public:
    explicit ProgramHandle(const NvrtcFunctions& call) : call_(call) {}
    ~ProgramHandle() {
        if (program_ != nullptr) static_cast<void>(call_.destroy_program(&program_));
    }
    ProgramHandle(const ProgramHandle&) = delete;
    ProgramHandle& operator=(const ProgramHandle&) = delete;

    NvrtcProgram* address() { return &program_; }
    NvrtcProgram get() const { return program_; }

  private:
    const NvrtcFunctions& call_;
    NvrtcProgram program_ = nullptr;
};

Status failure(const NvrtcFunctions& call, NvrtcResult result, const char* operation,
               const Program& program) {
    const StatusCode code =
        result == NvrtcResult::kOutOfMemory ? StatusCode::kOutOfMemory
        : result == NvrtcResult::kInvalidOption || result == NvrtcResult::kCompilation
            ? StatusCode::kInvalidArgument
            : StatusCode::kInternal;
    return {code, text(operation, " ", program.source.name, " for ", program.target,
                       " failed with ", call.error_string(result))};
}

/// Reads one of NVRTC's texts; the zero at its end is not kept.
Status read(const NvrtcFunctions& call, const ProgramHandle& handle,
            NvrtcResult (*size_of)(NvrtcProgram, std::size_t*),
            NvrtcResult (*get)(NvrtcProgram, char*), const Program& program, std::string* out) {
    std::size_t size = 0;
    NvrtcResult result = size_of(handle.get(), &size);
    if (result == NvrtcResult::kSuccess) {
        out->assign(size, '\0');
        if (size > 0) result = get(handle.get(), out->data());
    }
    return result == NvrtcResult::kSuccess
               ? Status()
               : failure(call, result, "reading the result of", program);
}

void drop_zeros(std::string* text) {
    while (!text->empty() && text->back() == '\0') text->pop_back();
}

}  // namespace

Status Nvrtc::compile(const Program& program, CompiledProgram* compiled) const {
    const NvrtcFunctions& call = *call_;
    std::vector<const char*> texts, names, options;
    for (const SourceText& header : program.headers) {
        texts.push_back(header.text.c_str());
        names.push_back(header.name.c_str());
    }
    const std::string architecture = "--gpu-architecture=" + program.target;
    options.push_back(architecture.c_str());
    for (const std::string& option : program.options) options.push_back(option.c_str());

    ProgramHandle handle(call);
    NvrtcResult result = call.create_program(
        handle.address(), program.source.text.c_str(), program.source.name.c_str(),
        static_cast<int>(texts.size()), texts.data(), names.data());
    for (const std::string& expression : program.expressions) {
        if (result != NvrtcResult::kSuccess) break;
        result = call.add_name_expression(handle.get(), expression.c_str());
    }
    if (result != NvrtcResult::kSuccess) return failure(call, result, "preparing", program);

    result = call.compile_program(handle.get(), static_cast<int>(options.size()), options.data());
    CompiledProgram made;
    FATTN_CUDA_RETURN_IF_ERROR(read(call, handle, call.log_size, call.log, program, &made.log));
    drop_zeros(&made.log);
    if (result != NvrtcResult::kSuccess) {
        compiled->log = made.log;
        const Status failed = failure(call, result, "compiling", program);
        return {failed.code(), text(failed.message(), "; the compiler says:\n", made.log)};
    }
    FATTN_CUDA_RETURN_IF_ERROR(read(call, handle, call.ptx_size, call.ptx, program, &made.ptx));
    drop_zeros(&made.ptx);
    FATTN_CUDA_RETURN_IF_ERROR(
        read(call, handle, call.cubin_size, call.cubin, program, &made.cubin));
    for (const std::string& expression : program.expressions) {
        const char* symbol = nullptr;
        result = call.lowered_name(handle.get(), expression.c_str(), &symbol);
        if (result != NvrtcResult::kSuccess) {
            return failure(call, result, text("finding ", expression, " in").c_str(), program);
        }
        made.symbols.emplace_back(symbol);
    }
    *compiled = std::move(made);
    return {};
}

}  // namespace fattn::cuda
