// Text between the UTF-8 of this library and the UTF-16 of Windows; called by what talks to that
// system.
#pragma once

#include <string>
#include <string_view>

namespace fattn::cuda {

std::wstring utf16(std::string_view text);
std::string utf8(std::wstring_view text);

}  // namespace fattn::cuda
