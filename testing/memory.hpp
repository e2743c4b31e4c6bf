// Where the tensors of a check live: a host image with guards and fill, and its copy where the problem runs.
#pragma once
#include <bolide/context.hpp>
#include <bolide/tensor.hpp>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace bolide::testing {

/// Places copies of host bytes where a context can use them. A back end other than the CPU brings its own.
class Memory {
 public:
  virtual ~Memory() = default;
  virtual Device device() const = 0;
  /// Room for `bytes` bytes at a multiple of 256; null when there is none.
  virtual void* allocate(std::size_t bytes) = 0;
  virtual void release(void* place) noexcept = 0;
  virtual void upload(void* place, std::span<const std::byte> bytes) = 0;
  /// Where calls of the context belong: uploads come before what follows on it, downloads wait for it.
  virtual Stream stream() const { return {}; }
  /// Waits for the work given to the stream, then copies.
  virtual void download(std::span<std::byte> bytes, const void* place) = 0;
};

/// The host itself, apart from the images: what a call writes never touches them.
class HostMemory final : public Memory {
 public:
  Device device() const override { return Device::cpu(); }
  void* allocate(std::size_t bytes) override;
  void release(void* place) noexcept override;
  void upload(void* place, std::span<const std::byte> bytes) override;
  void download(std::span<std::byte> bytes, const void* place) override;
};

/// Addresses that nobody may use, aligned as real ones: for plans of problems of any size.
class NoMemory final : public Memory {
 public:
  explicit NoMemory(Device device) : device_(device) {}
  Device device() const override { return device_; }
  void* allocate(std::size_t bytes) override;
  void release(void*) noexcept override {}
  void upload(void* place, std::span<const std::byte> bytes) override;
  void download(std::span<std::byte> bytes, const void* place) override;

 private:
  const Device device_;
  std::uintptr_t next_ = std::uintptr_t{1} << 40;
};

/// What lies in bytes that no result may depend on. Two fills, so that any dependence changes a bit.
enum class Fill : std::uint8_t {
  nonfinite,  ///< quiet and signalling NaN, both infinities; -1 and the like in integers
  finite,     ///< the largest numbers, 0, 1
  normal,     ///< for timing, not for checks: every float drawn from a normal distribution, integers 0
  untouched,  ///< for plans: floats have no image at all, integers only what add_integers and tables write
};
/// Fills bytes with elements of the type.
void fill_pattern(std::span<std::byte> bytes, DType type, Fill fill);

/// One tensor's memory: guard, elements among gaps, guard. Strides are in elements, of any sign.
class Arena {
 public:
  Arena(std::string name, DType type, const Dims& shape, const Dims& strides, std::int64_t offset,
        bool output, Fill fill);
  const std::string& name() const { return name_; }
  bool output() const { return output_; }
  /// The tensor in the host image.
  Tensor host() const { return view(const_cast<std::byte*>(image_.get()), Device::cpu()); }
  /// The tensor in a copy of the image.
  Tensor view(void* image, Device device) const;
  std::span<const std::byte> image() const { return {image_.get(), bytes_}; }
  /// A sentence about the first byte of `after` that differs from the image although no call may have written
  /// it; empty if there is none. Elements of outputs may differ.
  std::string find_damage(std::span<const std::byte> after) const;
  /// Takes over what a call wrote; from now on the tensor is an input.
  void accept(std::span<const std::byte> after);

 private:
  std::string name_;
  DType type_;
  Dims shape_, strides_;
  bool output_;
  std::size_t bytes_ = 0, begin_ = 0;  // of the image; of element [0, ..., 0] in it
  struct Free {
    void operator()(std::byte* p) const;
  };
  std::unique_ptr<std::byte[], Free> image_;
};

}  // namespace bolide::testing
