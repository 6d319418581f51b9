import Testing

@Suite struct LexerTests {
    private func read(_ text: String) -> SourceFile { SourceFile("Sources/A/A.swift", text) }

    @Test("Comments are no code, nested ones neither")
    func dropsComments() {
        #expect(read("a // b\nc").code == "a \nc")
        #expect(read("a /* b /* c */ d */ e").code == "a  e")
        #expect(read("a /* b").code == "a ")
    }

    @Test("Strings are no code, but what is interpolated is")
    func separatesStrings() {
        let file = read(#"f("one \(g("two")) three", "\"four\\")"#)
        #expect(file.code.filter { $0 != " " } == #"f(""g(""),"")"#)
        #expect(file.strings == ["two", "one … three", #"\"four\\"#])
        #expect(read(##"a(#"say "hi" \(no)"#)"##).strings == [#"say "hi" \(no)"#])
        #expect(read("a(\"\"\"\n// \"no\" comment\n\"\"\")").strings == ["\n// \"no\" comment\n"])
        #expect(read("a(\"// no\") // yes").code == "a(\"\") ")
    }

    @Test("Words are found whole")
    func findsWords() {
        #expect(read("getenv(x)").uses("getenv"))
        #expect(!read("setgetenv(x)").uses("getenv"))
        #expect(!read("getenvs(x)").uses("getenv"))
        #expect(read("x as! Y").uses("as!"))
        #expect(!read("alias! y").uses("as!"))
    }
}
