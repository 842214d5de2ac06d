// The convolution's kernels, compiled with this instruction set's flags (CMakeLists.txt).
#include "correlate.h"

namespace sparsebench {
const Convolution scalar_convolution = {convolution_of<float>(), convolution_of<double>()};
}  // namespace sparsebench
