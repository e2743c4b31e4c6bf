// The .safetensors reader: what it reads, and what each lie in a header meets.
#include "tests/files/support.hpp"

namespace bolide::files {
namespace {

using SafetensorsTest = FilesTest;

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  std::uint64_t begin, std::uint64_t end) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":[" +
         std::to_string(begin) + "," + std::to_string(end) + "]}";
}

TEST_F(SafetensorsTest, ListsInTheOrderOfTheDataAndReads) {
  const std::string header = "{" + entry("late", "U8", "[3]", 8, 11) +
                             ", \"__metadata__\":{\"made by\":\"hand\"}," +
                             entry("early", "I32", "[2, 1]", 0, 8) + "}   ";
  const TensorFile tensors =
      open_tensors(file("a.safetensors", safetensors(header, std::string("\1\0\0\0\2\0\0\0abc", 11))));
  ASSERT_EQ(tensors.tensors().size(), 2u);
  EXPECT_EQ(tensors.format(), Format::safetensors);
  EXPECT_EQ(tensors.tensors()[0].name, "early");
  EXPECT_EQ(tensors.tensors()[0].shape, (Dims{2, 1}));
  EXPECT_EQ(tensors.tensors()[0].dtype_name, "I32");
  EXPECT_EQ(tensors.tensors()[1].bytes, 3u);
  EXPECT_EQ(tensors.metadata(), (Metadata{{"made by", "hand"}}));
  EXPECT_TRUE(tensors.contains("late"));
  EXPECT_FALSE(tensors.contains("lat"));
  const OwnedTensor early = tensors.read("early"), late = tensors.read("late");
  EXPECT_EQ(early.name, "early");
  EXPECT_EQ(early.view.dtype, DType::i32);
  EXPECT_EQ(values_of<std::int32_t>(early.view), (std::vector<std::int32_t>{1, 2}));
  EXPECT_EQ(values_of<std::uint8_t>(late.view), (std::vector<std::uint8_t>{'a', 'b', 'c'}));
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(early.view.data) % 64, 0u);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(late.view.data) % 64, 0u);
}

TEST_F(SafetensorsTest, ReadsTheContentWhateverTheNameSays) {
  EXPECT_TRUE(
      open_tensors(file("a.npy", safetensors("{" + entry("a", "U8", "[1]", 0, 1) + "}", "x"))).contains("a"));
  // A header of 0x280 bytes begins as a pickle does, with 0x80 0x02.
  std::string header = "{" + entry("a", "U8", "[1]", 0, 1) + "}";
  header.resize(0x280, ' ');
  EXPECT_TRUE(open_tensors(file("b.pt", safetensors(header, "x"))).contains("a"));
}

TEST_F(SafetensorsTest, EmptyTensorsAndEmptyFiles) {
  EXPECT_TRUE(open_tensors(file("none.safetensors", safetensors("{}"))).tensors().empty());
  const std::string header = "{" + entry("a", "F32", "[0,4]", 0, 0) + "," + entry("b", "F32", "[]", 0, 4) +
                             "," + entry("c", "F32", "[7,0]", 4, 4) + "}";
  const TensorFile tensors = open_tensors(file("some.safetensors", safetensors(header, "1234")));
  EXPECT_EQ(tensors.read("a").view.count(), 0);
  EXPECT_EQ(tensors.read("b").view.count(), 1);
  EXPECT_EQ(tensors.read("b").view.rank(), 0);
  EXPECT_EQ(tensors.read("c").view.shape, (Dims{7, 0}));
}

TEST_F(SafetensorsTest, ForeignTypesAreListedAndOnlyReadingThemIsAnError) {
  const std::string header = "{" + entry("ours", "U8", "[1]", 0, 1) + "," +
                             entry("f8", "F8_E4M3", "[2]", 1, 3) + "," + entry("f4", "F4", "[2]", 3, 4) +
                             "," + entry("later", "Q\\u001b3", "[5]", 4, 6) + "}";
  const TensorFile tensors = open_tensors(file("a.safetensors", safetensors(header, "123456")));
  EXPECT_EQ(tensors.info("later").dtype_name, "Q\x1b\x33");
  EXPECT_FALSE(tensors.info("f8").dtype.has_value());
  EXPECT_EQ(values_of<std::uint8_t>(tensors.read("ours").view), (std::vector<std::uint8_t>{'1'}));
  EXPECT_TRUE(says(refusal(Code::file, [&] { tensors.read("f8"); }), "element type F8_E4M3"));
  EXPECT_TRUE(says(refusal(Code::file, [&] { tensors.read("later"); }), "element type Q\\x1b3"));
  EXPECT_TRUE(
      says(bad_file(file("b.safetensors", safetensors("{" + entry("f4", "F4", "[3]", 0, 2) + "}", "12"))),
           "no whole number of bytes"));
}

