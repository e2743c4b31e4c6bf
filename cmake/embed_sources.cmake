# Writes a C++ file that holds the texts of the device sources, run at build time by jit/CMakeLists.txt:
#   cmake -DFILES=a.cuh|b.cuh -DVERSION=0.1.0 -DOUT=embedded.cpp -P embed_sources.cmake
string(REPLACE "|" ";" files "${FILES}")
set(text "// Generated from device/ by cmake/embed_sources.cmake.\n#include \"jit/kernel.hpp\"\n\nnamespace bolide::jit {\n\n")
string(APPEND text "const char* const kLibraryVersion = \"${VERSION}\";\n\n")
string(APPEND text "const std::shared_ptr<const SourceSet>& device_sources() {\n")
string(APPEND text "  static const std::shared_ptr<const SourceSet> sources = std::make_shared<SourceSet>(std::vector<SourceSet::File>{\n")
foreach(file ${files})
  get_filename_component(name ${file} NAME)
  # Hexadecimal keeps every byte; CMake's own reading would lose brackets, semicolons and backslashes. A string
  # literal a line, ended between bytes, so that no hexadecimal escape runs into the next one.
  file(READ ${file} hex HEX)
  string(LENGTH "${hex}" digits)
  math(EXPR bytes "${digits} / 2")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "\\\\x\\1" escaped "${hex}")
  string(REPEAT "\\\\x[0-9a-f][0-9a-f]" 24 line)
  string(REGEX REPLACE "(${line})" "\\1\"\n      \"" lines "${escaped}")
  string(APPEND text "    {\"${name}\", std::string(\n      \"${lines}\", ${bytes})},\n")
endforeach()
string(APPEND text "  });\n  return sources;\n}\n\n}  // namespace bolide::jit\n")
file(WRITE ${OUT} "${text}")
