// A small device for tests: memory with guard gaps, and PTX kernels launched over it. Used by every
// test file here.
#pragma once

#include <cstring>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "gpu/launch.h"
#include "gpu/memory.h"
#include "gpu/module.h"

namespace fattn::vgpu::test {

class Memory final : public DeviceMemory {
  public:
    // Blocks lie 4096 bytes apart at least, so that a step past the end of one meets nothing.
    uint64_t allocate(uint64_t bytes) {
        auto block = std::make_unique<Block>();
        block->bytes.assign(bytes, std::byte{0xa5});
        block->initialised.assign(bytes, 0);
        block->view = {next_, bytes, block->bytes.data(), block->initialised.data(), false};
        const uint64_t base = next_;
        next_ += (bytes + 8191) / 4096 * 4096;
        blocks_[base] = std::move(block);
        return base;
    }

    template <class T>
    uint64_t upload(const std::vector<T>& values) {
        const uint64_t base = allocate(values.size() * sizeof(T));
        Block& block = *blocks_[base];
        std::memcpy(block.bytes.data(), values.data(), block.bytes.size());
        std::fill(block.initialised.begin(), block.initialised.end(), uint8_t{0xff});
        return base;
    }

    template <class T>
    std::vector<T> download(uint64_t base) const {
        const Block& block = *blocks_.at(base);
        std::vector<T> made(block.bytes.size() / sizeof(T));
        std::memcpy(made.data(), block.bytes.data(), made.size() * sizeof(T));
        return made;
    }

    void release(uint64_t base) { blocks_[base]->freed = true; }
    bool initialised(uint64_t base, size_t offset) const {
        return blocks_.at(base)->initialised[offset] != 0;
    }

    const MemoryBlock* find(uint64_t address) override {
        const Block* block = holding(address);
        return block && !block->freed ? &block->view : nullptr;
    }
    std::string describe(uint64_t address) const override {
        const Block* block = holding(address);
        return block ? (block->freed ? "in a block that was freed" : "in a block that it leaves")
                     : "in no block";
    }
    bool was_freed(uint64_t address) const override {
        const Block* block = holding(address);
        return block && block->freed;
    }

  private:
    struct Block {
        std::vector<std::byte> bytes;
        std::vector<uint8_t> initialised;
        MemoryBlock view;
        bool freed = false;
    };
    const Block* holding(uint64_t address) const {
        auto after = blocks_.upper_bound(address);
        if (after == blocks_.begin()) return nullptr;
        const Block& block = *std::prev(after)->second;
        return address - block.view.base < block.view.size ? &block : nullptr;
    }

    std::map<uint64_t, std::unique_ptr<Block>> blocks_;
    uint64_t next_ = 0x200000000;
};

// Parameters one after the other, each aligned to its size.
class Arguments {
  public:
    template <class T>
    Arguments& add(T value) {
        bytes_.resize((bytes_.size() + sizeof(T) - 1) / sizeof(T) * sizeof(T));
        const size_t at = bytes_.size();
        bytes_.resize(at + sizeof(T));
        std::memcpy(bytes_.data() + at, &value, sizeof(T));
        return *this;
    }
    std::span<const std::byte> bytes() const { return bytes_; }

  private:
    std::vector<std::byte> bytes_;
};

// A module whose variables have been placed in memory.
class Kernel {
  public:
    Kernel(Memory& memory, const std::string& ptx, const DeviceModel& model = kSm90a,
           const std::string& file = "test.ptx")
        : module_(Module::load(ptx, file, model)) {
        std::vector<uint64_t> places;
        for (const VariableInfo& variable : module_->variables())
            places.push_back(memory.upload(variable.initial));
        module_->place_variables(places);
    }
    Module& module() { return *module_; }

    LaunchResult run(Memory& memory, Dim3 grid, Dim3 block, const Arguments& arguments,
                     uint32_t shared_bytes = 0, const LaunchOptions& options = {},
                     Dim3 cluster = {}) {
        Launch launch;
        launch.module = module_.get();
        launch.entry = &module_->entries()[0];
        launch.grid = grid;
        launch.block = block;
        launch.cluster = cluster;
        launch.dynamic_shared_bytes = shared_bytes;
        launch.parameters = arguments.bytes();
        launch.options = options;
        return run_grid(launch, memory);
    }

  private:
    std::unique_ptr<Module> module_;
};

}  // namespace fattn::vgpu::test
