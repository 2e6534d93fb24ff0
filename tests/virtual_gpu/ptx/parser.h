// Reads a PTX text into the structs of syntax.h. Called by Module::load.
#pragma once

#include <string>
#include <string_view>

#include "ptx/syntax.h"

namespace fattn::vgpu::ptx {

// The result refers to `text`. Throws LoadError, in which `file` is named.
Module parse(std::string_view text, const std::string& file);

}  // namespace fattn::vgpu::ptx
