# fattn_sanitized_variant(<target> <variant>): compiles a copy of the library's code with the variant's sanitizers and with
# asserts, or links a program with them. Only the library's code is compiled again: tests, comparers and the reference are
# linked as they are, which keeps the programs fast. Memory that tests allocate is still watched, for the sanitizers replace
# the allocator, and so are threads.
#
#   tsan   ThreadSanitizer, by the compiler of the build
#   asan   AddressSanitizer and UndefinedBehaviorSanitizer, with what libFuzzer wants to know of branches: the programs of
#          tests/fuzz have the same object files. By clang, whatever compiles the build: it has libFuzzer, and takes less than
#          half of GCC's time for it.
function(fattn_sanitized_variant target variant)
  if(variant STREQUAL "asan")
    set(sanitizers address,undefined)
    if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
      find_program(FATTN_CLANG NAMES clang++-14 clang++)
      if(NOT FATTN_CLANG)
        message(FATAL_ERROR "FATTN_SANITIZED_VARIANTS holds asan; it is compiled by clang++-14 or clang++; neither was found")
      endif()
      set(launcher "${PROJECT_SOURCE_DIR}/cmake/with_compiler.sh" "${FATTN_CLANG}" "${CMAKE_CXX_COMPILER}")
      set(launcher_of_all ${launcher} ${CMAKE_CXX_COMPILER_LAUNCHER})  # which is often empty
      set_target_properties(${target} PROPERTIES
        CXX_COMPILER_LAUNCHER "${launcher_of_all}" CXX_LINKER_LAUNCHER "${launcher}")
      # Flags that were chosen for the build's compiler; the last as fattn_compile_options has it for clang.
      target_compile_options(${target} PRIVATE -Wno-unknown-warning-option -Wno-sign-conversion)
    endif()
  elseif(variant STREQUAL "tsan")
    set(sanitizers thread)
  else()
    message(FATAL_ERROR "FATTN_SANITIZED_VARIANTS holds ${variant}; allowed are asan and tsan")
  endif()
  set_target_properties(${target} PROPERTIES EXCLUDE_FROM_ALL ON)
  # The loops of CPU targets run long enough to be worth optimising; for the rest compiling is what takes long.
  set(level -O0)
  if(target MATCHES "_target_")
    set(level -O1)
  endif()
  target_compile_options(${target} PRIVATE ${level} -g1 -UNDEBUG)
  fattn_sanitize(${target} ${sanitizers})
  if(variant STREQUAL "asan")
    target_compile_options(${target} PRIVATE -fsanitize=fuzzer-no-link)
  endif()
  get_target_property(type ${target} TYPE)
  if(type STREQUAL "EXECUTABLE")
    target_link_options(${target} PRIVATE -fsanitize=${sanitizers})
  endif()
endfunction()
