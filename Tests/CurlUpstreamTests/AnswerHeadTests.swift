import ProxyGPT
import TestSupport
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
        let (other, _) = feed(
            "HTTP/1.1 200 OK\r\n", "A: 1\r\n", "no colon\r\n", " 2\r\n", "B:\r\n", " 3\r\n",
            "\r\n")
        #expect(other.headers == [Header("A", "1 2"), Header("B", " 3")])
    }

    @Test func aFoldBehindNoHeaderIsPassedOver() {
        let (head, step) = feed(
            "HTTP/1.1 103 Early Hints\r\n", "Link: x\r\n", "\r\n", "HTTP/1.1 200 OK\r\n",
            " a\r\n", "A: 1\r\n", "\r\n")
        #expect(step == .whole)
        #expect(head.headers == [Header("A", "1")])
    }

    @Test func manyFoldsCostNoMoreThanTheirLength() {
        let folds = [[UInt8]](repeating: Array(" b\n".utf8), count: 21_000)
        let begin = [Array("HTTP/1.1 200 OK\r\n".utf8), Array("A: b\r\n".utf8)]
        let time = threadMilliseconds {
            let (head, step) = feed(begin + folds + [Array("\r\n".utf8)])
            #expect(step == .whole)
            #expect(head.headers.map(\.value.utf8.count) == [2 * 21_000 + 1])
        }
        // With each fold a copy of all before it took seconds in a debug build.
        #expect(time < 500)
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

    @Test func keepsBytesThatAreNoUTF8() {
        let bytes = [UInt8(ascii: "a"), 0xE9, 0xFF]
        let (head, _) = feed([
            Array("HTTP/1.1 200 OK\r\n".utf8), Array("A: ".utf8) + bytes + [13, 10],
            Array("B: été\r\n".utf8), [0x20, 0xE9, 13, 10], [13, 10],
        ])
        #expect(head.headers.map(\.bytes) == [bytes, Array("été ".utf8) + [0xE9]])
        #expect(head.headers.map(\.value) == ["a\u{FFFD}\u{FFFD}", "été \u{FFFD}"])
        #expect(head.headers.map(\.isText) == [false, false])
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
        let length = feed(
            "HTTP/1.1 200 OK\r\n", "Content-Length: 9223372036854775807\r\n", "\r\n")
        #expect(length.0.bodyLength == .max)
    }

    @Test(arguments: ["chunked", "Chunked"])
    func takesTheLengthBesideChunkedAway(coding: String) {
        let (head, step) = feed(
            "HTTP/1.1 200 OK\r\n", "content-length: 7\r\n", "Transfer-Encoding: \(coding)\r\n",
            "Content-Length: x\r\n", "\r\n")
        #expect(step == .whole)
        #expect(head.bodyLength == nil)
        #expect(head.headers == [Header("Transfer-Encoding", coding)])
    }

    @Test(arguments: ["gzip", "identity", "chunked, gzip", ""])
    func refusesALengthBesideAnotherCoding(coding: String) {
        let (_, step) = feed(
            "HTTP/1.1 200 OK\r\n", "content-length: 7\r\n", "Transfer-Encoding: \(coding)\r\n",
            "\r\n")
        guard case .broken = step else {
            Issue.record("took \(coding)")
            return
        }
    }

    @Test func keepsOneOfEqualLengths() {
        let (head, step) = feed(
            "HTTP/1.1 200 OK\r\n", "Content-Length: 7\r\n", "A: 1\r\n", "content-length: 07\r\n",
            "\r\n")
        #expect(step == .whole)
        #expect(head.headers == [Header("Content-Length", "7"), Header("A", "1")])
    }

    @Test(arguments: [
        ["-1"], ["+5"], ["5, 5"], ["5 5"], ["5,6"], ["9223372036854775808"], ["0x5"], [""],
        ["five"], ["5", "6"], ["5", ""], ["5\r\n", " 5"], ["\u{665}"],
    ])
    func refusesALengthThatIsNoNumber(values: [String]) {
        var lines = ["HTTP/1.1 200 OK\r\n"]
        for value in values {
            lines.append(
                value.hasPrefix(" ") ? value + "\r\n" : "Content-Length: " + value + "\r\n")
        }
        let (_, step) = feed((lines + ["\r\n"]).map { Array($0.utf8) })
        guard case .broken(let text) = step else {
            Issue.record("took \(values)")
            return
        }
        #expect(text.contains("Content-Length"))
    }
}