TEST_F(SafetensorsTest, AMissingTensorNamesThoseThereAre) {
  std::string header = "{";
  for (int i = 0; i < 20; ++i) {
    if (i > 0) header += ',';
    header += entry(std::string("t").append(std::to_string(i)), "U8", "[0]", 0, 0);
  }
  const TensorFile tensors = open_tensors(file("a.safetensors", safetensors(header + "}")));
  EXPECT_TRUE(says(refusal(Code::file, [&] { tensors.read("q"); }), "no tensor 'q'", "it has 20: 't0', 't1'",
                   ", ...", Not{"t19"}));
}

TEST_F(SafetensorsTest, T139_HeaderLengths) {
  const std::string good = safetensors("{" + entry("a", "U8", "[1]", 0, 1) + "}", "x");
  const auto with_length = [&](std::uint64_t length) {
    std::string bytes = good;
    std::memcpy(bytes.data(), &length, 8);
    return file("a.safetensors", bytes);
  };
  for (std::uint64_t length :
       {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{good.size() - 7}, kMaxSafetensorsHeaderBytes + 1,
        std::uint64_t{1} << 32, std::uint64_t{1} << 63, ~std::uint64_t{0}, ~std::uint64_t{7}}) {
    EXPECT_TRUE(says(bad_file(with_length(length)), "header has " + std::to_string(length) + " bytes"));
  }
  EXPECT_TRUE(
      says(bad_file(with_length(good.size() - 8)), "not valid JSON"));  // the header takes the data too
  const std::filesystem::path large = file("b.safetensors", good);
  std::filesystem::resize_file(large, kMaxSafetensorsHeaderBytes * 2);
  const std::uint64_t length = kMaxSafetensorsHeaderBytes + 1;
  std::string bytes(reinterpret_cast<const char*>(&length), 8);
  bytes += "{" + std::string(kMaxSafetensorsHeaderBytes + 100, ' ');
  EXPECT_TRUE(says(bad_file(file("c.safetensors", bytes)),
                   "a header has 2 to " + std::to_string(kMaxSafetensorsHeaderBytes)));
  for (const char* tiny : {"x", "\1\0\0", "\2\0\0\0\0\0\0\0{"}) {
    EXPECT_TRUE(says(bad_file(file("d.safetensors", std::string(tiny, 1))), "is 1 bytes long"));
  }
  EXPECT_TRUE(says(bad_file(file("e.safetensors", safetensors("[{}]"))), "begins with '['"));
  EXPECT_TRUE(says(bad_file(file("f.safetensors", safetensors(" {}"))), "begins with ' '"));
}

TEST_F(SafetensorsTest, T139_KeysMustDiffer) {
  const std::string a = entry("a", "U8", "[0]", 0, 0);
  const auto message = [&](const std::string& header) {
    return bad_file(file("a.safetensors", safetensors(header)));
  };
  EXPECT_TRUE(
      says(message("{" + a + "," + entry("b", "U8", "[0]", 0, 0) + "," + a + "}"), "tensor 'a' twice"));
  EXPECT_TRUE(says(message("{" + a + "," + entry("\\u0061", "U8", "[0]", 0, 0) + "}"), "tensor 'a' twice"));
  EXPECT_TRUE(says(message("{\"__metadata__\":{},\"__metadata__\":{}}"), "\"__metadata__\" twice"));
  EXPECT_TRUE(says(message("{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}}"), "the key 'k' twice"));
  EXPECT_TRUE(
      says(message("{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}"),
           "\"dtype\" twice"));
  EXPECT_TRUE(says(message("{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"shape\":[],\"data_offsets\":[0,0]}}"),
                   "\"shape\" twice"));
}

