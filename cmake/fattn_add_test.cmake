# fattn_add_test(<room>)
# One GoogleTest program per room, fattn_test_<room>: every tests/native/<room>/**/*_test.cpp and what the room keeps
# beside it. Programs link the library's object files, the reference and tests/native/support; the room "include", where
# the public door is tested, links the shared library instead. Programs land in <build>/tests, listed in programs.txt.
#
# For each of FATTN_SANITIZED_VARIANTS the same object files are linked with the library's sanitized ones; those programs
# land in <build>/tests/<variant>, and tests_<variant> builds them.
#
# Files <name>_posix_test.cpp are left out on Windows, <name>_windows_test.cpp everywhere else.
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
  if(WIN32)
    list(FILTER sources EXCLUDE REGEX "_posix_test\\.cpp$")
  else()
    list(FILTER sources EXCLUDE REGEX "_windows_test\\.cpp$")
  endif()
  get_property(isas GLOBAL PROPERTY FATTN_CPU_TARGETS_BUILT)
  foreach(isa IN LISTS isas)
    file(GLOB_RECURSE isa_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/native/${room}/*_for_${isa}.cpp")
    get_property(flags GLOBAL PROPERTY FATTN_CPU_TARGET_FLAGS_${isa})
    set_source_files_properties(${isa_sources} PROPERTIES COMPILE_OPTIONS "${flags}" SKIP_PRECOMPILE_HEADERS ON)
    list(APPEND sources ${isa_sources})
  endforeach()

  set(objects fattn_tests_of_${room})
  add_library(${objects} OBJECT ${sources})
  fattn_compile_options(${objects})
  target_include_directories(${objects} PRIVATE "${PROJECT_SOURCE_DIR}/tests/native")
  # What a test does besides calling the library is short; compiling it is not.
  target_compile_options(${objects} PRIVATE
    $<$<CONFIG:Release>:-O1>
    # GCC 12 at this level believes that strings which it sees moved from are read past their end.
    $<$<CXX_COMPILER_ID:GNU>:-Wno-array-bounds -Wno-stringop-overread -Wno-stringop-overflow>)

  set(target fattn_test_${room})
  add_executable(${target} $<TARGET_OBJECTS:${objects}>)
  set_target_properties(${target} PROPERTIES LINKER_LANGUAGE CXX RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/tests")
  set_property(GLOBAL APPEND_STRING PROPERTY FATTN_TEST_PROGRAMS "${target}\n")
  if(room STREQUAL "include")
    target_link_libraries(${objects} PRIVATE fused_attention GTest::gtest)
    target_link_libraries(${target} PRIVATE fused_attention GTest::gtest_main)
    return()
  endif()
  target_link_libraries(${objects} PRIVATE fattn_test_support fattn_reference fattn_internal)
  target_link_libraries(${target} PRIVATE fattn_test_support fattn_reference fattn_internal GTest::gtest_main)
  fattn_precompile_headers(${objects})

  # What these rooms test is in headers or no part of the library: there is nothing to sanitize.
  if(room MATCHES "^(core|reference)$")
    return()
  endif()
  foreach(variant IN LISTS FATTN_SANITIZED_VARIANTS)
    get_property(of_targets GLOBAL PROPERTY FATTN_OBJECTS_OF_${variant})
    # The library's files come first: of an inline function that both have, the sanitized copy is then linked.
    add_executable(${target}_${variant}
      $<TARGET_OBJECTS:fattn_${variant}_objects> ${of_targets} $<TARGET_OBJECTS:${objects}>
      $<$<TARGET_EXISTS:fattn_embedded>:$<TARGET_OBJECTS:fattn_embedded>>)
    # As a file, which does not bring the library's plain object files along.
    target_link_libraries(${target}_${variant} PRIVATE
      $<TARGET_FILE:fattn_test_support> fattn_reference GTest::gtest_main GTest::gtest Threads::Threads ${CMAKE_DL_LIBS})
    set_target_properties(${target}_${variant} PROPERTIES
      LINKER_LANGUAGE CXX OUTPUT_NAME ${target} RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/tests/${variant}")
    fattn_sanitized_variant(${target}_${variant} ${variant})
    add_dependencies(${target}_${variant} fattn_test_support)
    add_dependencies(tests_${variant} ${target}_${variant})
    set_property(GLOBAL APPEND_STRING PROPERTY FATTN_TEST_PROGRAMS_${variant} "${target}\n")
  endforeach()
endfunction()
