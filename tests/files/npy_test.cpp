// The .npy reader: what it reads, and what each lie in a header meets.
#include "tests/files/support.hpp"

namespace bolide::files {
namespace {

using NpyTest = FilesTest;
const std::string kEightBytes = "12345678";

TEST_F(NpyTest, ReadsWhatNumpyWrites) {
  // numpy.save of numpy.array([[1, 2], [3, 4]], dtype='<i2'), byte for byte
  std::string bytes("\x93NUMPY\x01\x00v\x00", 10);
  bytes += "{'descr': '<i2', 'fortran_order': False, 'shape': (2, 2), }";
  bytes.resize(127, ' ');
  bytes += '\n' + std::string("\1\0\2\0\3\0\4\0", 8);
  const OwnedTensor tensor = read_npy(file("grid.npy", bytes));
  EXPECT_EQ(tensor.name, "grid");
  EXPECT_EQ(tensor.view.shape, (Dims{2, 2}));
  EXPECT_EQ(values_of<std::int16_t>(tensor.view), (std::vector<std::int16_t>{1, 2, 3, 4}));
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensor.view.data) % 64, 0u);
}

TEST_F(NpyTest, ReadsAllVersionsSpellingsAndRanks) {
  const std::string header = "{\"shape\": (2,4),'fortran_order':False , 'descr':\"|u1\"}   ";
  for (int major : {1, 2, 3})
    EXPECT_EQ(read_npy(file("a.npy", npy(header, kEightBytes, major))).view.shape, (Dims{2, 4}));
  EXPECT_EQ(read_npy(file("b.npy", npy_of("<f8", "()", kEightBytes))).view.rank(), 0);
  EXPECT_EQ(read_npy(file("c.npy", npy_of("<f8", "(1,)", kEightBytes))).view.shape, (Dims{1}));
  EXPECT_EQ(read_npy(file("d.npy", npy_of("<f8", "(1,1,1,1,1,1,1,1)", kEightBytes))).view.rank(), 8);
  EXPECT_EQ(read_npy(file("e.npy", npy_of("<f8", "(0, 5)", ""))).view.count(), 0);
  // A vector is in both orders; numpy marks it so only when asked to.
  EXPECT_EQ(
      read_npy(file("f.npy", npy("{'descr': '|u1', 'fortran_order': True, 'shape': (8,)}", kEightBytes)))
          .view.count(),
      8);
  EXPECT_EQ(open_tensors(file("no_extension", npy_of("|u1", "(8,)", kEightBytes))).format(), Format::npy);
}

TEST_F(NpyTest, ASafetensorsFileIsNoArray) {
  EXPECT_TRUE(says(refusal(Code::file, [&] { read_npy(file("a.npy", safetensors("{}"))); }),
                   "is a .safetensors file"));
}

TEST_F(NpyTest, T137_HeaderLengthsAreCheckedBeforeAllocating) {
  const auto message = [&](const std::string& bytes) {
    return bad_file(file("a.npy", bytes), Cost{.bytes = 1 << 14});
  };
  std::string twenty("\x93NUMPY\x02\x00\xff\xff\xff\xff{'descr'", 20);
  EXPECT_TRUE(says(message(twenty), "its header has 4294967295 bytes; 8 follow"));
  EXPECT_TRUE(says(message(std::string("\x93NUMPY\x01\x00\xff\xff{'descr'", 18)), "65535 bytes; 8 follow"));
  EXPECT_TRUE(says(message(std::string("\x93NUMPY\x03\x00\x01\x00", 10)), "; 0 follow"));
  EXPECT_TRUE(says(message(npy(std::string(70000, ' '), "", 2)),
                   "70001 bytes; 70001 follow, and a header has at most 65536"));
  EXPECT_TRUE(says(message(std::string("\x93NUMPY\x01\x00\x00\x00", 10)),
                   "has its end at its byte 0 where '{' belongs"));
  EXPECT_TRUE(says(message("\x93NUMPY"), "has 6 bytes and begins with"));
  EXPECT_TRUE(says(message("hello, world"), "does not begin with \\x93NUMPY"));
  EXPECT_TRUE(says(message(npy("{}", "", 4)), "version 4.0"));
  EXPECT_TRUE(says(message(npy("{}", "", 0)), "version 0.0"));
  EXPECT_TRUE(says(message(std::string("\x93NUMPY\x01\x01\x02\x00{}", 12)), "version 1.1"));
}

