// Which modifiers go together: tables of forms that an opcode's spelling is held against. Used by
// decoders whose modifiers depend on each other.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "exec/decoding.h"

namespace fattn::vgpu {

// A form is slots with a space between them, each of words of which one stands there, with commas
// between; one of a slot that begins with ? may be missing. Words with a point between come
// together: "test_wait ?acquire.cta,acquire.cluster ?shared b64". As for the assembler, modifiers
// may come in any order.
using Forms = std::span<const std::string_view>;

// Fails the load, naming the forms, when the instruction's modifiers, or those of them that `words`
// are, are none of them.
void need_form(const Decoding& d, Forms forms);
void need_form(const Decoding& d, const std::vector<std::string_view>& words, Forms forms);

}  // namespace fattn::vgpu
