# fattn_add_fuzzer(<name> <source>...)
# A libFuzzer program, fattn_fuzz_<name>, against the library's object files of the variant asan and a library that holds no
# compiled kernels. Lands in <build>/fuzz; the target `fuzzers` builds all of them.
function(fattn_add_fuzzer name)
  set(target fattn_fuzz_${name})
  get_property(of_targets GLOBAL PROPERTY FATTN_OBJECTS_OF_asan)
  add_executable(${target} ${ARGN} $<TARGET_OBJECTS:fattn_asan_objects> ${of_targets}
    $<$<TARGET_EXISTS:fattn_embedded_sources>:$<TARGET_OBJECTS:fattn_embedded_sources>>)
  fattn_compile_options(${target})
  fattn_sanitized_variant(${target} asan)
  target_link_libraries(${target} PRIVATE Threads::Threads ${CMAKE_DL_LIBS})
  target_link_options(${target} PRIVATE -fsanitize=fuzzer)
  set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/fuzz")
  if(NOT TARGET fuzzers)
    add_custom_target(fuzzers)
  endif()
  add_dependencies(fuzzers ${target})
endfunction()