TEST_F(NpyTest, T138_ElementTypesAreRefusedByName) {
  const auto message = [&](const std::string& descr) {
    return bad_file(file("a.npy", npy_of(descr, "(1,)", kEightBytes)));
  };
  EXPECT_TRUE(says(message("|O"), "pickled Python objects", "never unpickled"));
  EXPECT_TRUE(says(message("O"), "pickled Python objects"));
  EXPECT_TRUE(says(message(">f4"), "'>f4', big-endian", "newbyteorder('<')"));
  EXPECT_TRUE(says(message("<V2"), "no bfloat16", ".safetensors"));
  EXPECT_TRUE(says(message("|V2"), "no bfloat16"));
  EXPECT_TRUE(says(message("<u2"), "uint16", "no bfloat16"));
  for (const char* other : {"<u8", "<c8", "<U4", "|S8", "<M8[ns]", "|V8", "<f16", "f4", "=f4", "<f", "", "<",
                            "<f4 ", "float32"}) {
    EXPECT_TRUE(says(message(other), "element type '" + std::string(other) + "'; supported are <f8 <f4"));
  }
  const auto header = [&](const std::string& text) {
    return bad_file(file("b.npy", npy(text, kEightBytes)));
  };
  EXPECT_TRUE(says(header("{'descr': [('x', '<f4'), ('y', '<f4')], 'fortran_order': False, 'shape': (1,)}"),
                   "structured element type"));
  EXPECT_TRUE(says(header("{'descr': ('<f4', (2,)), 'fortran_order': False, 'shape': (1,)}"),
                   "structured element type"));
  EXPECT_TRUE(says(header("{'descr': " + std::string(60000, '[')), "structured element type"));
}

TEST_F(NpyTest, T138_NothingIsEvaluated) {
  const auto message = [&](const std::string& text) {
    return bad_file(file("a.npy", npy(text, kEightBytes)));
  };
  EXPECT_TRUE(says(message("__import__('os').system('id')"),
                   "\"__import__('os').sys...\" at its byte 0 where '{' belongs"));
  for (const char* text : {"{'descr': str(1), 'fortran_order': False, 'shape': (8,)}",
                           "{'descr': '|u1' + '', 'fortran_order': False, 'shape': (8,)}",
                           "{'descr': '|u1', 'fortran_order': 0, 'shape': (8,)}",
                           "{'descr': '|u1', 'fortran_order': false, 'shape': (8,)}",
                           "{'descr': '|u1', 'fortran_order': False, 'shape': [8]}",
                           "{'descr': '|u1', 'fortran_order': False, 'shape': 8}",
                           "{'descr': '|u1', 'fortran_order': False, 'shape': (4*2,)}",
                           "{'descr': '|u1', 'fortran_order': False, 'shape': (8L,)}",
                           "{'descr': '|u1', 'fortran_order': False, 'shape': (0x8,)}",
                           "{'descr': '|u1', 'fortran_order': False, 'shape': (8.0,)}",
                           "{'descr': '|u1', 'fortran_order': False, 'shape': (8,,)}",
                           "{'descr': '|u1', 'fortran_order': False, 'shape': (,)}",
                           "{'descr': '|u1', 'fortran_order': False, 'shape': (+8,)}",
                           "{'descr': '|u1' 'fortran_order': False, 'shape': (8,)}",
                           "{'descr': '|u1', 'fortran_order': False, 'shape': (8,)",
                           "{'descr': '|u1', 'fortran_order': False, 'shape': (8",
                           "{'descr': '|u1', 'fortran_order': False, 'shape': (8,)} # id",
                           "{'descr': '|u1', 'fortran_order': False, 'shape': (8,)},",
                           "{'descr': '\\x7cu1', 'fortran_order': False, 'shape': (8,)}",
                           "{'descr': '|u1",
                           "{,}",
                           "{'descr'}",
                           "{1: 2}",
                           "[]"}) {
    EXPECT_TRUE(says(message(text), "belongs; it must be {'descr'")) << text;
  }
  EXPECT_TRUE(says(message(std::string("{'descr': '|u1', 'fortran_order': False, 'shape': (8,)}\0", 56)),
                   "the end of the header belongs"));
}

