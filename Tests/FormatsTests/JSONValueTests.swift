import Formats
import ProxyGPT
import Testing

@Suite struct JSONValueTests {
    private func parsed(_ text: String) throws(JSONError) -> String {
        String(decoding: try JSONValue(parsing: Array(text.utf8)).encoded, as: UTF8.self)
    }

    @Test(
        "A valid text is read as its value",
        arguments: [
            ("null", "null"), (" true\n", "true"), ("false", "false"), ("\"\"", "\"\""),
            ("[]", "[]"), ("{}", "{}"), ("[ 1 , 2 ]", "[1,2]"),
            ("{ \"a\" : [ { } ] }", #"{"a":[{}]}"#),
            (#""\"\\\/\b\f\n\r\t""#, #""\"\\/\u0008\u000c\n\r\t""#),
            (#""\u0041\u00e9\u20AC""#, "\"Aé€\""), (#""\ud83e\udd80""#, "\"🦀\""),
            (#""\uD83E\uDD80x""#, "\"🦀x\""), (#""\u0000""#, #""\u0000""#),
            (#"{"":0}"#, #"{"":0}"#), ("\t\r\n 0 ", "0"), ("\"é🦀\"", "\"é🦀\""),
            ("\"\u{7F}\"", "\"\u{7F}\""),
        ])
    func readsValidTexts(text: String, canonical: String) throws {
        #expect(try parsed(text) == canonical)
    }

    @Test(
        "A number is kept as it was written",
        arguments: [
            "0", "-0", "7", "-12", "0.5", "-0.25", "1e9", "1E+9", "1e-9", "12.34e56",
            "123456789012345678901234567890", "0.1000000000000000055511151231257827", "0e0",
        ])
    func keepsNumbers(text: String) throws {
        #expect(try parsed(text) == text)
    }

    @Test(
        "Malformed JSON is refused",
        arguments: [
            "", " ", "nul", "nulll", "True", "tru", "'a'", "a", "01", "00", "-", "-a", "+1", ".5",
            "1.",
            "1.e5", "1e", "1e+", "0x10", "NaN", "Infinity", "[", "]", "[1", "[1,", "[1,]", "[,1]",
            "[1 2]",
            "{", "}", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,", "{\"a\":1,}", "{a:1}", "{1:1}",
            "{\"a\" 1}", "{,}", "{\"a\":1 \"b\":2}", "\"", "\"a", "\"\\\"", "\"\\x\"", "\"\\u12\"",
            "\"\\u12g4\"", "\"\n\"", "\"\t\"", "\"\u{0}\"", "1 2", "{} {}", "[]]", "null,",
            "// a\n1",
            "\u{FEFF}1", "\u{00A0}1", #""\ud83e""#, #""\ud83ex""#, #""\ud83e\n""#,
            #""\ud83e\u0041""#,
            #""\udd80""#, #""\udd80\ud83e""#, #""\ud83e\ud83e""#, #""\ud83e\u""#, #""\ud83e\"#,
        ])
    func refusesOtherTexts(text: String) {
        #expect(throws: JSONError.self) { try parsed(text) }
    }

    @Test(
        "Bytes that are not UTF-8 are refused",
        arguments: [
            [0x80], [0xC3], [0xC3, 0x28], [0xC0, 0xAF], [0xE2, 0x82], [0xED, 0xA0, 0x80], [0xFF],
            [0xF4, 0x90, 0x80, 0x80], [0xF0, 0x80, 0x80, 0x80],
        ] as [[UInt8]])
    func refusesInvalidUTF8(bytes: [UInt8]) {
        #expect(throws: JSONError.malformed(offset: 1)) {
            try JSONValue(parsing: [0x22] + bytes + [0x22])
        }
        #expect(throws: JSONError.self) { try JSONValue(parsing: bytes) }
    }

    @Test("The error has the place of the mistake")
    func tellsThePlace() {
        #expect(throws: JSONError.malformed(offset: 5)) { try parsed("[1,2 3]") }
        #expect(throws: JSONError.malformed(offset: 0)) { try parsed("") }
        #expect(throws: JSONError.malformed(offset: 3)) { try parsed("{} x") }
    }

    @Test("Sixty-four levels are read and the sixty-fifth is refused")
    func limitsTheDepth() throws {
        func nested(_ depth: Int, _ open: String, _ close: String) -> String {
            String(repeating: open, count: depth) + "1" + String(repeating: close, count: depth)
        }
        #expect(try parsed(nested(64, "[", "]")) == nested(64, "[", "]"))
        #expect(try parsed(nested(64, "{\"a\":", "}")) == nested(64, "{\"a\":", "}"))
        #expect(throws: JSONError.tooDeep) { try parsed(nested(65, "[", "]")) }
        #expect(throws: JSONError.tooDeep) { try parsed(nested(65, "{\"a\":", "}")) }
        #expect(throws: JSONError.tooDeep) { try parsed(String(repeating: "[", count: 1_000_000)) }
        #expect(throws: JSONError.tooDeep) {
            try parsed(String(repeating: "[{\"a\":", count: 100_000))
        }
        // Siblings do not add up.
        #expect(
            try parsed("[" + nested(63, "[", "]") + "," + nested(63, "[", "]") + "]").count == 257)
    }

    @Test("Members keep their order, and those that come twice are both kept")
    func keepsDuplicates() throws {
        let value = try JSONValue(parsing: Array(#"{"b":1,"a":2,"b":3}"#.utf8))
        #expect(String(decoding: value.encoded, as: UTF8.self) == #"{"b":1,"a":2,"b":3}"#)
        #expect(value["b"]?.integerValue == 1)
        #expect(value["c"] == nil)
    }

    @Test("Only whole numbers that fit are integers")
    func readsIntegers() {
        let maximum = JSONValue.number("9223372036854775807")
        #expect(maximum.integerValue == .max)
        for text in ["9223372036854775808", "1.0", "1e3", "0.5"] {
            #expect(JSONValue.number(text).integerValue == nil)
        }
        #expect(JSONValue.string("1").integerValue == nil)
        #expect(JSONValue.integer(-5).integerValue == -5)
    }

    @Test("No beginning of a text is read as the text")
    func refusesBeginnings() throws {
        let whole = Array(#"{"a":[1.5,"\ud83d\ude00é",true],"b":{"c":null}}"#.utf8)
        _ = try JSONValue(parsing: whole)
        for end in whole.indices {
            #expect(throws: JSONError.self) { try JSONValue(parsing: Array(whole[..<end])) }
        }
    }

    @Test("Values are equal that are written alike")
    func comparesValues() throws {
        #expect(try JSONValue(parsing: Array(" { \"a\" : [ 1 , 2 ] } ".utf8)) == ["a": [1, 2]])
        #expect(JSONValue.number("1.0") != 1 && JSONValue.null != false)
        #expect(JSONValue.integer(Int.min) == .number("-9223372036854775808"))
        #expect(["a": 1, "b": 2] as JSONValue != ["b": 2, "a": 1])
    }

    @Test("Base64 is padded in the examples of RFC 4648")
    func padsBase64() {
        let texts = ["", "f", "fo", "foo", "foob", "fooba", "foobar"]
        let encoded = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]
        #expect(texts.map { base64(Array($0.utf8)) } == encoded)
        #expect(base64([0xFB, 0xFF, 0xFE]) == "+//+")
    }

    @Test("A written value reads back as the same")
    func readsBackWhatItWrote() throws {
        let all = String(String.UnicodeScalarView((0..<0x300).compactMap { Unicode.Scalar($0) }))
        let value: JSONValue = [
            "text": .string(all), "null": .null, "flag": true, "list": [.number("1"), "🦀", []],
            "none": .text(nil), "\"quoted\"": .object([]),
        ]
        let again = try JSONValue(parsing: value.encoded)
        #expect(again["text"]?.stringValue == all)
        #expect(again.encoded == value.encoded)
    }
}
