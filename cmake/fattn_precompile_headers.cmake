# fattn_precompile_headers(<target>): with FATTN_PRECOMPILE_HEADERS the files of a test program read GoogleTest and the
# standard headers that most of them include from one precompiled header, which fattn_test_support makes.
function(fattn_precompile_headers target)
  if(NOT FATTN_PRECOMPILE_HEADERS)
    return()
  endif()
  # A library's and a program's kind of position-independent code differ, and a precompiled header serves one of them:
  # without the property both are compiled the way the compiler does by itself.
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
  # Without this a compiler cache cannot know what a precompiled header holds.
  target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
  if(target STREQUAL "fattn_test_support")
    target_precompile_headers(${target} PRIVATE
      <gtest/gtest.h>
      <algorithm> <cmath> <cstring> <functional> <limits> <memory> <numeric> <random> <sstream> <string> <vector>)
  else()
    target_precompile_headers(${target} REUSE_FROM fattn_test_support)
  endif()
endfunction()
