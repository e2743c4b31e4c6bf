// SHA-256 against the examples of FIPS 180-4 and of NIST's validation suite, and against lengths around a
// block.
#include "jit/sha256.hpp"

#include <gtest/gtest.h>

namespace bolide::jit {
namespace {

TEST(Sha256, PublishedExamples) {
  EXPECT_EQ(hex(sha256("")), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(hex(sha256("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(hex(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(hex(sha256(std::string(1000000, 'a'))),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

// The digest of the digests of n bytes 'a' for n in 0..199: every place of the padding. The value comes from
// Python's hashlib.
TEST(Sha256, EveryLengthAroundABlock) {
  std::string all;
  for (int n = 0; n < 200; ++n) all += hex(sha256(std::string(n, 'a')));
  EXPECT_EQ(hex(sha256(all)), "019f2b9f1af27a53a1f046da7e98af2c179f431e4b5bebb000e74040917a4123");
}

}  // namespace
}  // namespace bolide::jit
