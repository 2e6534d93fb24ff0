// Fuzz target: the input chooses source, headers, options, target and log of a program, and a
// launch of its kernel with arguments right and wrong. A call succeeds or is refused with a
// sentence; texts and arguments are exactly as long as they say.
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "fake_device.h"

namespace fattn::fuzz {
namespace {

/// Texts of their own length, and pointers to them, now and then to nothing.
class Texts {
  public:
    Texts(Choices& in, const char* letters) {
        const auto count = static_cast<std::size_t>(in.number(0, 3));
        for (std::size_t n = 0; n < count; ++n) {
            const auto length = static_cast<std::size_t>(in.number(0, 12));
            auto text = std::make_unique<char[]>(length + 1);
            for (std::size_t i = 0; i < length; ++i) {
                text[i] = letters[static_cast<std::size_t>(in.byte()) % std::strlen(letters)];
            }
            texts_.push_back(std::move(text));
            pointers_.push_back(in.byte() < 245 ? texts_.back().get() : nullptr);
        }
    }
    const char* const* data() const { return pointers_.data(); }
    uint64_t size() const { return pointers_.size(); }

  private:
    std::vector<std::unique_ptr<char[]>> texts_;
    std::vector<const char*> pointers_;
};

const char* choose_target(Choices& in) {
    static constexpr const char* kTargets[] = {"sm_80",      "compute_80", "sm_90", "sm_99",
                                               "compute_12", "sm_",        "",      "gpu"};
    return in.byte() < 120 ? nullptr : kTargets[in.number(0, 7)];
}

void launch(Choices& in, fattn_kernel* kernel, fattn_stream* stream) {
    fattn_launch_args args{};
    args.struct_size = sizeof(args);
    args.flags = in.byte() < 240 ? 0 : in.byte();
    for (int axis = 0; axis < 3; ++axis) {
        args.grid[axis] = static_cast<uint32_t>(in.index(1));
        args.block[axis] = static_cast<uint32_t>(in.index(1));
        args.cluster[axis] = in.byte() < 230 ? 0 : static_cast<uint32_t>(in.index(1));
    }
    args.dynamic_shared_bytes = static_cast<uint32_t>(in.index(0));
    // The kernel of the fake driver takes 8, 4 and 1 bytes. Values are not larger than they say,
    // and where nothing is said as large as those.
    const uint64_t right[] = {8, 4, 1};
    const bool says_sizes = in.flag();
    const auto count = static_cast<std::size_t>(in.byte() < 200 ? 3 : in.number(0, 5));
    std::vector<std::unique_ptr<char[]>> values;
    std::vector<const void*> arguments;
    std::vector<uint64_t> sizes;
    for (std::size_t n = 0; n < count; ++n) {
        const uint64_t of_kernel = n < 3 ? right[n] : 8;
        const uint64_t bytes =
            says_sizes && in.byte() > 230 ? static_cast<uint64_t>(in.number(0, 9)) : of_kernel;
        values.push_back(std::make_unique<char[]>(bytes));
        arguments.push_back(in.byte() < 250 ? values.back().get() : nullptr);
        sizes.push_back(bytes);
    }
    args.arguments = in.byte() < 250 ? arguments.data() : nullptr;
    args.argument_bytes = says_sizes ? sizes.data() : nullptr;
    args.num_arguments = count;
    check(fattn_kernel_launch(kernel, in.byte() < 250 ? &args : nullptr, stream));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
    Choices in(data, size);
    const Texts source(in, "k(){}; #"), options(in, "-wrong=sm_");
    const Texts names(in, "a./h"), texts(in, "int; #"), expressions(in, "k<float>");
    fattn_compile_args args{};
    args.struct_size = sizeof(args);
    args.flags = static_cast<uint32_t>(in.index(in.flag()));
    args.source = source.size() > 0 ? source.data()[0] : nullptr;
    args.source_name = source.size() > 1 ? source.data()[1] : nullptr;
    args.options = in.byte() < 245 ? options.data() : nullptr;
    args.num_options = options.size();
    args.header_names = names.data();
    args.header_texts = texts.data();
    args.num_headers = names.size() < texts.size() ? names.size() : texts.size();
    args.expressions = expressions.data();
    args.num_expressions = expressions.size();
    args.target = choose_target(in);
    const auto room = static_cast<std::size_t>(in.number(0, 40));
    const std::unique_ptr<char[]> log(new char[room]);
    args.log = in.flag() ? log.get() : nullptr;
    args.log_bytes = room;

    fattn_module* module = nullptr;
    fattn_device* const device = in.byte() < 240 ? fake_device(in.flag()) : cpu();
    const fattn_status status = fattn_module_compile(device, &args, &module);
    check(status);
    require((status == FATTN_STATUS_OK) == (module != nullptr));
    if (module == nullptr) return 0;
    fattn_module_description description{};
    description.struct_size = sizeof(description);
    require(fattn_module_info(module, &description) == FATTN_STATUS_OK);
    require(std::strlen(description.ptx) > 0 && std::strlen(description.target) > 0);

    fattn_kernel* kernel = nullptr;
    const char* const name = expressions.size() > 0 && in.flag() ? expressions.data()[0] : "k";
    check(fattn_module_kernel(module, in.byte() < 230 ? name : "unknown", &kernel));
    fattn_module_release(module);
    fattn_stream* stream = nullptr;
    if (in.byte() < 250) {
        require(fattn_stream_create(fake_device(in.byte() < 240 ? 0 : 1), 0, &stream) ==
                FATTN_STATUS_OK);
    }
    launch(in, kernel, stream);
    fattn_stream_release(stream);
    fattn_kernel_release(kernel);
    return 0;
}

}  // namespace fattn::fuzz
