# fattn_image_pack(<file> LINES <line>... DEPENDS <file>... [SOURCES <pack>])
# Writes an image pack, native/cuda/runtime/image_pack.h, of the files that the lines name; native/cuda/build/pack_images.cpp
# explains a line. SOURCES is the pack of sources that the images were compiled from.
function(fattn_image_pack file)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "SOURCES" "LINES;DEPENDS")
  list(JOIN arg_LINES "\n" text)
  file(CONFIGURE OUTPUT "${file}.list" CONTENT "${text}\n" @ONLY)
  add_custom_command(OUTPUT "${file}"
    COMMAND fattn_pack_images "${file}" "${file}.list" ${arg_SOURCES}
    DEPENDS fattn_pack_images "${file}.list" ${arg_DEPENDS} ${arg_SOURCES}
    COMMENT "Packing ${file}"
    VERBATIM)
endfunction()
