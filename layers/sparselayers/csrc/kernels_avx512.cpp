// The kernels, compiled with this instruction set's flags (CMakeLists.txt).
#include "kernels_impl.h"

namespace sparsebench {
extern const Kernels avx512_kernels;
const Kernels avx512_kernels = all_kernels();
}  // namespace sparsebench
