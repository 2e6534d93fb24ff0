# fattn_add_cpu_target(<isa> ARCHITECTURES <cpu>... [FLAGS <flag>...])
# Compiles native/cpu/target_<isa>.cpp with its own instruction-set flags and adds it to the library, when the processor
# architecture fits and FATTN_CPU_TARGETS asks for it. The dispatcher then sees FATTN_HAS_TARGET_<ISA>.
#
# Only these files get -m flags. Each is an object library of its own, so that tests/checks/target_symbols.sh can prove
# that nothing but its one table leaves the file: a weak symbol could make the linker pick an AVX-512 copy for everybody.
function(fattn_add_cpu_target isa)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "ARCHITECTURES;FLAGS")
  if(NOT "any" IN_LIST arg_ARCHITECTURES AND NOT CMAKE_SYSTEM_PROCESSOR IN_LIST arg_ARCHITECTURES)
    return()
  endif()
  if(NOT "all" IN_LIST FATTN_CPU_TARGETS AND NOT isa IN_LIST FATTN_CPU_TARGETS)
    return()
  endif()

  set(target fattn_target_${isa})
  add_library(${target} OBJECT "${PROJECT_SOURCE_DIR}/native/cpu/target_${isa}.cpp")
  fattn_compile_options(${target})
  fattn_hide_symbols(${target})
  set_target_properties(${target} PROPERTIES UNITY_BUILD OFF)
  # Loops run long enough to be worth optimising; with sanitizers more than this takes long to compile.
  set(level $<$<CONFIG:Release>:-O3>)
  if(FATTN_SANITIZE)
    set(level -O1)
  endif()
  set(flags
    ${arg_FLAGS}
    ${level}
    -fno-exceptions -fno-rtti -fno-math-errno
    # A product and a sum fuse only where the source says so, in every target including scalar: the result is then the
    # same for every compiler and optimisation level. Never -ffast-math: infinities and NaN have a meaning here.
    -ffp-contract=off
    # Windows aligns stacks to 16 bytes, and GCC does not align what it keeps there further (GCC bug 54412): moves of whole
    # vectors then must not ask for it.
    $<$<AND:$<BOOL:${WIN32}>,$<CXX_COMPILER_ID:GNU>>:-Wa,-muse-unaligned-vector-move>)
  target_compile_options(${target} PRIVATE ${flags})
  # Tests compile the target's vocabulary with the same flags: see fattn_add_test.
  set_property(GLOBAL APPEND PROPERTY FATTN_CPU_TARGETS_BUILT ${isa})
  set_property(GLOBAL PROPERTY FATTN_CPU_TARGET_FLAGS_${isa} "${flags}")

  string(TOUPPER "FATTN_HAS_TARGET_${isa}" has_target)
  target_compile_definitions(fattn_objects PRIVATE ${has_target})
  target_compile_definitions(fattn_internal PUBLIC ${has_target})
  target_sources(fused_attention PRIVATE $<TARGET_OBJECTS:${target}>)
  target_sources(fattn_internal PRIVATE $<TARGET_OBJECTS:${target}>)

  if(NOT isa IN_LIST FATTN_SANITIZED_TARGETS)
    return()
  endif()
  foreach(variant IN LISTS FATTN_SANITIZED_VARIANTS)
    # Threads meet in the same way on every target: tests of threads run on the best one, and this is linked as it is.
    if(variant STREQUAL "tsan" AND isa STREQUAL "scalar")
      target_compile_definitions(fattn_tsan_objects PRIVATE ${has_target})
      set_property(GLOBAL APPEND PROPERTY FATTN_OBJECTS_OF_tsan $<TARGET_OBJECTS:${target}>)
      continue()
    endif()
    set(copy fattn_${variant}_target_${isa})
    add_library(${copy} OBJECT "${PROJECT_SOURCE_DIR}/native/cpu/target_${isa}.cpp")
    fattn_compile_options(${copy})
    fattn_hide_symbols(${copy})
    set_target_properties(${copy} PROPERTIES UNITY_BUILD OFF)
    target_compile_options(${copy} PRIVATE ${flags})
    fattn_sanitized_variant(${copy} ${variant})
    target_compile_definitions(fattn_${variant}_objects PRIVATE ${has_target})
    set_property(GLOBAL APPEND PROPERTY FATTN_OBJECTS_OF_${variant} $<TARGET_OBJECTS:${copy}>)
  endforeach()
endfunction()
