// Making and ending contexts. Called by the context functions.
#pragma once

#include "driver/driver.h"

namespace fattn::vgpu::driver {

std::shared_ptr<Context> make_context(Driver& state, Device& device, unsigned flags, bool primary);

// Runs what is pending, reports what was left behind, frees it, and ends every handle of the
// context.
void destroy_context(Driver& state, const std::shared_ptr<Context>& context);

// Frees a device block now.
void free_block(Driver& state, Allocation& allocation, const std::string& freed_by);

}  // namespace fattn::vgpu::driver
