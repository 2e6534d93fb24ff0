# fattn_add_library(): the library in its two forms, and the double-precision reference that only tests link.
#   fattn_objects     the object files of native/{api,core,plan,backend,cpu} and, under FATTN_CUDA, native/cuda/{runtime,host};
#                     fattn_add_cpu_target adds its own beside them
#   fattn_embedded    under FATTN_CUDA, the object file that holds kernels and their sources: what waits for them to be compiled
#                     is this file alone
#   fattn_embedded_sources   the same without compiled kernels, for programs that need none
#   fused_attention   the shared library that is shipped: exports only what the public header declares
#   fattn_internal    the same object files with every internal symbol in reach: what native tests and fuzz targets link
#   fattn_reference   native/reference, part of neither
#   fattn_<variant>_objects   for each of FATTN_SANITIZED_VARIANTS the object files once more, see fattn_sanitized_variant
function(fattn_add_library)
  find_package(Threads REQUIRED)
  include(GNUInstallDirs)

  set(sources "")
  set(rooms api core plan backend cpu)
  if(FATTN_CUDA)
    list(APPEND rooms cuda/runtime cuda/host)
  endif()
  foreach(room IN LISTS rooms)
    file(GLOB_RECURSE room_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/native/${room}/*.cpp")
    list(APPEND sources ${room_sources})
  endforeach()
  set(embedded "${PROJECT_SOURCE_DIR}/native/cuda/runtime/embedded.cpp")
  list(FILTER sources EXCLUDE REGEX "/native/cpu/target_[a-z0-9_]+\\.cpp$")
  list(REMOVE_ITEM sources "${embedded}")
  # A file for one kind of system says so in its name.
  if(WIN32)
    list(FILTER sources EXCLUDE REGEX "_posix\\.cpp$")
    # The system's header gives common words another meaning, for all files that are compiled with it.
    set(with_windows_header ${sources})
    list(FILTER with_windows_header INCLUDE REGEX "(_windows|/dynamic_library)\\.cpp$")
    set_source_files_properties(${with_windows_header} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  else()
    list(FILTER sources EXCLUDE REGEX "_windows\\.cpp$")
  endif()

  # Sanitized copies are not optimised otherwise, and these go over every byte of the kernel images.
  set_source_files_properties(
    "${PROJECT_SOURCE_DIR}/native/cuda/runtime/compression.cpp" "${PROJECT_SOURCE_DIR}/native/cuda/runtime/sha256.cpp"
    PROPERTIES COMPILE_OPTIONS $<$<CONFIG:Release>:-O2> SKIP_UNITY_BUILD_INCLUSION ON)

  set(copies fattn_objects)
  foreach(variant IN LISTS FATTN_SANITIZED_VARIANTS)
    list(APPEND copies fattn_${variant}_objects)
  endforeach()
  foreach(copy IN LISTS copies)
    add_library(${copy} OBJECT ${sources})
    fattn_compile_options(${copy})
    fattn_hide_symbols(${copy})
    target_compile_definitions(${copy} PRIVATE FATTN_VERSION="${PROJECT_VERSION}" $<$<BOOL:${FATTN_CUDA}>:FATTN_HAS_CUDA>)
    # Loops that matter are in the CPU targets; -O3 takes the rest longer to compile by two thirds and makes nothing faster.
    target_compile_options(${copy} PRIVATE $<$<CONFIG:Release>:-O2>)
  endforeach()
  foreach(variant IN LISTS FATTN_SANITIZED_VARIANTS)
    fattn_sanitized_variant(fattn_${variant}_objects ${variant})
  endforeach()

  set(shipped $<TARGET_OBJECTS:fattn_objects>)
  if(FATTN_CUDA)
    foreach(copy IN ITEMS fattn_embedded fattn_embedded_sources)
      add_library(${copy} OBJECT "${embedded}")
      fattn_compile_options(${copy})
      fattn_hide_symbols(${copy})
    endforeach()
    set_target_properties(fattn_embedded_sources PROPERTIES EXCLUDE_FROM_ALL ON)
    set(packs "${PROJECT_BINARY_DIR}/cuda")
    target_compile_definitions(fattn_embedded PRIVATE
      FATTN_IMAGE_PACK="${packs}/images.pack" FATTN_SOURCE_PACK="${packs}/sources.pack")
    target_compile_definitions(fattn_embedded_sources PRIVATE
      FATTN_IMAGE_PACK="${packs}/none.pack" FATTN_SOURCE_PACK="${packs}/sources.pack")
    list(APPEND shipped $<TARGET_OBJECTS:fattn_embedded>)
  endif()

  add_library(fused_attention SHARED ${shipped})
  target_link_libraries(fused_attention PRIVATE Threads::Threads ${CMAKE_DL_LIBS})
  set(exports "${PROJECT_SOURCE_DIR}/cmake/exports.map")
  set_target_properties(fused_attention PROPERTIES LINKER_LANGUAGE CXX LINK_DEPENDS "${exports}")
  target_include_directories(fused_attention PUBLIC "${PROJECT_SOURCE_DIR}/native/include")
  if(WIN32)
    # One file that needs the system's libraries alone; FATTN_API says what it exports.
    set_target_properties(fused_attention PROPERTIES PREFIX "")
    target_link_options(fused_attention PRIVATE -static)
  else()
    target_link_options(fused_attention PRIVATE
      "LINKER:--version-script=${exports}"
      # Worker threads run this library's code for as long as the process lives, so dlclose must not unmap it.
      "LINKER:-z,nodelete")
  endif()
  if(FATTN_SANITIZE)
    target_link_options(fused_attention PRIVATE -fsanitize=${FATTN_SANITIZE})
  elseif(NOT WIN32)
    # One file that loads wherever the C library is at least as new as the one it was built with.
    target_link_options(fused_attention PRIVATE -static-libstdc++ -static-libgcc "LINKER:-z,defs")
  endif()
  install(TARGETS fused_attention LIBRARY DESTINATION lib RUNTIME DESTINATION bin)
  install(DIRECTORY "${PROJECT_SOURCE_DIR}/native/include/" DESTINATION include FILES_MATCHING PATTERN "*.h")

  add_library(fattn_internal STATIC ${shipped})
  target_link_libraries(fattn_internal PUBLIC Threads::Threads ${CMAKE_DL_LIBS})
  set_target_properties(fattn_internal PROPERTIES LINKER_LANGUAGE CXX)
  target_include_directories(fattn_internal PUBLIC
    "${PROJECT_SOURCE_DIR}/native/include" "${PROJECT_SOURCE_DIR}/native")
  target_compile_definitions(fattn_internal PUBLIC $<$<BOOL:${WIN32}>:FATTN_STATIC_LIBRARY>)

  file(GLOB_RECURSE reference_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/native/reference/*.cpp")
  add_library(fattn_reference STATIC EXCLUDE_FROM_ALL ${reference_sources})
  fattn_compile_options(fattn_reference)
endfunction()
