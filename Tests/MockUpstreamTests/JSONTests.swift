import Testing

@testable import MockUpstream

@Suite("JSON")
struct JSONTests {
    private func read(_ text: String) throws -> JSON {
        try JSON(reading: Array(text.utf8))
    }

    private func write(_ json: JSON) -> String {
        String(decoding: json.bytes, as: UTF8.self)
    }

    @Test("a value is written as it was read, its members in order")
    func roundTrip() throws {
        let text = #"{"b":[1,-2.5,true,false,null,"x\"\\\n"],"a":{},"c":[]}"#
        #expect(write(try read(text)) == text)
        #expect(try read(" \t\r\n{ \"a\" : [ 1 , 2 ] } ") == ["a": [1, 2]])
    }

    @Test("escapes become characters, pairs of surrogates included")
    func escapes() throws {
        #expect(
            try read(#""\u0041\/\b\f\u00e9\ud83d\ude00""#) == .string("A/\u{8}\u{C}é😀"))
        #expect(write(.string("\u{1}\u{1F}é😀")) == "\"\\u0001\\u001fé😀\"")
    }

    @Test("numbers keep being whole where they are")
    func numbers() throws {
        #expect(try read("0") == 0)
        #expect(try read("-9223372036854775808") == .integer(.min))
        #expect(try read("9223372036854775808") == .number(9_223_372_036_854_775_808))
        #expect(try read("1.5e2") == .number(150))
    }

    @Test(
        "what is no JSON is refused",
        arguments: [
            "", " ", "{", "[1,]", "{\"a\":1,}", "{a:1}", "01", "1.", ".5", "+1", "-", "1e", "tru",
            "nulll", "\"", "\"\n\"", #""\x""#, #""\u12""#, #""\ud800""#, #""\ud800\u0041""#,
            #""\udc00""#, "1 2", "[1 2]", "{\"a\" 1}", "1e999",
        ])
    func refused(text: String) {
        #expect(throws: JSON.SyntaxError.self) { try read(text) }
    }

    @Test("bytes that are no UTF-8 are refused")
    func notUTF8() {
        #expect(throws: JSON.SyntaxError.self) { try JSON(reading: [0x22, 0xC3, 0x22]) }
        #expect(throws: JSON.SyntaxError.self) { try JSON(reading: [0xFF]) }
    }

    @Test("nesting beyond 64 levels is refused and not followed")
    func nesting() throws {
        let most = String(repeating: "[", count: 64) + String(repeating: "]", count: 64)
        _ = try read(most)
        #expect(throws: JSON.SyntaxError.self) { try read("[" + most + "]") }
        #expect(throws: JSON.SyntaxError.self) {
            try read(String(repeating: "[{\"a\":", count: 100_000))
        }
    }

    @Test("no beginning of a text is taken for the text")
    func truncated() throws {
        let whole = Array(#"{"a":[1.5,"\ud83d\ude00é",true],"b":{"c":null}}"#.utf8)
        _ = try JSON(reading: whole)
        for end in whole.indices {
            #expect(throws: JSON.SyntaxError.self) { try JSON(reading: Array(whole[..<end])) }
        }
    }
}
