// The names of the language: which are taken, and what an expression's captured tensors are called in its
// text.
#pragma once
#include "program/node.hpp"

namespace bolide::program {

bool is_reserved(std::string_view name);    ///< a leaf, a function, or a literal word such as true or inf
std::vector<std::string> function_names();  ///< every function, the abbreviations such as clamp included

/// Distinct tensors of one expression get distinct names: a second `t` becomes `t_2`.
class TableNames {
 public:
  explicit TableNames(const Node& root);
  const std::string& of(const Node& gather) const { return *find(gather.captured.tensor); }
  const std::vector<Captured>& tables() const { return tables_; }

 private:
  void collect(const Node& n);
  const std::string* find(const Tensor& t) const;
  std::vector<Captured> tables_;
};

}  // namespace bolide::program
