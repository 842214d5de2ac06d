// The instruction sets that loops were compiled for, the narrowest first: SB_EACH_SET(DO) is DO(name)
// for each. CMakeLists.txt says which.
#pragma once

#ifdef SB_WITH_scalar
#define SB_SCALAR(DO) DO(scalar)
#else
#define SB_SCALAR(DO)
#endif
#ifdef SB_WITH_avx2
#define SB_AVX2(DO) DO(avx2)
#else
#define SB_AVX2(DO)
#endif
#ifdef SB_WITH_avx512
#define SB_AVX512(DO) DO(avx512)
#else
#define SB_AVX512(DO)
#endif
#define SB_EACH_SET(DO) SB_SCALAR(DO) SB_AVX2(DO) SB_AVX512(DO)

namespace sparsebench {

namespace scalar { constexpr int register_bytes = 16; }
namespace avx2 { constexpr int register_bytes = 32; }
namespace avx512 { constexpr int register_bytes = 64; }

}  // namespace sparsebench
