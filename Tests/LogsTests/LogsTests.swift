import EventLoop
import Formats
import Glibc
import Logging
import ProxyGPT
import Testing

@testable import Logs

@Suite struct LogsTests {
    // MARK: - The journal

    private func entry(_ log: (Logger) -> Void) throws -> [UInt8] {
        let path = "@logs-test-\(getpid())-\(UInt64.random(in: 0 ... .max))"
        let receiver = try DatagramSocket(at: path)
        let journal = try #require(JournalSocket(path: path))
        log(
            Logger(label: "test") { _ in JournalLogHandler(.info, program: "test", journal: journal)
            })
        var bytes = [UInt8](repeating: 0, count: 256 * 1024)
        let count = recv(receiver.descriptor, &bytes, bytes.count, Int32(MSG_DONTWAIT))
        return Array(bytes.prefix(max(0, count)))
    }

    @Test("An entry goes to the journal as fields")
    func fields() throws {
        let text = String(
            decoding: try entry { $0.warning("slow", metadata: ["request.id": "r-1"]) },
            as: UTF8.self)
        #expect(
            text == """
                PRIORITY=4
                SYSLOG_IDENTIFIER=test
                MESSAGE=slow request.id=r-1
                PROXY_GPT_REQUEST_ID=r-1

                """)
    }

    @Test("A value with line breaks goes with its length and makes no field of its own")
    func lineBreaks() throws {
        let bytes = try entry { $0.error("failed", metadata: ["error": "a\nPRIORITY=0"]) }
        let value =
            Array("PROXY_GPT_ERROR\n".utf8) + [12, 0, 0, 0, 0, 0, 0, 0]
            + Array("a\nPRIORITY=0\n".utf8)
        #expect(Array(bytes.suffix(value.count)) == value)
        #expect(String(decoding: bytes, as: UTF8.self).hasPrefix("PRIORITY=3\n"))
    }

    @Test("However much is said, an entry fits into a datagram")
    func bounds() throws {
        let bytes = try entry { logger in
            var metadata: Logger.Metadata = [:]
            for number in 0..<100 {
                metadata["key\(number)"] = "\(String(repeating: "x", count: 100_000))"
            }
            logger.info("much", metadata: metadata)
        }
        #expect(bytes.count > 10_000 && bytes.count <= JournalSocket.entryLimit)
    }

    @Test("Keys become names that the journal takes")
    func names() {
        #expect(JournalLogHandler.fieldName("request.id") == "PROXY_GPT_REQUEST_ID")
        #expect(JournalLogHandler.fieldName("ä=1\n") == "PROXY_GPT____1_")
        #expect(JournalLogHandler.fieldName("") == nil)
        #expect(JournalLogHandler.fieldName(String(repeating: "a", count: 80)) == nil)
    }

    @Test("The journal's is standard error only where device and inode are")
    func stream() throws {
        var ends: [Int32] = [0, 0]
        try #require(pipe(&ends) == 0)
        defer { for end in ends { close(end) } }
        var status = stat()
        fstat(ends[1], &status)
        #expect(Logs.leadsToJournal("\(status.st_dev):\(status.st_ino)", descriptor: ends[1]))
        #expect(!Logs.leadsToJournal("\(status.st_dev):\(status.st_ino + 1)", descriptor: ends[1]))
        for wrong in [nil, "", "1", "a:b", "1:2:3", "-1:5"] {
            #expect(!Logs.leadsToJournal(wrong, descriptor: ends[1]))
        }
    }

    // MARK: - JSON

    @Test("A line of JSON stays one, whatever is said")
    func json() {
        let line = JSONLogHandler.line(
            .error, "failed", ["error": "a \"b\"\n\\\u{1}", "request.id": "r"], program: "p",
            time: "T")
        #expect(
            line == #"{"time":"T","level":"error","program":"p","message":"failed","#
                + #""error":"a \"b\"\n\\\u0001","request.id":"r"}"#)
    }

    // MARK: - Long lines

    private static let long: Logger.Metadata = [
        "a": "\(String(repeating: "\"\n\u{1}", count: 3000))",
        "error": "\(String(repeating: "é🦀", count: 3000))", "request.id": "r-1",
    ]

    @Test("However much is said, a line of JSON is an object that a pipe takes as a whole")
    func boundedJSON() throws {
        let message = String(repeating: "é", count: 5000)
        let line = JSONLogHandler.line(.error, message, Self.long, program: "p", time: "T")
        #expect(line.utf8.count < 4096 && line.utf8.count > 3900)
        let object = try JSONValue(parsing: Array(line.utf8))
        #expect(object["request.id"]?.stringValue == "r-1")
        for name in ["message", "a", "error"] {
            let value = try #require(object[name]?.stringValue)
            #expect(value.hasSuffix("…") && !value.contains("\u{FFFD}"), "\(name)")
        }
        let many = Dictionary(
            uniqueKeysWithValues: (0..<500).map { ("key\($0)", "value" as Logger.MetadataValue) })
        let crowded = JSONLogHandler.line(.info, "many", many, program: "p", time: "T")
        #expect(crowded.utf8.count < 4096)
        #expect(try JSONValue(parsing: Array(crowded.utf8))["key0"]?.stringValue == "value")
    }

    @Test("However much is said, a line of text is one line that a pipe takes as a whole")
    func boundedText() {
        let line = LineLogHandler.line(
            .error, "failed", Self.long, isLeveled: true, limit: LineLogHandler.limit)
        #expect(line.utf8.count <= LineLogHandler.limit && line.utf8.count > 3900)
        #expect(line.hasPrefix("error failed a=\"") && line.hasSuffix(" request.id=r-1"))
        #expect(line.contains("…\" error=é") && line.contains("… request.id="))
        #expect(!line.contains("\n") && !line.contains("\u{FFFD}"))
    }

    // MARK: - Lines that nobody takes

    /// A pipe or a pair of sockets that blocks, with room for no more than some bytes.
    private func fullEnds(isSocket: Bool) throws -> [Int32] {
        var ends: [Int32] = [0, 0]
        if isSocket {
            try #require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0)
        } else {
            try #require(pipe(&ends) == 0)
        }
        let flags = fcntl(ends[1], F_GETFL)
        _ = fcntl(ends[1], F_SETFL, flags | O_NONBLOCK)
        let page = [UInt8](repeating: 0, count: 4096)
        while Glibc.write(ends[1], page, page.count) > 0 {}
        _ = fcntl(ends[1], F_SETFL, flags)
        return ends
    }

    @Test("A text of any length never waits", .timeLimit(.minutes(1)), arguments: [false, true])
    func neverWaits(isSocket: Bool) throws {
        let ends = try fullEnds(isSocket: isSocket)
        defer { for end in ends { close(end) } }
        let output = LogOutput(descriptor: ends[1])
        // A page is free: poll(2) says that one may write, and the second page of a write waits.
        var page = [UInt8](repeating: 0, count: 4096)
        try #require(read(ends[0], &page, page.count) == page.count)
        output.write(String(repeating: "x", count: 100_000) + "\n")
        output.write(String(repeating: "y", count: 100_000) + "\n")
        #expect(fcntl(ends[1], F_GETFL) & O_NONBLOCK == 0, "others share the descriptor")
        _ = fcntl(ends[0], F_SETFL, O_NONBLOCK)
        while read(ends[0], &page, page.count) > 0 {}
        output.write("third\n")
        var heard: [UInt8] = []
        while case let count = read(ends[0], &page, page.count), count > 0 {
            heard += page[..<count]
        }
        #expect(text(heard) == "third\n" + LogOutput.lossLine(2))
    }

    private func text(_ bytes: some Collection<UInt8>) -> String {
        String(decoding: bytes, as: UTF8.self)
    }

    /// What comes through a pipe that was full for two lines.
    private func heard(_ write: (LogOutput, String) -> Void) throws -> String {
        var ends: [Int32] = [0, 0]
        try #require(pipe(&ends) == 0)
        defer { for end in ends { close(end) } }
        for end in ends {
            _ = fcntl(end, F_SETFD, FD_CLOEXEC)
            _ = fcntl(end, F_SETFL, O_NONBLOCK)
        }
        var page = [UInt8](repeating: 0, count: 4096)
        while Glibc.write(ends[1], page, page.count) > 0 {}
        let output = LogOutput(descriptor: ends[1])
        write(output, "first")
        write(output, "second")
        while read(ends[0], &page, page.count) > 0 {}
        write(output, "third")
        let count = read(ends[0], &page, page.count)
        return String(decoding: page.prefix(max(0, count)), as: UTF8.self)
    }

    @Test("Lines that nobody takes are counted")
    func lostLines() throws {
        #expect(
            try heard { $0.write($1 + "\n") }
                == "third\nwarning lines were lost log.lost_lines=2\n")
    }

    @Test("In JSON that is told in JSON")
    func lostJSON() throws {
        let handler = JSONLogHandler(.info, program: "p")
        let lines = try heard { handler.write(.info, $1, [:], to: $0) }
            .split(separator: "\n").map(String.init)
        try #require(lines.count == 2)
        #expect(lines[0].hasSuffix(#""message":"third"}"#))
        #expect(lines[1].hasPrefix(#"{"time":""#))
        #expect(lines[1].hasSuffix(#""message":"lines were lost","log.lost_lines":"2"}"#))
    }
}
