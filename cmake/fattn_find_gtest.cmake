# fattn_find_gtest(): GoogleTest as GTest::gtest and GTest::gtest_main. Natively the installed library; when cross-compiling, the
# sources that the distribution installs beside it, built for the target.
macro(fattn_find_gtest)
  if(CMAKE_CROSSCOMPILING)
    set(FATTN_GTEST_SOURCE /usr/src/googletest CACHE PATH "GoogleTest sources for cross builds")
    set(INSTALL_GTEST OFF)
    set(BUILD_GMOCK OFF)
    add_subdirectory("${FATTN_GTEST_SOURCE}" "${PROJECT_BINARY_DIR}/googletest" EXCLUDE_FROM_ALL)
    # Compiling it takes longer than it ever runs.
    target_compile_options(gtest PRIVATE -O1)
  else()
    find_package(GTest REQUIRED)
  endif()
endmacro()
