import EventLoop
import FastCGI
import TestSupport
import Testing

/// What no web server sends: libfcgi trusts it, and the process must live on.
@Suite(.timeLimit(.minutes(5))) struct HostileRecordTests {
    private static func long(_ number: Int) -> [UInt8] {
        [0x80 | UInt8(number >> 24)] + [16, 8, 0].map { UInt8(number >> $0 & 255) }
    }

    private static func head(_ content: [UInt8]...) -> [UInt8] {
        Record.begin() + content.flatMap { Record.make(4, $0) } + Record.make(4, [])
    }

    /// Beginnings that are refused as they stand.
    private static let malformed: [[UInt8]] = [
        // Lengths of 2^30 and more, of a name, a value or both.
        head(long(1 << 30) + long(1 << 30) + [65]),
        head(long(1 << 30) + [1, 65]), head([1] + long(1 << 30) + [65]),
        head([0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]),
        head(long(128 * 1024 + 1) + [0]), head([0] + long(128 * 1024 + 1)),
        // Each within its bounds, and more than a head in all.
        head(long(100_000) + long(100_000)),
        // Lengths that are cut, also by the end of the record that they begin in.
        head([1]), head([0x80]), head([0x80, 0, 0]), head([1, 0x80, 0, 0, 1]), head([1, 1, 65]),
        head([0x80, 0], [0, 5, 1]), head([5, 5, 65]),
        // Padding that libfcgi reads as a record.
        Record.make(1, [0, 1, 1, 0, 0, 0, 0, 0], padding: 16) + Record.make(4, []),
        Array(Record.make(1, [0, 1, 1, 0, 0, 0, 0, 0], padding: 17).dropLast(17))
            + Record.make(4, long(1 << 30) + long(1 << 30) + [65]) + Record.make(4, []),
        head([1, 1, 65, 66]).dropLast(2) + [5, 0, 1, 5, 0, 1, 0, 0],
        // Another role, another request, an end before the beginning.
        Record.make(1, [0, 2, 1, 0, 0, 0, 0, 0]), Record.make(1, [1, 1, 1, 0, 0, 0, 0, 0]),
        Record.begin() + Record.make(4, [1, 1, 65, 66], id: 2), Record.make(2, []),
        Record.begin() + Record.make(2, []),
        Record.begin() + Record.make(9, [1, 1, 65, 66], id: 0),
        Record.begin() + Record.make(5, [65]), Record.begin() + [2, 4, 0, 1, 0, 0, 0, 0],
    ]

    @Test("A head with absurd or contradictory lengths is malformed, however it is cut")
    func refusesLengths() {
        for bytes in Self.malformed {
            #expect(RequestHead(scanning: bytes) == .malformed, "\(bytes.prefix(32))")
            for length in bytes.indices {
                let prefix = RequestHead(scanning: bytes[..<length])
                #expect(prefix == .incomplete || prefix == .malformed)
            }
        }
    }

    @Test("The longest record and the longest padding are taken, whatever cuts their pairs")
    func takesLongRecords() {
        let value = [UInt8](repeating: 120, count: 65_535 - 6)
        let whole = Self.head([1] + Self.long(value.count) + [65] + value)
        #expect(RequestHead(scanning: whole) == .complete(length: whole.count))
        let content = Self.long(3) + Self.long(200) + [UInt8](repeating: 65, count: 203) + [0, 0]
        for cut in 1..<content.count {
            let bytes =
                Record.begin() + Record.make(4, Array(content[..<cut]), padding: 255)
                + Record.make(4, Array(content[cut...]), padding: 1)
                + Record.make(4, [])
            #expect(RequestHead(scanning: bytes) == .complete(length: bytes.count), "cut at \(cut)")
        }
    }

    @Test("A server hangs up on hostile records, in the head and in the body, and serves others")
    func livesOn() async throws {
        let pool = try Pool()
        let server = try await onLoop { try pool.serve { await $0.echo() } }
        let head = Record.head(["A": "1"])
        let values = Array(repeating: [15, 0] + Array("FCGI_MPXS_CONNS".utf8), count: 20)
        let bodies: [[UInt8]] = [
            // libfcgi allocates what a management record asks for, and answers past its buffer.
            Record.make(9, Self.long(1 << 30) + Self.long(1 << 30), id: 0),
            Record.make(9, values.flatMap { $0 }, id: 0), Record.make(11, [], id: 0),
            Record.make(2, []), Record.begin(), Record.make(5, [1, 2], id: 2), Record.make(8, [1]),
            [UInt8](repeating: 0xFF, count: 8),
            Record.make(5, [7], padding: 255) + Record.make(4, []),
        ]
        for bytes in Self.malformed + bodies.map({ head + $0 }) {
            for cut in [bytes.count, bytes.count - 1, head.count + 3] {
                let client = try pool.connect()
                let answer = try await FastCGIClient.onThread {
                    client.send(Array(bytes.prefix(cut)))
                    client.send(Array(bytes.dropFirst(cut)))
                    return client.answer()
                }
                guard case .cut = answer else {
                    Issue.record("\(bytes.prefix(48)) was answered \(answer)")
                    continue
                }
            }
        }
        #expect(try await pool.connect().call(body: [1, 2]) == .whole([1, 2]))
        await server.drain(milliseconds: 1000)
        #expect(try await onLoop { server.inFlight } == 0)
    }

    @Test("A body that ends in the middle of a record is cut off when the web server leaves")
    func endsWithThePeer() async throws {
        let pool = try Pool()
        let (begun, ended) = (Gate(), Gate())
        let server = try await onLoop {
            try pool.serve { request in
                begun.open()
                while let bytes = try? await request.readBody() { _ = bytes }
                request.abort()
                ended.open()
            }
        }
        let client = try pool.connect()
        client.send(Record.head(["A": "1"]) + [1, 5, 0, 1, 0])
        // A client that leaves before is not served at all.
        await begun.wait()
        client.hangUp()
        await ended.wait()
        await server.drain(milliseconds: 1000)
    }
}
