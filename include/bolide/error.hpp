// The one exception of the library: a code for the program, a sentence for the reader.
#pragma once
#include <stdexcept>
#include <string>

namespace bolide {

/// What kind of trouble an Error reports. The command's exit code for each stands behind it.
enum class Code {
  invalid_argument,  ///< an argument or option has a value the call cannot take (exit 2)
  invalid_problem,   ///< shapes, types, strides or lengths contradict each other (exit 2)
  expression,        ///< a mask or score does not parse or does not type (exit 2)
  file,              ///< a file is missing, damaged, hostile or cannot be written (exit 3)
  refused,           ///< a valid combination that no available path serves (exit 4)
  device,            ///< the driver, the compiler or the device failed (exit 5)
};

/// Thrown by every call of the library that cannot do what it was asked. what() is a sentence that names what
/// was given (both sides of a disagreement), the rule, and the way out. Nothing has been written when it is
/// thrown by validation; the library never prints, exits or aborts.
class Error : public std::runtime_error {
 public:
  Error(Code code, const std::string& sentence) : std::runtime_error(sentence), code_(code) {}
  Code code() const noexcept { return code_; }

 private:
  Code code_;
};

}  // namespace bolide