TEST_F(NpyTest, T138_KeysMustBeTheThree) {
  const auto message = [&](const std::string& text) {
    return bad_file(file("a.npy", npy(text, kEightBytes)));
  };
  EXPECT_TRUE(says(message("{'descr': '|u1', 'fortran_order': False}"), "no 'shape'"));
  EXPECT_TRUE(says(message("{'descr': '|u1', 'shape': (8,)}"), "no 'fortran_order'"));
  EXPECT_TRUE(says(message("{'fortran_order': False, 'shape': (8,)}"), "no 'descr'"));
  EXPECT_TRUE(says(message("{'descr': '|u1', 'descr': '|u1', 'fortran_order': False, 'shape': (8,)}"),
                   "'descr' twice"));
  EXPECT_TRUE(says(message("{'descr': '|u1', 'fortran_order': False, 'shape': (8,), 'shape': (8,)}"),
                   "'shape' twice"));
  EXPECT_TRUE(says(message("{'descr': '|u1', 'fortran_order': False, 'shape': (8,), 'x\x1b': 1}"),
                   "the key 'x\\x1b'"));
}

TEST_F(NpyTest, T138_ShapesAndSizesMustAgree) {
  const auto message = [&](const std::string& shape, const std::string& descr = "|u1") {
    return bad_file(file("a.npy", npy_of(descr, shape, kEightBytes)));
  };
  EXPECT_TRUE(says(message("(-8,)"), "negative dimension"));
  EXPECT_TRUE(says(message("(9223372036854775808,)"), "a dimension of 9223372036854775808"));
  EXPECT_TRUE(says(message("(" + std::string(50000, '9') + ",)"), "at most 2^63 - 1"));
  EXPECT_TRUE(says(message("(9223372036854775807,)"), "does not fit in 61 bits"));
  EXPECT_TRUE(says(message("(4294967296, 4294967296)"), "does not fit in 61 bits"));
  EXPECT_TRUE(says(message("(0, 4611686018427387904, 4611686018427387904)"), "does not fit in 61 bits"));
  EXPECT_TRUE(says(message("(2305843009213693952,)", "<f8"), "does not fit in 61 bits"));
  EXPECT_TRUE(says(message("(8)"), "is a number, not a tuple"));
  EXPECT_TRUE(says(message("(1,1,1,1,1,1,1,1,8)"), "more than 8 dimensions"));
  std::string many = "(";
  for (int i = 0; i < 30000; ++i) many += "1,";
  EXPECT_TRUE(says(message(many + ")"), "more than 8 dimensions"));
  EXPECT_TRUE(
      says(message("(9,)"), "holds 8 bytes of data, but shape [9] of '|u1' takes 9; the file is truncated"));
  EXPECT_TRUE(says(message("(7,)"), "takes 7; bytes after the data are not allowed"));
  EXPECT_TRUE(says(message("(0,)"), "takes 0"));
  EXPECT_TRUE(says(
      bad_file(file("f.npy", npy("{'descr': '|u1', 'fortran_order': True, 'shape': (2, 4)}", kEightBytes))),
      "Fortran order", "np.ascontiguousarray"));
}

TEST_F(NpyTest, BoolsAreZeroOrOne) {
  EXPECT_EQ(values_of<bool>(read_npy(file("a.npy", npy_of("|b1", "(2,)", std::string("\1\0", 2)))).view),
            (std::vector<bool>{true, false}));
  EXPECT_TRUE(says(bad_file(file("b.npy", npy_of("|b1", "(2,)", std::string("\1\x80", 2)))),
                   "its element 1 is the byte 128"));
}

}  // namespace
}  // namespace bolide::files
