# fattn_cuda_kernels(): what native/cuda/runtime embeds into the library, and the PTX pack for the virtual GPU.
#   <build>/cuda/images.pack            cubins and PTX of every native/cuda/device/**.cu; empty without a CUDA compiler
#   <build>/cuda/none.pack              the same without a kernel, for programs that need none
#   <build>/cuda/sources.pack           native/core/*.h and native/cuda/device/**, for NVRTC
#   <build>/virtual_gpu/fused_attention.ptxpack   PTX with line information, beside libcuda_virtual.so
#
# A .cu file is a module: images are called by its path in native/cuda/device without the ending, kernels by their extern "C"
# names in it. Files in sm90/ are made for sm_90a alone; all others are PTX for compute_80, which is assembled for sm_80 and
# sm_90a and which drivers of other GPUs compile. Sets FATTN_NVCC for the caller.
function(fattn_cuda_kernels)
  set(native "${PROJECT_SOURCE_DIR}/native")
  add_executable(fattn_pack_images "${native}/cuda/build/pack_images.cpp"
    "${native}/cuda/runtime/image_pack.cpp" "${native}/cuda/runtime/compression.cpp" "${native}/cuda/runtime/sha256.cpp")
  add_executable(fattn_strip_ptx_lines "${native}/cuda/build/strip_ptx_lines.cpp")
  fattn_compile_options(fattn_pack_images)
  fattn_compile_options(fattn_strip_ptx_lines)

  file(GLOB_RECURSE modules CONFIGURE_DEPENDS RELATIVE "${native}/cuda/device" "${native}/cuda/device/*.cu")
  set(images_LINES "")
  set(images_PTX_LINES "")
  set(images_FILES "")
  fattn_find_cuda_toolkit()
  set(FATTN_NVCC "${FATTN_NVCC}" PARENT_SCOPE)
  if(FATTN_NVCC)
    foreach(module IN LISTS modules)
      string(REGEX REPLACE "\\.cu$" "" name "${module}")
      if(name MATCHES "^sm90/")
        fattn_cuda_module(${name} PTX compute_90a CUBINS sm_90a RESULT images)
      else()
        fattn_cuda_module(${name} PTX compute_80 CUBINS sm_80 sm_90a RESULT images)
      endif()
    endforeach()
  endif()

  file(GLOB_RECURSE sources CONFIGURE_DEPENDS RELATIVE "${native}"
    "${native}/core/*.h" "${native}/cuda/device/*.h" "${native}/cuda/device/*.cu")
  set(source_lines "")
  foreach(source IN LISTS sources)
    list(APPEND source_lines "source ${source} - ${native}/${source}")
  endforeach()
  list(TRANSFORM sources PREPEND "${native}/")

  set(packs "${PROJECT_BINARY_DIR}/cuda")
  set(ptx_pack "${PROJECT_BINARY_DIR}/virtual_gpu/fused_attention.ptxpack")
  file(MAKE_DIRECTORY "${PROJECT_BINARY_DIR}/virtual_gpu")
  fattn_image_pack("${packs}/images.pack" SOURCES "${packs}/sources.pack" LINES ${images_LINES} DEPENDS ${images_FILES})
  fattn_image_pack("${packs}/none.pack" SOURCES "${packs}/sources.pack")
  fattn_image_pack("${packs}/sources.pack" LINES ${source_lines} DEPENDS ${sources})
  fattn_image_pack("${ptx_pack}" SOURCES "${packs}/sources.pack" LINES ${images_PTX_LINES} DEPENDS ${images_FILES})
  add_custom_target(fattn_kernel_packs ALL
    DEPENDS "${packs}/images.pack" "${packs}/sources.pack" "${ptx_pack}")
  # By itself: a batch of joined sources would not wait for the packs.
  set_source_files_properties("${native}/cuda/runtime/embedded.cpp" PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON
    OBJECT_DEPENDS "${packs}/images.pack;${packs}/none.pack;${packs}/sources.pack")
endfunction()
