import FastCGI
import Testing

@Suite struct RequestHeadTests {
    private let heads: [[UInt8]] = [
        Record.head(["A": "1"]),
        Record.head(
            ["REQUEST_METHOD": "GET", "LONG": String(repeating: "x", count: 300)], padding: 7),
        Record.head([:], keepsConnection: false),
        Record.begin(id: 0x1234) + Record.parameters(["A": "1"], id: 0x1234)
            + Record.parameters(["B": "2"], id: 0x1234, padding: 255)
            + Record.make(4, [], id: 0x1234),
    ]

    @Test("A head is complete with its last byte and with no earlier one")
    func findsTheEnd() {
        for head in heads {
            for length in 0..<head.count {
                #expect(
                    RequestHead(scanning: head[..<length]) == .incomplete,
                    "\(length) of \(head.count)")
            }
            #expect(RequestHead(scanning: head) == .complete(length: head.count))
        }
    }

    @Test("What follows a head does not matter")
    func ignoresWhatFollows() {
        for head in heads {
            for tail in [
                [0], [UInt8](repeating: 0xFF, count: 100), Record.make(5, Array("body".utf8)),
            ] {
                #expect(RequestHead(scanning: head + tail) == .complete(length: head.count))
            }
        }
    }

    @Test("A slice is read from its own beginning")
    func readsSlices() {
        let bytes = [1, 2, 3] + heads[0]
        #expect(RequestHead(scanning: bytes[3...]) == .complete(length: heads[0].count))
    }

    @Test("What no request begins with is refused as soon as it shows")
    func refusesGarbage() {
        let begin = Record.begin()
        let garbage: [[UInt8]] = [
            [0], [2], [0xFF], Array("GET / HTTP/1.1\r\n".utf8),
            Record.make(4, []),
            Record.make(9, [], id: 0),
            Record.make(1, [0, 1, 1, 0, 0, 0, 0], id: 1),
            Record.make(1, [UInt8](repeating: 0, count: 9), id: 1),
            Record.begin(id: 0),
            begin + begin,
            begin + Record.make(4, [], padding: 5),
            begin + [2],
            begin + Record.make(4, [], id: 2),
            begin + Record.make(5, []),
            begin + Record.make(2, []),
            begin + Record.parameters(["A": "1"]) + Record.make(5, []),
        ]
        for bytes in garbage {
            #expect(RequestHead(scanning: bytes) == .malformed, "\(bytes.prefix(24))")
        }
        #expect(RequestHead(scanning: [UInt8]()) == .incomplete)
    }
}
