// Writes what scripts/gallery.py needs into a folder: tensors as .npy files, entries as gallery.json.
#include <cctype>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "files/tensor_file.hpp"
#include "tests/program/catalogue.hpp"

int main(int argc, char** argv) {
  using Json = nlohmann::ordered_json;
  using namespace bolide::testing;
  if (argc != 2) return std::fputs("usage: gallery FOLDER\n", stderr), 2;
  const std::filesystem::path folder = argv[1];
  const Catalogue catalogue;
  Json masks = Json::array(), scores = Json::array();
  for (const CatalogueTable& t : catalogue.tables())
    bolide::files::write_npy(folder / (t.name + ".npy"), t.tensor);
  for (const CatalogueMask& m : catalogue.masks()) {
    Json tables = Json::array();
    for (const auto& [name, value] : bolide::captured(m.mask.expr()).values) tables.push_back(name);
    masks.push_back({{"id", m.id},
                     {"name", m.name},
                     {"text", m.text},
                     {"code", m.code},
                     {"sq", m.len_q},
                     {"skv", m.len_kv},
                     {"tables", tables}});
  }
  for (const CatalogueScore& s : catalogue_scores())
    scores.push_back({{"id", s.id}, {"name", s.name}, {"text", s.text}});
  std::ofstream(folder / "gallery.json")
      << Json{{"masks", masks}, {"scores", scores}, {"cases", catalogue_cases()}}.dump(1);
}
