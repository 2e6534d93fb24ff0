# fattn_compile_options(<target>): warnings, include paths and sanitizers shared by every native target of the project.
function(fattn_compile_options target)
  target_compile_features(${target} PUBLIC cxx_std_20 c_std_11)
  set_target_properties(${target} PROPERTIES
    C_EXTENSIONS OFF
    CXX_EXTENSIONS OFF
    POSITION_INDEPENDENT_CODE ON)
  target_include_directories(${target} PUBLIC
    "${PROJECT_SOURCE_DIR}/native/include"
    "${PROJECT_SOURCE_DIR}/native")

  target_compile_options(${target} PRIVATE
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion
    $<$<COMPILE_LANGUAGE:CXX>:-Wold-style-cast -Wnon-virtual-dtor -Woverloaded-virtual>
    $<$<BOOL:${FATTN_WARNINGS_AS_ERRORS}>:-Werror>
    # Clang counts signedness among conversions, GCC does not in C++: the project follows GCC.
    $<$<CXX_COMPILER_ID:Clang>:-Wno-sign-conversion>
    # GCC notes that passing vectors changed between its versions 4.6 and 10; nothing here crosses such a border.
    $<$<CXX_COMPILER_ID:GNU>:-Wno-psabi>)

  if(FATTN_SANITIZE)
    string(REPLACE ";" "," sanitizers "${FATTN_SANITIZE}")
    fattn_sanitize(${target} ${sanitizers})
    target_link_options(${target} PUBLIC -fsanitize=${sanitizers})
  endif()
endfunction()

# fattn_sanitize(<target> <sanitizer>,...): what every sanitized file is compiled with.
function(fattn_sanitize target sanitizers)
  target_compile_options(${target} PRIVATE
    -fsanitize=${sanitizers} -fno-sanitize-recover=all -fno-omit-frame-pointer
    # GCC's analysis loses track in instrumented code and then warns about the standard library's own headers.
    $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
endfunction()
