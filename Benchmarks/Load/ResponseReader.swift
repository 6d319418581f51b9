// One HTTP/1.1 answer after another, read as the bytes arrive.
//
// A value without I/O. Reads of the head only what decides where the body ends, so that the load
// generator's own time stays small beside that of what it measures. Unforgiving: anything that is
// not plain HTTP/1.1 is an error, because a proxy's answer that needs guessing is a finding.

import NIOCore

/// Cuts a connection's bytes into answers.
struct ResponseReader {
    /// Says that the bytes are no HTTP/1.1 answer.
    struct Malformed: Error {}

    /// What the reader has found.
    enum Event {
        case head(status: Int)
        case body(ByteBuffer)
        /// The answer is complete; `closes` says that the connection is not to be used again.
        case end(closes: Bool)
    }

    private enum Phase {
        case head
        case body(left: Int)
        case chunkSize
        case chunk(left: Int)
        case chunkEnd
        case trailer
        case untilClose
    }

    private var phase = Phase.head
    private var closes = false
    private let isHead: Bool
    private static let longestHead = 64 * 1024

    init(toHead isHead: Bool) {
        self.isHead = isHead
    }

    /// Takes the next event from the bytes; nothing when more of them are needed.
    mutating func next(_ bytes: inout ByteBuffer) throws(Malformed) -> Event? {
        switch phase {
        case .head:
            return try readHead(&bytes)
        case .body(let left):
            if left == 0 { return end() }
            guard let slice = take(&bytes, atMost: left) else { return nil }
            phase = .body(left: left - slice.readableBytes)
            return .body(slice)
        case .chunkSize:
            guard let line = try line(&bytes) else { return nil }
            let size = try ResponseReader.chunkSize(line)
            phase = size == 0 ? .trailer : .chunk(left: size)
            return try next(&bytes)
        case .chunk(let left):
            guard let slice = take(&bytes, atMost: left) else { return nil }
            let rest = left - slice.readableBytes
            phase = rest == 0 ? .chunkEnd : .chunk(left: rest)
            return .body(slice)
        case .chunkEnd:
            guard let line = try line(&bytes) else { return nil }
            guard line.readableBytes == 0 else { throw Malformed() }
            phase = .chunkSize
            return try next(&bytes)
        case .trailer:
            guard let line = try line(&bytes) else { return nil }
            return line.readableBytes == 0 ? end() : try next(&bytes)
        case .untilClose:
            return take(&bytes, atMost: .max).map { .body($0) }
        }
    }

    /// Whether the connection's end is this answer's end.
    var endsWithConnection: Bool {
        if case .untilClose = phase { true } else { false }
    }

    private mutating func end() -> Event {
        phase = .head
        return .end(closes: closes)
    }

    private func take(_ bytes: inout ByteBuffer, atMost count: Int) -> ByteBuffer? {
        guard bytes.readableBytes > 0 else { return nil }
        return bytes.readSlice(length: min(count, bytes.readableBytes))
    }

    /// The next line without its end.
    private func line(_ bytes: inout ByteBuffer) throws(Malformed) -> ByteBuffer? {
        let view = bytes.readableBytesView
        guard let feed = view.firstIndex(of: 0x0A) else {
            if view.count > ResponseReader.longestHead { throw Malformed() }
            return nil
        }
        let length = feed - view.startIndex
        guard length > 0, view[feed - 1] == 0x0D,
            let line = bytes.readSlice(length: length - 1)
        else { throw Malformed() }
        bytes.moveReaderIndex(forwardBy: 2)
        return line
    }

    // MARK: - Head

    private mutating func readHead(_ bytes: inout ByteBuffer) throws(Malformed) -> Event? {
        var rest = bytes
        guard let first = try line(&rest) else { return nil }
        let status = try ResponseReader.status(first)
        var length: Int?
        var isChunked = false
        closes = false
        while true {
            guard let line = try line(&rest) else {
                if bytes.readableBytes > ResponseReader.longestHead { throw Malformed() }
                return nil
            }
            if line.readableBytes == 0 { break }
            // Few fields matter, and their names begin with one of two letters.
            guard let initial = line.readableBytesView.first.map({ $0 | 0x20 }),
                initial == UInt8(ascii: "c") || initial == UInt8(ascii: "t")
            else { continue }
            let text = String(buffer: line).lowercased()
            if let value = ResponseReader.value(of: "content-length", in: text) {
                guard let count = Int(value), count >= 0, length == nil else { throw Malformed() }
                length = count
            } else if let value = ResponseReader.value(of: "transfer-encoding", in: text) {
                guard value == "chunked" else { throw Malformed() }
                isChunked = true
            } else if let value = ResponseReader.value(of: "connection", in: text) {
                closes = value.contains("close")
            }
        }
        bytes = rest
        if (100..<200).contains(status) { return try next(&bytes) }
        if isHead || status == 204 || status == 304 {
            phase = .body(left: 0)
        } else if isChunked {
            guard length == nil else { throw Malformed() }
            phase = .chunkSize
        } else if let length {
            phase = .body(left: length)
        } else {
            closes = true
            phase = .untilClose
        }
        return .head(status: status)
    }

    private static func status(_ line: ByteBuffer) throws(Malformed) -> Int {
        let view = line.readableBytesView
        guard view.count >= 12, view.starts(with: "HTTP/1.".utf8),
            let status = Int(String(decoding: view.dropFirst(9).prefix(3), as: UTF8.self)),
            (100..<600).contains(status)
        else { throw Malformed() }
        return status
    }

    private static func value(of name: String, in line: String) -> Substring? {
        guard line.hasPrefix(name), line.dropFirst(name.count).first == ":" else { return nil }
        var value = line.dropFirst(name.count + 1).drop { $0 == " " }
        while value.last == " " { value.removeLast() }
        return value
    }

    private static func chunkSize(_ line: ByteBuffer) throws(Malformed) -> Int {
        let digits = line.readableBytesView.prefix { $0 != UInt8(ascii: ";") }
        guard digits.count <= 8, digits.first != UInt8(ascii: "-"),
            digits.first != UInt8(ascii: "+"),
            let size = Int(String(decoding: digits, as: UTF8.self), radix: 16)
        else { throw Malformed() }
        return size
    }
}
