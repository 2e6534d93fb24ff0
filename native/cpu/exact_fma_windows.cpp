// The function that compilers call for a fused multiply-add where the target has no instruction, in
// place of that of MinGW's library, which rounds twice.
#include <math.h>

#include "cpu/exact_fma.h"

extern "C" float fmaf(float a, float b, float c) { return fattn::cpu::exact_fma(a, b, c); }
