# fattn_sanitized_variant(<target> <variant>): compiles a copy of the library's code with the variant's sanitizers and with
# asserts, or links a program with them. Only the library's code is compiled again: tests, comparers and the reference are
# linked as they are, which keeps the programs fast. Memory that tests allocate is still watched, for the sanitizers replace
# the allocator, and so are threads.
function(fattn_sanitized_variant target variant)
  if(variant STREQUAL "asan")
    set(sanitizers address,undefined)
  elseif(variant STREQUAL "tsan")
    set(sanitizers thread)
  else()
    message(FATAL_ERROR "FATTN_SANITIZED_VARIANTS holds ${variant}; allowed are asan and tsan")
  endif()
  set_target_properties(${target} PROPERTIES EXCLUDE_FROM_ALL ON)
  get_target_property(type ${target} TYPE)
  if(type STREQUAL "EXECUTABLE")
    target_link_options(${target} PRIVATE -fsanitize=${sanitizers})
  else()
    # The loops of CPU targets run long enough to be worth optimising; for the rest compiling is what takes long.
    set(level -O0)
    if(target MATCHES "_target_")
      set(level -O1)
    endif()
    target_compile_options(${target} PRIVATE ${level} -g1 -UNDEBUG)
    fattn_sanitize(${target} ${sanitizers})
  endif()
endfunction()
