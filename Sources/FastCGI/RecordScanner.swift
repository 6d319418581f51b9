// The first bytes of a connection, before libfcgi gets them: it blocks until a head is whole, and
// ends the process where a parameter claims a length that no memory holds.
//
// Values without I/O. The record format is in the FastCGI specification, sections 3.3 to 3.4.

/// The kind of bytes at the beginning of a connection.
package enum RequestHead: Equatable, Sendable {
    /// BEGIN_REQUEST and all PARAMS are there, in this many bytes.
    case complete(length: Int)
    case incomplete
    /// No responder's request begins like this.
    case malformed

    /// The most bytes that a head may have. The web server sends a record of at most 64 KiB.
    package static let limit = 160 * 1024

    private static let headerLength = 8
    private static let version: UInt8 = 1
    private static let responder: [UInt8] = [0, 1]
    private static let beginRequest: UInt8 = 1
    private static let parameters: UInt8 = 4

    package init(scanning bytes: some RandomAccessCollection<UInt8>) {
        self = Self.scan(bytes)
    }

    private static func scan(_ bytes: some RandomAccessCollection<UInt8>) -> RequestHead {
        func byte(_ offset: Int) -> UInt8 {
            bytes[bytes.index(bytes.startIndex, offsetBy: offset)]
        }
        var offset = 0
        var requestID: (UInt8, UInt8)?
        var pairs = PairScanner()
        while offset < bytes.count {
            guard byte(offset) == version, offset < limit else { return .malformed }
            guard bytes.count - offset >= headerLength else { return .incomplete }
            let id = (byte(offset + 2), byte(offset + 3))
            let content = Int(byte(offset + 4)) << 8 | Int(byte(offset + 5))
            let padding = Int(byte(offset + 6))
            let start = offset + headerLength
            let end = start + content + padding
            // libfcgi forgets the padding when it goes on to another kind of record, and would read
            // it as the next one.
            switch byte(offset + 1) {
            case beginRequest
            where requestID == nil && id != (0, 0) && content == 8 && padding == 0:
                let role = (start..<min(start + 2, bytes.count)).map(byte)
                guard responder.starts(with: role) else { return .malformed }
                requestID = id
            case parameters where requestID != nil && id == (requestID ?? (0, 0)):
                let stop = min(start + content, bytes.count)
                guard pairs.scan(from: start, to: stop, byte) else { return .malformed }
                if content == 0 {
                    guard pairs.isBetweenPairs, padding == 0 else { return .malformed }
                    if end <= bytes.count { return .complete(length: end) }
                }
            default: return .malformed
            }
            offset = end
        }
        return .incomplete
    }
}

/// The header of a record behind the head.
enum BodyRecord {
    static let headerLength = 8
    private static let version: UInt8 = 1
    private static let standardInput: UInt8 = 5

    /// The length of this request's body part behind the header that `bytes` begin with, 0 at the
    /// body's end; nil for another record.
    static func size(_ bytes: some Collection<UInt8>, requestID: Int) -> Int? {
        let header = Array(bytes.prefix(headerLength))
        let beginning = [
            version, standardInput, UInt8(requestID >> 8 & 0xFF), UInt8(requestID & 0xFF),
        ]
        guard header.count == headerLength, header.starts(with: beginning) else { return nil }
        return Int(header[4]) << 8 | Int(header[5])
    }
}

/// Reads the lengths in a stream of name-value pairs, which its records may cut anywhere.
private struct PairScanner {
    /// The longest name, and the longest value.
    private static let lengthLimit = 128 * 1024

    /// Bytes of names and values that are still to come, and how many there were in all.
    private var left = 0
    private var total = 0
    /// A length that is being read, and how many bytes of it are missing.
    private var length = 0
    private var missing = 0
    /// The length of the name whose value's length comes next.
    private var name: Int?

    var isBetweenPairs: Bool { left == 0 && missing == 0 && name == nil }

    /// Reads on; false when a length is out of bounds.
    mutating func scan(from start: Int, to end: Int, _ byte: (Int) -> UInt8) -> Bool {
        var offset = start
        while offset < end {
            if left > 0 {
                let count = min(left, end - offset)
                left -= count
                offset += count
            } else {
                guard take(byte(offset)) else { return false }
                offset += 1
            }
        }
        return true
    }

    /// Takes a byte of a length: one, or four with the highest bit set.
    private mutating func take(_ byte: UInt8) -> Bool {
        if missing > 0 {
            length = length << 8 | Int(byte)
            missing -= 1
        } else {
            length = Int(byte & 0x7F)
            missing = byte & 0x80 == 0 ? 0 : 3
        }
        guard missing == 0 else { return true }
        guard length <= Self.lengthLimit else { return false }
        guard let name else {
            name = length
            return true
        }
        self.name = nil
        left = name + length
        total += left
        return total <= RequestHead.limit
    }
}
