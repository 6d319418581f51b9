import ProxyGPT
import Testing

@Suite struct UsernameTests {
    @Test("A name is kept as it was written")
    func keepsTheText() throws {
        let name = try Username("Asim Aslam".replacing(" ", with: "_"))
        #expect(name.text == "Asim_Aslam")
        #expect(name.folded == "asim_aslam")
    }

    @Test(
        "White space around a name is taken off",
        arguments: [" asim", "asim\n", "\t asim \r\n", "\u{00A0}asim\u{3000}"])
    func trims(text: String) throws {
        #expect(try Username(text).text == "asim")
    }

    @Test("A name is brought into normalization form C")
    func normalizes() throws {
        let composed = try Username("Andr\u{00E9}")
        let decomposed = try Username("Andre\u{0301}")
        #expect(Array(decomposed.text.utf8) == Array("Andr\u{00E9}".utf8))
        #expect(Array(composed.folded.utf8) == Array(decomposed.folded.utf8))
        #expect(Array(try Username("\u{212B}ngstrom").text.utf8) == Array("\u{00C5}ngstrom".utf8))
    }

    @Test(
        "Names that differ in case alone are the same",
        arguments: [
            ("ASIM", "asim"), ("ÉTÉ", "été"), ("ΟΔΟΣ", "οδοσ"), ("ΟΔΟΣ", "οδος"),
            ("straße", "STRASSE"), ("ǅ", "ǆ"), ("K", "\u{212A}"), ("ſ", "s"), ("É", "e\u{0301}"),
        ])
    func foldsCase(left: String, right: String) throws {
        #expect(Array(Username.folded(left).utf8) == Array(Username.folded(right).utf8))
    }

    @Test("Names that differ in letters stay apart", arguments: [("été", "ete"), ("a", "а")])
    func keepsLettersApart(left: String, right: String) {
        #expect(Array(Username.folded(left).utf8) != Array(Username.folded(right).utf8))
    }

    @Test("A name is looked up without surrounding white space")
    func foldsForLookUp() throws {
        #expect(Username.folded("  Asim ") == (try Username("asim").folded))
        #expect(Username.folded("") == "")
        #expect(Username.folded("not : a name") == "not : a name")
        #expect(Username.folded(String(repeating: "a", count: 255)) == "")
        #expect(Username.folded(" " + String(repeating: "a", count: 254)).utf8.count == 254)
    }

    @Test(
        "A name without a letter is refused", arguments: ["", " ", "\n\t", "\u{3000}"])
    func refusesEmptyNames(text: String) {
        expectRefusal(of: text, saying: "must not be empty")
    }

    @Test("A name has at most 254 bytes, in the request and in its final form")
    func limitsTheLength() throws {
        #expect(try Username(String(repeating: "a", count: 254)).text.utf8.count == 254)
        #expect(try Username("  " + String(repeating: "é", count: 127)).text.utf8.count == 254)
        // 252 bytes as written, 168 once composed.
        #expect(try Username(String(repeating: "e\u{0301}", count: 84)).text.utf8.count == 168)
        // 255 bytes as written, 170 once composed; 150 bytes that become 300.
        expectRefusal(of: String(repeating: "e\u{0301}", count: 85), saying: "at most 254 bytes")
        expectRefusal(of: String(repeating: "\u{0958}", count: 50), saying: "at most 254 bytes")
        expectRefusal(of: String(repeating: "a", count: 255), saying: "at most 254 bytes")
        expectRefusal(of: String(repeating: "é", count: 128), saying: "at most 254 bytes")
    }

    @Test(
        "Characters that separate names elsewhere are refused",
        arguments: ["a:b", "a,b", "a/b", ":", "/a"])
    func refusesSeparators(text: String) {
        expectRefusal(of: text, saying: "must not contain \"")
    }

    @Test(
        "White space within a name is refused",
        arguments: ["a b", "a\tb", "a\nb", "a\u{00A0}b", "a\u{2003}b", "a\u{0085}b"])
    func refusesInnerSpace(text: String) {
        expectRefusal(of: text, saying: "white space")
    }

    @Test(
        "Control characters are refused", arguments: ["a\u{0}b", "a\u{7}", "a\u{7F}b", "\u{9F}a"])
    func refusesControls(text: String) {
        expectRefusal(of: text, saying: "control characters")
    }

    @Test(
        "Invisible characters and those that turn the direction are refused",
        arguments: [
            "a\u{200B}b", "a\u{200D}b", "\u{202E}ab", "a\u{2066}b", "a\u{200F}", "\u{FEFF}a",
            "a\u{00AD}b", "a\u{061C}b", "a\u{E0041}b", "a\u{034F}b", "a\u{3164}b", "a\u{FE0F}",
        ])
    func refusesTheInvisible(text: String) {
        expectRefusal(of: text, saying: "invisible")
    }

    @Test("Unassigned characters are refused", arguments: ["a\u{E000}", "a\u{0378}", "a\u{FFFF}"])
    func refusesTheUnassigned(text: String) {
        expectRefusal(of: text, saying: "unassigned")
    }

    @Test(
        "A name that looks like an id is refused",
        arguments: [
            "017f22e2-79b0-7cc3-98c4-dc0c0c07398f", "017F22E2-79B0-7CC3-98C4-DC0C0C07398F",
            " 017f22e2-79b0-7cc3-98c4-dc0c0c07398f ", "017f22e2-79b0-7cc3-98c4-dc0c0c0739\u{FB00}",
        ])
    func refusesIds(text: String) {
        expectRefusal(of: text, saying: "look like an id")
    }

    @Test("Emoji and letters of any script make a name")
    func takesOtherScripts() throws {
        for text in ["李雷", "Ольга", "فاطمة", "🦀", "user.name+tag@example.org", "o'neil", "名前"] {
            #expect(try Username(text).text == text)
        }
    }

    @Test("The refusal names the parameter")
    func namesTheParameter() {
        #expect(throws: Failure.invalid("name", "A user name must not be empty.")) {
            try Username("", parameter: "name")
        }
    }

    private func expectRefusal(
        of text: String, saying words: String, at location: SourceLocation = #_sourceLocation
    ) {
        do throws(Failure) {
            let name = try Username(text)
            Issue.record("taken as \(name.text)", sourceLocation: location)
        } catch {
            #expect(error.code == .invalidRequest, sourceLocation: location)
            #expect(error.parameter == "username", sourceLocation: location)
            #expect(error.message.contains(words), sourceLocation: location)
        }
    }
}
