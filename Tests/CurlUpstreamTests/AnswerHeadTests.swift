import ProxyGPT
import Testing

@testable import CurlUpstream

struct AnswerHeadTests {
    private func feed(_ lines: [[UInt8]]) -> (AnswerHead, AnswerHead.Step) {
        var head = AnswerHead()
        var step = AnswerHead.Step.more
        for line in lines where step == .more {
            step = line.withUnsafeBytes { head.take($0) }
        }
        return (head, step)
    }

    private func feed(_ text: String...) -> (AnswerHead, AnswerHead.Step) {
        feed(text.map { Array($0.utf8) })
    }

    @Test func keepsHeadersInOrderWithDuplicates() {
        let (head, step) = feed(
            "HTTP/1.1 200 OK\r\n", "B: 2\r\n", "A: 1\r\n", "b:  3 \t\r\n", "Empty:\r\n", "\r\n")
        #expect(step == .whole)
        #expect(head.status == 200)
        #expect(
            head.headers == [
                Header("B", "2"), Header("A", "1"), Header("b", "3"), Header("Empty", ""),
            ])
    }

    @Test func passesOverInterimHeads() {
        let (head, step) = feed(
            "HTTP/1.1 100 Continue\r\n", "\r\n", "HTTP/1.1 103 Early Hints\r\n", "Link: x\r\n",
            "\r\n", "HTTP/1.1 201 Created\r\n", "C: 3\r\n", "\r\n")
        #expect(step == .whole)
        #expect(head.status == 201)
        #expect(head.headers == [Header("C", "3")])
    }

    @Test func joinsFoldedLines() {
        let (head, _) = feed(
            "HTTP/1.1 200 OK\r\n", "A: one\r\n", " \ttwo\r\n", " three\r\n", "\r\n")
        #expect(head.headers == [Header("A", "one two three")])
    }

    @Test func passesOverWhatIsNoHeader() {
        let (head, step) = feed(
            "HTTP/1.1 200 OK\r\n", "no colon\r\n", ": no name\r\n", "a b: no token\r\n", "A: 1\r\n",
            "\r\n")
        #expect(step == .whole)
        #expect(head.headers == [Header("A", "1")])
    }

    @Test func leavesNoLineBreakOrControlByteInAValue() {
        let (head, _) = feed("HTTP/1.1 200 OK\r\n", "A: x\r y\u{0}z\r\n", "\r\n")
        #expect(head.headers == [Header("A", "x  y z")])
    }

    @Test func keepsUTF8AndTakesOtherBytesForLatin1() {
        let latin = Array("A: ".utf8) + [0xE9] + Array("t\r\n".utf8)
        let (head, _) = feed([
            Array("HTTP/1.1 200 OK\r\n".utf8), latin, Array("B: été\r\n".utf8), [13, 10],
        ])
        #expect(head.headers == [Header("A", "ét"), Header("B", "été")])
    }

    @Test func ignoresTrailers() {
        var (head, _) = feed("HTTP/1.1 200 OK\r\n", "A: 1\r\n", "\r\n")
        let step = Array("Trailer: x\r\n".utf8).withUnsafeBytes { head.take($0) }
        #expect(step == .trailer)
        #expect(head.headers == [Header("A", "1")])
    }

    @Test(arguments: [
        "HTTP/1.1 \r\n", "HTTP/1.1 2x0 OK\r\n", "ICY 200 OK\r\n", "HTTP/1.1\r\n", "\u{0}",
    ])
    func refusesAStatusLineThatIsNone(line: String) {
        let (_, step) = feed(line)
        guard case .broken = step else {
            Issue.record("took \(line)")
            return
        }
    }

    @Test func refusesMoreThan64KiBOfHeads() {
        let line = "A: " + String(repeating: "x", count: 8000) + "\r\n"
        let (_, step) = feed(
            [Array("HTTP/1.1 200 OK\r\n".utf8)] + Array(repeating: Array(line.utf8), count: 9))
        #expect(step == .broken("the answer's head exceeds 64 KiB"))
    }

    @Test func tellsABodysLengthOnlyWhereTheHeadDecidesIt() {
        #expect(feed("HTTP/1.1 200 OK\r\n", "content-length: 7\r\n", "\r\n").0.bodyLength == 7)
        #expect(feed("HTTP/1.1 204 No\r\n", "\r\n").0.bodyLength == 0)
        #expect(feed("HTTP/1.1 200 OK\r\n", "\r\n").0.bodyLength == nil)
        let (both, _) = feed(
            "HTTP/1.1 200 OK\r\n", "content-length: 7\r\n", "transfer-encoding: chunked\r\n",
            "\r\n")
        #expect(both.bodyLength == nil)
    }
}
