internal import CHiredis
internal import ProxyGPT

/// A reply of Redis, copied out of hiredis's memory.
enum RedisReply: Equatable, Sendable {
    case nothing
    case status(String)
    /// The first word of an error alone: the rest may quote our arguments.
    case error(code: String)
    case integer(Int64)
    case bytes([UInt8])
    case list([RedisReply])

    /// Copies a reply; hiredis's reader nests them at most seven deep.
    init(_ reply: UnsafePointer<redisReply>) {
        switch reply.pointee.type {
        // A status, which is the whole answer of some commands.
        case REDIS_REPLY_STATUS:
            self = .status(String(decoding: Self.text(reply).prefix(64), as: UTF8.self))
        case REDIS_REPLY_ERROR: self = .error(code: Self.errorCode(Self.text(reply)))
        case REDIS_REPLY_INTEGER: self = .integer(reply.pointee.integer)
        case REDIS_REPLY_STRING: self = .bytes(Array(Self.text(reply)))
        case REDIS_REPLY_ARRAY:
            let elements = UnsafeBufferPointer(
                start: reply.pointee.element, count: Int(reply.pointee.elements))
            self = .list(elements.map { $0.map { RedisReply($0) } ?? .nothing })
        default: self = .nothing
        }
    }

    private static func text(_ reply: UnsafePointer<redisReply>) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: reply.pointee.str, count: Int(reply.pointee.len))
    }

    /// `WRONGPASS` of `WRONGPASS invalid username-password pair …`.
    static func errorCode(_ text: some Sequence<UInt8>) -> String {
        let word = text.prefix { (0x41...0x5A).contains($0) }.prefix(32)
        return word.isEmpty ? "ERR" : String(decoding: word, as: UTF8.self)
    }

    // MARK: - Readings

    var bytes: [UInt8]? {
        if case .bytes(let bytes) = self { bytes } else { nil }
    }

    var text: String? {
        bytes.flatMap { String(validating: $0, as: UTF8.self) }
    }

    var list: [RedisReply]? {
        if case .list(let list) = self { list } else { nil }
    }

    /// A number, also where a script gives it as text: Lua's own would be cut to 53 bits.
    var number: Int64? {
        switch self {
        case .integer(let number): number
        case .bytes: text.flatMap { Int64($0) }
        default: nil
        }
    }

    /// A number that a frame may have, or 0.
    var sequence: Int64? {
        number.flatMap { (0...FrameID.largestSequence).contains($0) ? $0 : nil }
    }

    /// The number of a stream's entry, whose id is `NUMBER-0`.
    var entryNumber: Int64? {
        guard let bytes, bytes.count <= 41, let dash = bytes.firstIndex(of: UInt8(ascii: "-"))
        else {
            return nil
        }
        return RedisReply.bytes(Array(bytes[..<dash])).sequence
    }
}

/// Why a command has no result.
enum RedisError: Error, Equatable, CustomStringConvertible {
    /// Redis is away, and no command is sent until it is back.
    case unavailable
    /// The bound of commands under way is reached.
    case overloaded
    /// The answer did not come in time.
    case late
    /// The connection ended before the answer came.
    case closed(String)
    case refused(code: String)
    /// The answer does not have the command's form.
    case unexpected

    var description: String {
        switch self {
        case .unavailable: "Redis is not available"
        case .overloaded: "too many commands are under way"
        case .late: "no answer in time"
        case .closed(let reason): "connection ended: \(reason)"
        case .refused(let code): "refused: \(code)"
        case .unexpected: "an answer of another kind"
        }
    }

    /// Whether it concerns Redis as a whole, not one command.
    var isFailureOfRedis: Bool {
        switch self {
        case .late, .closed: true
        case .unavailable, .overloaded, .unexpected: false
        case .refused(let code):
            isRefusalToWrite
                || ["LOADING", "BUSY", "MASTERDOWN", "NOAUTH", "CLUSTERDOWN"].contains(code)
        }
    }

    /// Whether keys hold content that no script writes: another type, no number. In a script each
    /// error but a few has the first word `ERR`.
    var isAboutContent: Bool {
        self == .refused(code: "WRONGTYPE") || self == .refused(code: "ERR")
    }

    /// Whether Redis takes no writes: a failed snapshot, full memory, a replica. It is of no use
    /// then, even if it answers.
    var isRefusalToWrite: Bool {
        guard case .refused(let code) = self else { return false }
        return ["MISCONF", "OOM", "READONLY", "NOREPLICAS"].contains(code)
    }
}
