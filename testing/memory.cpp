// Guards, gaps and fills.
#include "testing/memory.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>

#include "testing/elements.hpp"
#include "testing/random.hpp"

namespace bolide::testing {
namespace {

constexpr std::size_t kAlignment = 256, kGuard = 512;

template <class T>
void repeat(std::span<std::byte> bytes, std::initializer_list<T> values) {
  std::size_t i = 0;
  for (std::size_t at = 0; at + sizeof(T) <= bytes.size(); at += sizeof(T)) {
    const T value = values.begin()[i++ % values.size()];
    std::memcpy(bytes.data() + at, &value, sizeof(T));
  }
}

// Draws, to be repeated: their number is odd, so that rows of the usual sizes begin at different places.
std::vector<std::byte> draw_table(DType type) {
  constexpr std::int64_t kDraws = 65521;
  std::vector<std::byte> table(kDraws * static_cast<std::size_t>(size_of(type)));
  const Tensor t(static_cast<const void*>(table.data()), type, {kDraws});
  for (std::int64_t i = 0; i < kDraws; ++i) store(t, i, normal(scramble(1, static_cast<std::uint64_t>(i))));
  return table;
}

void fill_normal(std::span<std::byte> bytes, DType type) {
  static const std::vector<std::byte> tables[] = {draw_table(DType::f64), draw_table(DType::f32),
                                                  draw_table(DType::f16), draw_table(DType::bf16)};
  if (!is_floating(type)) return static_cast<void>(std::memset(bytes.data(), 0, bytes.size()));
  const std::vector<std::byte>& table = tables[static_cast<int>(type)];
  for (std::size_t at = 0; at < bytes.size(); at += table.size())
    std::memcpy(bytes.data() + at, table.data(), std::min(table.size(), bytes.size() - at));
}

}  // namespace

void* HostMemory::allocate(std::size_t bytes) {
  return ::operator new(std::max<std::size_t>(bytes, 1), std::align_val_t(kAlignment), std::nothrow);
}
void HostMemory::release(void* place) noexcept { ::operator delete(place, std::align_val_t(kAlignment)); }
void HostMemory::upload(void* place, std::span<const std::byte> bytes) {
  std::memcpy(place, bytes.data(), bytes.size());
}
void HostMemory::download(std::span<std::byte> bytes, const void* place) {
  std::memcpy(bytes.data(), place, bytes.size());
}

void* NoMemory::allocate(std::size_t bytes) {
  void* const place = reinterpret_cast<void*>(next_);
  next_ += (bytes + kAlignment) / kAlignment * kAlignment;
  return place;
}
void NoMemory::upload(void*, std::span<const std::byte>) {
  throw Error(Code::invalid_argument, "these are addresses for plans; nothing can be copied to them");
}
void NoMemory::download(std::span<std::byte>, const void*) {
  throw Error(Code::invalid_argument, "these are addresses for plans; nothing can be copied from them");
}

void fill_pattern(std::span<std::byte> bytes, DType type, Fill fill) {
  using u16 = std::uint16_t;
  using u32 = std::uint32_t;
  using u64 = std::uint64_t;
  if (fill == Fill::normal) return fill_normal(bytes, type);
  if (fill == Fill::untouched) return static_cast<void>(std::memset(bytes.data(), 0, bytes.size()));
  const bool a = fill == Fill::nonfinite;
  switch (type) {  // quiet NaN, +inf, signalling NaN, -inf, -NaN | largest, -largest, 0, 1, smallest
    case DType::f32:
      return a ? repeat<u32>(bytes, {0x7fc01234, 0x7f800000, 0x7fa00001, 0xff800000, 0xffc00000})
               : repeat<u32>(bytes, {0x7f7fffff, 0xff7fffff, 0, 0x3f800000, 1});
    case DType::f16:
      return a ? repeat<u16>(bytes, {0x7e01, 0x7c00, 0x7d01, 0xfc00, 0xfe00})
               : repeat<u16>(bytes, {0x7bff, 0xfbff, 0, 0x3c00, 1});
    case DType::bf16:
      return a ? repeat<u16>(bytes, {0x7fc1, 0x7f80, 0x7fa1, 0xff80, 0xffc0})
               : repeat<u16>(bytes, {0x7f7f, 0xff7f, 0, 0x3f80, 1});
    case DType::f64:
      return a ? repeat<u64>(bytes, {0x7ff8000000000001, 0x7ff0000000000000, 0x7ff4000000000001})
               : repeat<u64>(bytes, {0x7fefffffffffffff, 0, 0x3ff0000000000000});
    case DType::i64:
      return a ? repeat<u64>(bytes, {~u64{0}, u64{1} << 63, 0x7fffffffffffffff})
               : repeat<u64>(bytes, {0, 123456789, 1});
    case DType::i32:
    case DType::u32:
      return a ? repeat<u32>(bytes, {0x7fffffff, ~u32{0}, u32{1} << 31})
               : repeat<u32>(bytes, {123456789, 0, 1});
    case DType::i16:
      return a ? repeat<u16>(bytes, {0x7fff, 0xffff, 0x8000}) : repeat<u16>(bytes, {12345, 0, 1});
    case DType::boolean: return repeat<std::uint8_t>(bytes, {a ? std::uint8_t{1} : std::uint8_t{0}});
    default:
      return a ? repeat<std::uint8_t>(bytes, {0xff, 0x80, 0x7f}) : repeat<std::uint8_t>(bytes, {0, 1, 99});
  }
}

void Arena::Free::operator()(std::byte* p) const { ::operator delete(p, std::align_val_t(kAlignment)); }

Arena::Arena(std::string name, DType type, const Dims& shape, const Dims& strides, std::int64_t offset,
             bool output, Fill fill)
    : name_(std::move(name)), type_(type), shape_(shape), strides_(strides), output_(output) {
  const std::size_t size = static_cast<std::size_t>(size_of(type));
  std::int64_t low = 0, high = 0;
  bool empty = false;
  for (int i = 0; i < shape.rank(); ++i) {
    empty |= shape[i] == 0;
    (strides[i] < 0 ? low : high) += (shape[i] - 1) * strides[i];
  }
  const std::size_t before = empty ? 0 : static_cast<std::size_t>(-low) * size;
  const std::size_t span = empty ? 0 : static_cast<std::size_t>(high - low + 1) * size;
  // The offset counts from a boundary to the first element; what negative strides reach lies before it.
  begin_ =
      (kGuard + before + kAlignment - 1) / kAlignment * kAlignment + static_cast<std::size_t>(offset) * size;
  bytes_ = (begin_ - before + span + kGuard + size - 1) / size * size;
  if (fill == Fill::untouched && is_floating(type)) return;
  image_.reset(static_cast<std::byte*>(::operator new(bytes_, std::align_val_t(kAlignment))));
  fill_pattern({image_.get(), bytes_}, type, fill);
}

Tensor Arena::view(void* image, Device device) const {
  return {static_cast<void*>(static_cast<std::byte*>(image) + begin_), type_, shape_, strides_, device};
}

std::string Arena::find_damage(std::span<const std::byte> after) const {
  if (std::memcmp(after.data(), image_.get(), bytes_) == 0) return {};
  std::vector<std::byte> allowed(image_.get(), image_.get() + bytes_);
  if (output_) {
    const std::size_t size = static_cast<std::size_t>(size_of(type_));
    const Tensor t = view(allowed.data(), Device::cpu());
    for_each_offset(t, [&](std::int64_t at) {
      const std::size_t byte = begin_ + static_cast<std::size_t>(at * static_cast<std::int64_t>(size));
      std::memcpy(allowed.data() + byte, after.data() + byte, size);
    });
  }
  const auto [x, y] = std::mismatch(allowed.begin(), allowed.end(), after.begin());
  if (x == allowed.end()) return {};
  const auto at = static_cast<std::int64_t>(x - allowed.begin()) - static_cast<std::int64_t>(begin_);
  return fmt::format(
      "{} was written {}: byte {} from its first element (shape [{} elements]) was {:#04x}, is {:#04x}",
      name_, output_ ? "outside its elements" : "although it is an input", at, host().count(),
      static_cast<int>(*x), static_cast<int>(*y));
}

void Arena::accept(std::span<const std::byte> after) {
  std::memcpy(image_.get(), after.data(), bytes_);
  output_ = false;
}

}  // namespace bolide::testing
