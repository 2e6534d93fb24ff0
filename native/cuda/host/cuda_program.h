// Compiles and loads a program of the user's on a GPU; called by CudaWork.
#pragma once

#include <memory>
#include <string>

#include "backend/device_program.h"
#include "cuda/runtime/kernel_store.h"

namespace fattn::cuda {

/// *log is written on success and when the compiler refuses the program.
Status compile_program(std::shared_ptr<const Device> device, const ImageOrigins& origins,
                       const ProgramSource& source, std::string* log,
                       std::unique_ptr<DeviceProgram>* program);

}  // namespace fattn::cuda