TEST_F(SafetensorsTest, T139_DataMustBeCoveredOnceWithoutHoles) {
  const auto message = [&](const std::string& entries, const std::string& data) {
    return bad_file(file("a.safetensors", safetensors("{" + entries + "}", data)));
  };
  const std::string a = entry("a", "U8", "[4]", 0, 4);
  EXPECT_TRUE(says(message(a + "," + entry("b", "U8", "[4]", 5, 9), "123456789"),
                   "tensor 'b' begins at byte 5 of the data, but the tensors before it end at 4; the "
                   "data must have no holes"));
  EXPECT_TRUE(says(message(a + "," + entry("b", "U8", "[4]", 3, 7), "1234567"), "begins at byte 3"));
  EXPECT_TRUE(says(message(a + "," + entry("b", "U8", "[4]", 0, 4), "1234"), "must not overlap"));
  EXPECT_TRUE(says(message(a + "," + entry("b", "U8", "[0]", 2, 2), "1234"), "must not overlap"));
  EXPECT_TRUE(says(message(a + "," + entry("b", "U8", "[0]", 9, 9), "1234"), "no holes"));
  EXPECT_TRUE(says(message(entry("a", "U8", "[4]", 1, 5), "12345"), "begins at byte 1"));
  EXPECT_TRUE(
      says(message(a, "123"), "holds 3 bytes of data, but its header describes 4; the file is truncated"));
  EXPECT_TRUE(says(message(a, "12345"), "bytes that belong to no tensor"));
  EXPECT_TRUE(says(message(a, ""), "holds 0 bytes of data"));
}

TEST_F(SafetensorsTest, T139_OffsetsAndShapesMustAgree) {
  const auto message = [&](const std::string& entries) {
    return bad_file(file("a.safetensors", safetensors("{" + entries + "}", "12345678")));
  };
  const std::string most = "18446744073709551615";
  EXPECT_TRUE(says(message(entry("a", "U8", "[8]", 8, 0)), "[8, 0]; the begin must not exceed the end"));
  EXPECT_TRUE(says(message(entry("a", "F32", "[3]", 0, 8)),
                   "8 bytes by its data_offsets [0, 8], but shape [3] of F32 takes 12"));
  EXPECT_TRUE(says(message(entry("a", "U8", "[0,9]", 0, 8)), "takes 0"));
  EXPECT_TRUE(says(message(entry("a", "U8", "[4294967296,4294967296]", 0, 0)), "below 2^61"));
  EXPECT_TRUE(
      says(message(entry("a", "U8", "[0,4611686018427387904,4611686018427387904]", 0, 0)), "below 2^61"));
  EXPECT_TRUE(says(message(entry("a", "F64", "[2305843009213693952]", 0, 0)), "below 2^61"));
  EXPECT_TRUE(says(message(entry("a", "U8", "[" + most + "]", 0, 8)), "a dimension of " + most));
  EXPECT_TRUE(says(message(entry("a", "U8", "[18446744073709551616]", 0, 8)), "no whole number below 2^64"));
  EXPECT_TRUE(says(message(entry("a", "U8", "[-8]", 0, 8)), "the negative number -8"));
  EXPECT_TRUE(says(message(entry("a", "U8", "[-0]", 0, 0)), "negative"));
  EXPECT_TRUE(says(message(entry("a", "U8", "[8.0]", 0, 8)), "8.0, no whole number"));
  EXPECT_TRUE(says(message(entry("a", "U8", "[8e0]", 0, 8)), "8e0, no whole number"));
  EXPECT_TRUE(says(message(entry("a", "U8", "[1,1,1,1,1,1,1,1,8]", 0, 8)), "at most 8 dimensions"));
  EXPECT_TRUE(says(message("\"a\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8,8]}"),
                   "more than 2 numbers"));
  EXPECT_TRUE(says(message("\"a\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[8]}"), "1 data_offsets"));
  EXPECT_TRUE(says(message("\"a\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0," + most + "]}"),
                   most + " bytes by its"));
  EXPECT_EQ(
      open_tensors(file("b.safetensors",
                        safetensors("{" + entry("a", "U8", "[1,1,1,1,1,1,1,8]", 0, 8) + "}", "12345678")))
          .read("a")
          .view.rank(),
      8);
}

