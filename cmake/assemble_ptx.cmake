# Script: assembles PTX for TARGET into CUBIN with PTXAS and keeps what ptxas says in REPORT. Run by fattn_cuda_module.
execute_process(
  COMMAND "${PTXAS}" -v -arch=${TARGET} -O3 "${PTX}" -o "${CUBIN}"
  RESULT_VARIABLE result
  OUTPUT_VARIABLE report
  ERROR_VARIABLE report)
file(WRITE "${REPORT}" "${report}")
if(NOT result EQUAL 0)
  message(FATAL_ERROR "ptxas failed on ${PTX} for ${TARGET}:\n${report}")
endif()
