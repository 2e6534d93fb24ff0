// Grow-only scratch blocks of CPU runs; see workspace.h for the contract.
#include "cpu/workspace.h"

#include <cstdint>
#include <new>

#include "backend/text.h"

namespace fattn::cpu {
namespace {

void free_block(WorkspacePool::Block block) {
    ::operator delete (block.data, std::align_val_t{kWorkspaceAlignment});
}

}  // namespace

WorkspacePool::~WorkspacePool() { trim(); }

WorkspacePool::Block WorkspacePool::take(uint64 bytes) {
    Block block;
    {
        const std::lock_guard lock(mutex_);
        largest_ = max_of(largest_, bytes);
        bytes = largest_;
        // Room for every block that is out, so that giving back never allocates.
        idle_.reserve(max_of<std::size_t>(idle_.size(), 1) + static_cast<std::size_t>(num_taken_));
        ++num_taken_;
        if (!idle_.empty()) {
            block = idle_.back();
            idle_.pop_back();
        }
    }
    if (block.bytes >= bytes) return block;
    free_block(block);
    block.data = ::operator new (bytes, std::align_val_t{kWorkspaceAlignment}, std::nothrow);
    block.bytes = block.data != nullptr ? bytes : 0;
    if (block.data == nullptr) {
        const std::lock_guard lock(mutex_);
        --num_taken_;
        largest_ = 0;  // one request beyond the machine must not spoil the later ones
    }
    return block;
}

void WorkspacePool::give_back(Block block) {
    const std::lock_guard lock(mutex_);
    --num_taken_;
    idle_.push_back(block);
}

void WorkspacePool::trim() {
    const std::lock_guard lock(mutex_);
    for (const Block& block : idle_) free_block(block);
    idle_.clear();
    largest_ = 0;
}

ScopedWorkspace::ScopedWorkspace(WorkspacePool& pool, const RunOptions& run, uint64 bytes)
    : pool_(pool) {
    if (bytes == 0) return;
    if (run.workspace == nullptr) {
        block_ = pool_.take(bytes);
        data_ = static_cast<std::byte*>(block_.data);
        if (data_ == nullptr) {
            status_ = Status(StatusCode::kOutOfMemory,
                             text("the run needs ", bytes,
                                  " bytes of workspace; the system has no such memory left"));
        }
        return;
    }
    if (run.workspace_bytes < bytes) {
        status_ = Status(StatusCode::kWorkspaceTooSmall,
                         text("run.workspace_bytes is ", run.workspace_bytes, "; this run needs ",
                              bytes, " (fattn_plan_workspace with the same max_threads)"));
    } else if (reinterpret_cast<std::uintptr_t>(run.workspace) % kWorkspaceAlignment != 0) {
        status_ = Status(StatusCode::kWorkspaceTooSmall,
                         text("run.workspace is not aligned; its address must be a multiple of ",
                              kWorkspaceAlignment));
    } else {
        data_ = static_cast<std::byte*>(run.workspace);
    }
}

ScopedWorkspace::~ScopedWorkspace() {
    if (block_.data != nullptr) pool_.give_back(block_);
}

}  // namespace fattn::cpu
