// One JSON object on one line. For .cpp files only: it brings the JSON library along.
#pragma once
#include <nlohmann/json.hpp>
#include <string>

namespace bolide::cli {

/// Bytes that are not UTF-8 (in paths, say) become the replacement character.
inline std::string json_line(const nlohmann::ordered_json& object) {
  return object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace bolide::cli
