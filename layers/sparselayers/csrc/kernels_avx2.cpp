// The kernels, compiled with this instruction set's flags (CMakeLists.txt).
#include "kernels_impl.h"

namespace sparsebench {
extern const Kernels avx2_kernels;
const Kernels avx2_kernels = all_kernels();
}  // namespace sparsebench
