// Masks and score modifications that people use: what classification, derivatives, back ends and
// docs/gallery.md are judged on.
#pragma once
#include <bolide/program.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace bolide::testing {

struct CatalogueMask {
  std::string id;    ///< M01 to M71; letters tell variants apart
  std::string name;  ///< in words
  std::string text;  ///< as the command takes it
  std::string code;  ///< the same as a C++ lambda
  Mask mask;         ///< what the lambda gives for expressions
  /// What it gives for plain integers (b, h, q, kv): true or false, or an expression where it mentions
  /// lengths.
  std::function<BoolExpr(std::int64_t, std::int64_t, std::int64_t, std::int64_t)> reference;
  std::int64_t len_q = 512,
               len_kv = 512;  ///< what the mask is made for; the first query stands at position 0
};

/// A captured tensor, contents and all.
struct CatalogueTable {
  std::string name;
  Tensor tensor;
  std::string generator;  ///< random contents of the same type and shape, as a case's `let` has them
  std::shared_ptr<void> owner;
};

class Catalogue {
 public:
  Catalogue();
  const std::vector<CatalogueMask>& masks() const { return masks_; }
  const std::vector<CatalogueTable>& tables() const { return tables_; }
  Bindings bindings() const;

 private:
  template <class T>
  Tensor add(const std::string& name, std::vector<T> values, const Dims& shape, DType dtype,
             const std::string& generator);
  void add_documents();
  void add_positions();
  void add_images_and_pages();
  const Tensor& table(const char* name) const;
  std::vector<CatalogueTable> tables_;
  std::vector<CatalogueMask> masks_;
};

/// A score modification: text, and what it captures as a case's `let` has it.
struct CatalogueScore {
  std::string id, name, text;
};
/// S01 to S30 but S20, which is no function of one score; for 24 queries and 40 keys, 2 heads, batch 2.
std::vector<CatalogueScore> catalogue_scores();
/// The generator of each name that score texts use.
std::vector<std::pair<std::string, std::string>> score_tables();

/// The case lines of tests/cases/catalogue.txt: every mask and score, forward and backward.
std::vector<std::string> catalogue_cases();

}  // namespace bolide::testing
