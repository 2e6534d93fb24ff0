# fattn_hide_symbols(<target>): internal symbols stay out of the shared library's export table.
function(fattn_hide_symbols target)
  set_target_properties(${target} PROPERTIES
    CXX_VISIBILITY_PRESET hidden
    VISIBILITY_INLINES_HIDDEN ON)
  target_compile_definitions(${target} PRIVATE FATTN_BUILDING_LIBRARY)
endfunction()
