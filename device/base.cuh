// What every device header starts from: how a function is declared, and the fixed-width integers. The headers
// in this folder that hold no PTX are a plain C++ subset, so the host includes them too.
#pragma once

#if defined(__CUDACC__)
#define BOLIDE_DEVICE __device__ __forceinline__
#define BOLIDE_ROLLED _Pragma("unroll 1")
#else
#define BOLIDE_DEVICE inline
#define BOLIDE_ROLLED
#include <cmath>
#endif

// Code for rare cases goes behind the code of a work item's way, which hardly fits the instruction cache.
#define BOLIDE_RARELY(condition) __builtin_expect(static_cast<bool>(condition), false)

namespace bolide {

using u8 = unsigned char;
using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long long;
using i64 = long long;

}  // namespace bolide
