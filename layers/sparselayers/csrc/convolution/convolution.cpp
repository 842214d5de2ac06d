// The convolution's kernels, compiled with the flags of each instruction set (CMakeLists.txt).
#include "correlate.h"

const sparsebench::Convolution sparsebench::SB_ISA::convolution = {convolution_of<float>(),
                                                                   convolution_of<double>()};
