// Elements of matrices as bits, drawn so that sums show how they were made. Used by the probes of
// products.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "cases/probes.h"

namespace fattn::vgpu {

struct ElementFormat {
    const char* name;
    uint32_t bytes;
    int exponent_bits, fraction_bits;  // of floats
    bool is_signed;                    // of integers
    uint32_t unused_bits = 0;          // below the fraction

    bool integer() const { return exponent_bits == 0; }
    int bias() const { return (1 << (exponent_bits - 1)) - 1; }
    int highest() const {  // e4m3 has numbers where others have infinities
        return (1 << exponent_bits) - (fraction_bits == 3 ? 1 : 2) - bias();
    }
    uint32_t sign_bit() const { return 1u << (exponent_bits + fraction_bits); }
};

inline constexpr ElementFormat kF16Elements = {"f16", 2, 5, 10, true};
inline constexpr ElementFormat kBf16Elements = {"bf16", 2, 8, 7, true};
inline constexpr ElementFormat kTf32Elements = {"tf32", 4, 8, 10, true, 13};
inline constexpr ElementFormat kE4m3Elements = {"e4m3", 1, 4, 3, true};
inline constexpr ElementFormat kE5m2Elements = {"e5m2", 1, 5, 2, true};
inline constexpr ElementFormat kS8Elements = {"s8", 1, 0, 0, true};
inline constexpr ElementFormat kU8Elements = {"u8", 1, 0, 0, false};
inline constexpr ElementFormat kF32Elements = {"f32", 4, 8, 23, true};

// What the elements of A and B and the accumulators are like.
enum class Spread {
    kNear,       // exponents of -1 to 1
    kWide,       // of -6 to 6
    kWider,      // of -12 to 12
    kCancels,    // of -4 to 4, accumulators of zero
    kLarge,      // accumulators far above the products
    kTiny,       // exponents at the lower end of the format
    kSparse,     // powers of two among zeros
    kSingle,     // one product in each sum
    kSpecial,    // infinities, NaNs and zeros among others
    kSubnormal,  // subnormal numbers among small ones
    kUntrimmed,  // bits set that the format does not have
    kFar,        // exponents from end to end of the format
};

inline constexpr const char* kSpreadNames[] = {"near",    "wide",      "wider",     "cancels",
                                               "large",   "tiny",      "sparse",    "single",
                                               "special", "subnormal", "untrimmed", "far"};

// A number of this exponent, or the nearest that the format has, with these bits as its fraction.
uint32_t element_bits(const ElementFormat& format, bool negative, int exponent, uint64_t fraction);
// `zero` says that the element is left out of a sum of one product.
uint32_t draw_element(const ElementFormat& format, Spread spread, Draw& draw, bool zero);
// Of a format of 16 or 32 bits, or s32.
uint32_t draw_accumulator(const std::string& format, const ElementFormat& of_elements,
                          Spread spread, Draw& draw);

}  // namespace fattn::vgpu
