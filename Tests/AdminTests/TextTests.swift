import Formats
internal import ProxyGPT
internal import Testing

@testable internal import Admin

@Suite struct TextTests {
    @Test func `columns are as wide as their widest text, numbers end at one place`() {
        var table = Table("NAME", ">COUNT", "NOTE")
        table.add(["a", "5", ""])
        table.add(["longer", "12345", "x"])
        #expect(table.lines == ["NAME    COUNT  NOTE", "a           5", "longer  12345  x"])
    }

    @Test func `a table that is taken piece by piece has its titles once and gets wider`() {
        var table = Table("NAME", ">COUNT")
        table.add(["a", "5"])
        #expect(table.takeLines() == ["NAME  COUNT", "a         5"])
        table.add(["longer", "12"])
        #expect(table.takeLines() == ["longer     12"])
        table.add(["b", "7"])
        #expect(table.takeLines() == ["b           7"])
        #expect(table.takeLines() == [])
    }

    @Test func `wide and combining characters keep the columns in line`() {
        #expect(TerminalText.width("日本語") == 6)
        #expect(TerminalText.width("e\u{301}") == 1)
        #expect(TerminalText.width("👩\u{200D}👧") == 2)
        #expect(TerminalText.width("🇫🇷") == 2)
        var table = Table("NAME", "X")
        table.add(["日本", "1"])
        table.add(["abcd", "2"])
        #expect(table.lines == ["NAME  X", "日本  1", "abcd  2"])
    }

    @Test(arguments: [
        ("\u{1B}[31mred", "\\u{1B}[31mred"), ("a\u{9B}31m", "a\\u{9B}31m"), ("a\nb", "a\\nb"),
        ("\u{202E}txt", "\\u{202E}txt"), ("\u{7F}", "\\u{7F}"), ("\u{2028}", "\\u{2028}"),
        ("\u{200B}", "\\u{200B}"), ("é 日 👍🏽", "é 日 👍🏽"),
    ])
    func `no text from the database acts on the terminal`(text: String, shown: String) {
        #expect(TerminalText.line(text) == shown)
        var table = Table("A")
        table.add([text])
        #expect(table.lines.last == shown)
    }

    @Test func `a block keeps its lines and nothing else`() {
        #expect(TerminalText.block("a\n\tb\u{1B}c") == "a\n\tb\\u{1B}c")
    }

    @Test func `JSON stays the same value where characters are escaped`() {
        let value: JSONValue = ["a": "x\u{9B}\u{202E}\u{7F}é", "b": "\u{1B}"]
        #expect(
            TerminalText.json(value.encoded)
                == #"{"a":"x\u009b\u202e\u007fé","b":"\u001b"}"#)
        #expect(TerminalText.json(JSONValue.string("\u{E0001}").encoded) == #""\udb40\udc01""#)
    }

    @Test func `CSV values are quoted where they must be`() {
        #expect(CSV.line(["a", nil, "b,c", "say \"x\""]) == #"a,,"b,c","say ""x""""#)
    }

    @Test func `a combining mark hides no separator and no formula of a CSV line`() {
        #expect(
            Array(CSV.line(["a,\u{301}b", "c\"\u{301}d"]).utf8)
                == Array("\"a,\u{301}b\",\"c\"\"\u{301}d\"".utf8))
        #expect(
            Array(CSV.line(["=\u{301}1", "@\u{301}", "-\u{301}5", "+\u{301}"]).utf8)
                == Array("'=\u{301}1,'@\u{301},'-\u{301}5,'+\u{301}".utf8))
        #expect(CSV.line(["\t=1", "\r=1"]) == "\\t=1,\\u{D}=1")
        #expect(CSV.line([String(repeating: "-1", count: 20)]).utf8.first == UInt8(ascii: "'"))
    }

    @Test func `no CSV value is a formula, and negative numbers are numbers`() {
        #expect(CSV.line(["=1+1", "+x", "@x", "-x", "-5"]) == "'=1+1,'+x,'@x,'-x,-5")
        #expect(CSV.line(["a\nb", "\u{1B}"]) == "a\\nb,\\u{1B}")
    }
}
