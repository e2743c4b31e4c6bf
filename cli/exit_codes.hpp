// How the command ends: the exit code of each kind of trouble (contract, "Errors").
#pragma once
#include <bolide/error.hpp>

namespace bolide::cli {

inline constexpr int kDone = 0;
inline constexpr int kCheckFailed = 1;

constexpr int exit_code(Code code) {
  switch (code) {
    case Code::invalid_argument:
    case Code::invalid_problem:
    case Code::expression: return 2;
    case Code::file: return 3;
    case Code::refused: return 4;
    case Code::device: return 5;
  }
  return 5;
}

/// The code's name in JSON.
constexpr const char* code_name(Code code) {
  switch (code) {
    case Code::invalid_argument: return "invalid_argument";
    case Code::invalid_problem: return "invalid_problem";
    case Code::expression: return "expression";
    case Code::file: return "file";
    case Code::refused: return "refused";
    case Code::device: return "device";
  }
  return "device";
}

}  // namespace bolide::cli
