// The inner loops of the tiled path: products of small matrices, exponentials, conversions. Compiled for
// every vector width by Google Highway; the machine's best is chosen at run time.
#pragma once
#include <bolide/tensor.hpp>

namespace bolide::cpu {

/// Rows of tiles are padded to a multiple of this many elements, with zeros.
inline constexpr std::int64_t kPad = 16;
constexpr std::int64_t padded(std::int64_t n) { return (n + kPad - 1) / kPad * kPad; }

/// C = factor * A B, or C = keep * C + factor * A B. Each element of A B is summed over k in order, from 0,
/// in T, whatever m and n are.
template <class A, class T>
struct Product {
  const A* a;
  std::int64_t a_row, a_column;  ///< A[i][k] is a[i * a_row + k * a_column]
  const float* b;
  std::int64_t b_row;  ///< B[k][j] is b[k * b_row + j]
  T* c;
  std::int64_t c_row;
  int m, n, k;  ///< n is a multiple of kPad
  bool add = true;
  T factor = 1;
  const T* keep = nullptr;              ///< if add: [m], one for each row of C; null: 1
  const std::uint8_t* where = nullptr;  ///< laid out as A; where it is 0, B is not looked at and A must be 0
};
void multiply(const Product<float, float>&);
void multiply(const Product<float, double>&);
void multiply(const Product<double, double>&);

/// A tile of scores, or of what has their layout: one row for each key, `pitch` query rows side by side.
template <class T>
struct Tile {
  const T* s;  ///< -inf: not visible
  int keys, pitch;
};
/// max[r] grows to the largest score of query row r; poison[r] becomes NaN when one is NaN or +inf (C13).
void find_maxima(Tile<float>, float* max, float* poison);
void find_maxima(Tile<double>, double* max, double* poison);
/// p = exp(s - base), sums[r] its sum over the keys.
void exponentiate(Tile<float>, const float* base, float* p, float* sums);
void exponentiate(Tile<double>, const double* base, float* p, float* sums);
void exponentiate(Tile<double>, const double* base, double* p, double* sums);
/// sums[r]: the sum over the keys of p * x, where p is not 0.
void weigh(Tile<float> p, const float* x, float* sums);
void weigh(Tile<double> p, const double* x, double* sums);

/// What the gradient of a tile of scores is made of.
template <class T>
struct Slopes {
  Tile<T> scores;
  const T *base, *weight;  ///< p = weight * exp(s - base)
  const T* d_p;            ///< dout . v
  const T* shift;          ///< dout . out - dlse, of each query row
  const T* slope;          ///< of the score program; null: 1
  T scale;
};
/// p, and d_s = p * (d_p - shift) * slope * scale; both 0 where a key is not visible, whatever stands there.
void differentiate(const Slopes<float>&, float* p, float* d_s);
void differentiate(const Slopes<double>&, double* p, double* d_s);

/// to[i] = element i of a contiguous row of f32, f16 or bf16, 0 from n to padded(n). True if all are finite.
bool load_floats(DType type, const void* from, int n, float* to);
/// The reverse, rounded to nearest, ties to even. Reads padded(n) floats.
void store_floats(DType type, const float* from, int n, void* to);

/// The name of the instruction set in use, as Highway calls it: "AVX3", "AVX2", "NEON", ...
const char* instruction_set();

}  // namespace bolide::cpu
