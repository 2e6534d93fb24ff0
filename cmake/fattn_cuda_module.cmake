# fattn_cuda_module(<name> PTX <architecture> CUBINS <target>... RESULT <variable>)
# Compiles native/cuda/device/<name>.cu once to PTX, as <architecture> (compute_80), and assembles it, without its line
# information, for each <target> (sm_80). Everything lands in <build>/cuda: <name>.lines.ptx as the compiler made it,
# <name>.ptx without lines, <name>.<target>.cubin and what ptxas reports of it, <name>.<target>.txt, which tests/checks/cuda_resources.py reads. Appends lines for fattn_image_pack to the variables
# <variable>_LINES (PTX without line information, cubins) and <variable>_PTX_LINES (PTX with it), and the files to
# <variable>_FILES.
function(fattn_cuda_module name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "PTX;RESULT" "CUBINS")
  set(source "native/cuda/device/${name}.cu")
  set(base "${PROJECT_BINARY_DIR}/cuda/${name}")
  get_filename_component(folder "${base}" DIRECTORY)
  file(MAKE_DIRECTORY "${folder}")

  # Compiled from the tree's root by a relative path, so that line information holds no path of the machine.
  add_custom_command(OUTPUT "${base}.lines.ptx"
    COMMAND "${FATTN_NVCC}" -ptx -std=c++20 -O3 -lineinfo -Werror all-warnings
      -gencode=arch=${arg_PTX},code=${arg_PTX} -I native -MD -MF "${base}.d" -o "${base}.lines.ptx" "${source}"
    COMMAND "${CMAKE_COMMAND}" -D "DEPFILE=${base}.d" -D "ROOT=${PROJECT_SOURCE_DIR}"
      -P "${PROJECT_SOURCE_DIR}/cmake/absolute_depfile.cmake"
    DEPENDS "${PROJECT_SOURCE_DIR}/${source}" "${PROJECT_SOURCE_DIR}/cmake/absolute_depfile.cmake"
    DEPFILE "${base}.d"
    WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}"
    COMMENT "PTX of ${name}"
    VERBATIM)
  add_custom_command(OUTPUT "${base}.ptx"
    COMMAND fattn_strip_ptx_lines "${base}.lines.ptx" "${base}.ptx"
    DEPENDS fattn_strip_ptx_lines "${base}.lines.ptx"
    COMMENT "PTX of ${name} without lines"
    VERBATIM)
  set(lines ${${arg_RESULT}_LINES} "ptx ${name} ${arg_PTX} ${base}.ptx")
  set(files ${${arg_RESULT}_FILES} "${base}.ptx" "${base}.lines.ptx")
  foreach(target IN LISTS arg_CUBINS)
    set(cubin "${base}.${target}.cubin")
    add_custom_command(OUTPUT "${cubin}" "${base}.${target}.txt"
      COMMAND "${CMAKE_COMMAND}" -D "PTXAS=${FATTN_PTXAS}" -D "PTX=${base}.ptx" -D "TARGET=${target}"
        -D "CUBIN=${cubin}" -D "REPORT=${base}.${target}.txt" -P "${PROJECT_SOURCE_DIR}/cmake/assemble_ptx.cmake"
      DEPENDS "${base}.ptx" "${PROJECT_SOURCE_DIR}/cmake/assemble_ptx.cmake"
      COMMENT "Machine code of ${name} for ${target}"
      VERBATIM)
    list(APPEND lines "cubin ${name} ${target} ${cubin}")
    list(APPEND files "${cubin}")
  endforeach()
  set(${arg_RESULT}_LINES "${lines}" PARENT_SCOPE)
  set(${arg_RESULT}_PTX_LINES ${${arg_RESULT}_PTX_LINES} "ptx ${name} ${arg_PTX} ${base}.lines.ptx" PARENT_SCOPE)
  set(${arg_RESULT}_FILES "${files}" PARENT_SCOPE)
endfunction()
