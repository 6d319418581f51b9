import Formats
import ProxyGPT
import Testing

@Suite struct OutsideTextTests {
    @Test("A separator with a combining mark behind it separates")
    func separates() {
        #expect("/a?\u{301}token=x".beginning(before: "?").hasSameBytes(as: "/a"))
        #expect(
            "a;\u{301}b;;c".parts(separatedBy: ";").map { Array($0.utf8) }
                == ["a", "\u{301}b", "", "c"].map { Array($0.utf8) })
        #expect("name:\u{301}x".rest(behind: ":").map { Array($0.utf8) } == [0xCC, 0x81, 0x78])
        #expect("none".rest(behind: ":") == nil && "none".beginning(before: ":") == "none")
        #expect("".parts(separatedBy: ",").count == 1)
    }

    @Test("A number is decimal digits alone, as far as 63 bits hold it")
    func readsNumbers() {
        for (text, number) in [
            ("0", 0), ("007", 7), ("9223372036854775807", Int64.max),
            (String(repeating: "0", count: 39) + "1", 1),
        ] {
            #expect(text.utf8.decimalNumber == number)
        }
        for text in [
            "", "+5", "-5", " 5", "5 ", "0x10", "5_000", "1e3", "٥", "５", "5\u{301}", "1.0",
            "9223372036854775808", "99999999999999999999", String(repeating: "0", count: 41),
        ] {
            #expect(text.utf8.decimalNumber == nil, "\(text)")
        }
    }

    @Test("Texts are the same when their bytes are")
    func compares() {
        #expect(!"\u{E9}".hasSameBytes(as: "e\u{301}"))
        #expect("a".hasSameBytes(as: "a") && !"a".hasSameBytes(as: "ab"))
        #expect("/v1/\u{301}".beginsWithBytes(of: "/v1/") && !"/v1".beginsWithBytes(of: "/v1/"))
    }

    @Test("A text is cut between two scalars")
    func cuts() {
        #expect("abc".beginning(bytes: 3) == "abc" && "abcd".beginning(bytes: 3) == "abc")
        #expect("aé".beginning(bytes: 2) == "a" && "🦀".beginning(bytes: 3) == "")
        #expect("e\u{301}".beginning(bytes: 1) == "e" && "abc".beginning(bytes: 0) == "")
    }

    @Test("Blanks are taken off on both sides, bytes are quoted as printing ASCII")
    func trimsAndQuotes() {
        #expect("\t a b \t".withoutOuterBlanks == "a b" && " \t".withoutOuterBlanks == "")
        #expect(" a,\tb c ,, d\u{301},".listElements == ["a", "b c", "", "d\u{301}", ""])
        #expect(",\u{301}".listElements == ["", "\u{301}"])
        #expect(String(quoting: "aé\n".utf8) == "a???")
        #expect(String(quoting: String(repeating: "x", count: 99).utf8).utf8.count == 64)
        #expect("abc".isShortASCII && !"é".isShortASCII)
        #expect(!String(repeating: "x", count: 65).isShortASCII)
    }

    @Test("No text of an event is longer than its limit, and its path has no query")
    func boundsEvents() {
        let long = String(repeating: "é", count: 5000)
        var event = Event(
            id: Event.ID("1"), timestamp: Timestamp(milliseconds: 0), kind: .request,
            requestID: long, clientAddress: long, method: long, path: long + "?token=x")
        (event.chatID, event.groupID, event.model) = (long, long, long)
        (event.upstreamRequestID, event.detail) = (long, long)
        #expect(event.requestID.utf8.count == 64 && event.clientAddress.utf8.count == 64)
        #expect(event.method.utf8.count == 32 && event.path.utf8.count == 1024)
        #expect(event.chatID?.utf8.count == 36 && event.groupID?.utf8.count == 36)
        #expect(event.model?.utf8.count == 200 && event.upstreamRequestID?.utf8.count == 200)
        #expect(event.detail?.utf8.count == 1024)
        let marked = Event(
            id: Event.ID("1"), timestamp: Timestamp(milliseconds: 0), kind: .request,
            path: "/chat/stream?\u{301}token=pgpt_x")
        #expect(marked.path.hasSameBytes(as: "/chat/stream"))
    }

    @Test("A user is referred to by id or by name, and what is too long is neither")
    func refersToUsers() {
        let id = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"
        #expect(UserReference(id).isID && UserReference(id).foldedName == "")
        #expect(UserReference("Asim").foldedName == "asim" && !UserReference("Asim").isID)
        let long = UserReference(String(repeating: "a", count: 900_000))
        #expect(long.text.isEmpty && long.foldedName.isEmpty)
        #expect(UserReference(id).absence.message == "There is no user with this id.")
        #expect(
            UserReference("a", parameter: "username").absence
                == Failure(.notFound, "There is no user of this name.", parameter: "username"))
    }
}