TEST_F(SafetensorsTest, T139_OnlyTheGrammarOfTheFormat) {
  const auto message = [&](const std::string& header) {
    return bad_file(file("a.safetensors", safetensors(header)), Cost{.bytes = 16 << 20});
  };
  EXPECT_TRUE(says(message("{\"a\":{\"dtype\":\"U8\",\"shape\":[0]}}"), "no data_offsets"));
  EXPECT_TRUE(says(message("{\"a\":{\"shape\":[0],\"data_offsets\":[0,0]}}"), "no dtype"));
  EXPECT_TRUE(says(message("{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,0]}}"), "no shape"));
  EXPECT_TRUE(says(message("{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0],\"x\":1}}"),
                   "a field 'x'"));
  for (const char* value : {"null", "true", "false", "1", "-1", "1.5", "[]", "\"U8\""}) {
    EXPECT_TRUE(says(message(std::string("{\"a\":") + value + "}"), "the entry 'a' holds"));
    EXPECT_TRUE(says(message(std::string("{\"a\":{\"shape\":[") + value +
                             (value[0] == '1' && !value[1] ? ",[]" : "") + "]}}"),
                     "tensor 'a', field \"shape\" holds"));
  }
  for (const char* value : {"null", "true", "1", "[]", "{}"}) {
    EXPECT_TRUE(says(message(std::string("{\"__metadata__\":{\"k\":") + value + "}}"), "key 'k' holds"));
    EXPECT_TRUE(says(message(std::string("{\"a\":{\"dtype\":") + value + "}}"), "field \"dtype\" holds"));
  }
  EXPECT_TRUE(says(message("{\"__metadata__\":[]}"), "holds an array"));
  for (const char* broken :
       {"{ ", "{\"a\"", "{\"a\":", "{\"a\":{\"dtype\":\"U8", "{}{}", "{},", "{} x", "{/**/}", "{'a':1}",
        "{\"\\ud800\":1}", "{\"a\nb\":1}", "{\"\xff\":1}", "{\"\xc0\xaf\":1}", "{\"\xed\xa0\x80\":1}"}) {
    EXPECT_TRUE(says(message(broken), "not valid JSON in UTF-8"));
  }
  EXPECT_TRUE(says(message(std::string("{}\0hidden", 9)), "zero byte at its byte 3"));
}

TEST_F(SafetensorsTest, T139_DepthCountsAndSizeAreBounded) {
  const auto message = [&](const std::string& header) {
    return bad_file(file("a.safetensors", safetensors(header)), Cost{.bytes = 64 << 20, .seconds = 0.4});
  };
  EXPECT_TRUE(says(message("{\"a\":" + std::string(100000, '[')), "holds an array"));
  std::string deep = "{";
  for (int i = 0; i < 100000; ++i) deep += "\"a\":{";
  EXPECT_TRUE(says(message(deep), "a field 'a'"));
  std::string many;
  for (int i = 0; i < 100000; ++i)
    many += (i ? ",\"" : "{\"") + std::to_string(i) +
            "\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}";
  EXPECT_TRUE(says(message(many + "}"), "more than 65536 tensors"));
  std::string metadata = "{\"__metadata__\":{";
  for (int i = 0; i < 100000; ++i) metadata += (i ? ",\"" : "\"") + std::to_string(i) + "\":\"\"";
  EXPECT_TRUE(says(message(metadata + "}}"), "more than 65536 entries"));
  // The slowest headers of the largest size, refused only at their last byte: 60 ms on a core that is free.
  const std::size_t size = kMaxSafetensorsHeaderBytes;
  EXPECT_TRUE(says(message("{" + std::string(size - 2, ' ') + "]"), "not valid JSON"));
  EXPECT_TRUE(says(message("{\"" + std::string(size - 3, 'a') + "]"), "not valid JSON"));
  EXPECT_TRUE(says(message("{\"a\":{\"shape\":[" + std::string(size - 20, '9')), "digits in a row"));
}

TEST_F(SafetensorsTest, AsManyTensorsAsAreAllowed) {
  std::string header = "{";
  for (std::size_t i = 0; i < kMaxTensors; ++i) {
    if (i > 0) header += ',';
    header += entry(std::to_string(i), "U8", "[1]", i, i + 1);
  }
  const TensorFile tensors =
      open_tensors(file("a.safetensors", safetensors(header + "}", std::string(kMaxTensors, 'x'))));
  EXPECT_EQ(tensors.tensors().size(), kMaxTensors);
  EXPECT_EQ(tensors.info("65535").offset, 8 + header.size() + 1 + 65535);
}

TEST_F(SafetensorsTest, BoolsAreZeroOrOne) {
  const std::string header = "{" + entry("m", "BOOL", "[3]", 0, 3) + "}";
  const OwnedTensor good =
      open_tensors(file("a.safetensors", safetensors(header, std::string("\0\1\1", 3)))).read("m");
  EXPECT_EQ(values_of<bool>(good.view), (std::vector<bool>{false, true, true}));
  EXPECT_TRUE(says(bad_file(file("b.safetensors", safetensors(header, std::string("\0\1\2", 3)))),
                   "its element 2 is the byte 2"));
}

}  // namespace
}  // namespace bolide::files
