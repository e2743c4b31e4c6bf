// The progress bar: for people at a terminal, after two seconds, on stderr; nothing for anyone else.
#include <gtest/gtest.h>

#include "tests/cli/command.hpp"

namespace bolide::tests {
namespace {

const std::vector<std::string> kLong{"check", "--minutes", "0.05", "--filter", "type=f32"};  // three seconds

TEST(ProgressBar, IsDrawnOnATerminalAndErased) {
  const Ran ran = bolide_on_terminal(kLong);
  EXPECT_EQ(ran.exit, 0) << ran.out << ran.err;
  EXPECT_NE(ran.err.find("check  6"), std::string::npos) << ran.err;  // two of three seconds
  EXPECT_NE(ran.err.find("[####"), std::string::npos) << ran.err;
  EXPECT_NE(ran.err.find(" left"), std::string::npos) << ran.err;
  EXPECT_TRUE(ran.err.ends_with("\r\x1b[K")) << ran.err;
  EXPECT_EQ(ran.out.find('\x1b'), std::string::npos) << ran.out;
  EXPECT_EQ(ran.out.find('\r'), std::string::npos) << ran.out;
}

TEST(ProgressBar, IsSilentInAPipe) {
  const Ran ran = bolide(kLong);
  EXPECT_EQ(ran.exit, 0) << ran.out;
  EXPECT_EQ(ran.err, "");
}

TEST(ProgressBar, IsSilentForShortWork) { EXPECT_EQ(bolide_on_terminal({"check", "--count", "2"}).err, ""); }

}  // namespace
}  // namespace bolide::tests
