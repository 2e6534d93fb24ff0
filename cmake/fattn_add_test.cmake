# fattn_add_test(<room>)
# One GoogleTest program per room, fattn_test_<room>: every tests/native/<room>/**/*_test.cpp and what the room keeps
# beside it. Programs link the library's object files, the reference and tests/native/support; the room "include", where
# the public door is tested, links the shared library instead. Programs land in <build>/tests, listed in programs.txt.
#
# A file <name>_for_<isa>.cpp is code of one CPU target: it is compiled with that target's flags and left out where the
# target is not built. Like native/cpu/target_<isa>.cpp it lets nothing out but one table, so a program holds code of every
# instruction set and calls what the processor has.
function(fattn_add_test room)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS
    "${PROJECT_SOURCE_DIR}/tests/native/${room}/*.cpp"
    "${PROJECT_SOURCE_DIR}/tests/native/${room}/*.c")
  set(tests ${sources})
  list(FILTER tests INCLUDE REGEX "_test\\.cpp$")
  if(NOT tests)
    return()
  endif()

  list(FILTER sources EXCLUDE REGEX "_for_[a-z0-9_]+\\.cpp$")
  get_property(isas GLOBAL PROPERTY FATTN_CPU_TARGETS_BUILT)
  foreach(isa IN LISTS isas)
    file(GLOB_RECURSE isa_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/native/${room}/*_for_${isa}.cpp")
    get_property(flags GLOBAL PROPERTY FATTN_CPU_TARGET_FLAGS_${isa})
    set_source_files_properties(${isa_sources} PROPERTIES COMPILE_OPTIONS "${flags}" SKIP_PRECOMPILE_HEADERS ON)
    list(APPEND sources ${isa_sources})
  endforeach()

  set(target fattn_test_${room})
  add_executable(${target} ${sources})
  fattn_compile_options(${target})
  target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}/tests/native")
  if(room STREQUAL "include")
    target_link_libraries(${target} PRIVATE fused_attention GTest::gtest_main)
  else()
    target_link_libraries(${target} PRIVATE fattn_test_support fattn_reference fattn_internal GTest::gtest_main)
    fattn_precompile_headers(${target})
  endif()
  set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/tests")
  file(APPEND "${PROJECT_BINARY_DIR}/tests/programs.txt" "${target}\n")
endfunction()
