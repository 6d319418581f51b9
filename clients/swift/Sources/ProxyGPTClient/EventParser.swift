/// A server-sent event. An id without data is an event without data here.
struct Event: Sendable, Equatable {
    var name: String
    /// The last id that the stream has named so far.
    var id: String
    var data: [UInt8]?
}

/// Reads server-sent events (WHATWG HTML, section 9.2) from pieces of any size.
///
/// An event that is not complete when the connection breaks is not an event.
struct EventParser {
    /// The most bytes of one event: the longest reply has 4 MiB, of which JSON may make six times as
    /// much.
    static let limit = 64 << 20

    /// The complete events that were not taken yet.
    var events: [Event] = []
    /// The time after which the server wants a client to come back.
    private(set) var retry: Duration?
    private(set) var comments = 0

    private var id: String
    private var line: [UInt8] = []
    private var followsCarriageReturn = false
    private var isFirstLine = true
    private var name = ""
    private var data: [UInt8]?
    private var hasID = false
    private var size = 0

    /// - Parameter id: the id after which the stream goes on.
    init(id: String = "") {
        self.id = id
    }

    /// Reads a piece.
    /// - Throws: an error where an event exceeds the limit.
    mutating func feed(_ bytes: some Sequence<UInt8>) throws(ProxyGPTError) {
        for byte in bytes {
            let endsCarriageReturn = followsCarriageReturn && byte == 0x0A
            followsCarriageReturn = byte == 0x0D
            if endsCarriageReturn { continue }
            if byte == 0x0A || byte == 0x0D {
                endLine()
            } else {
                size += 1
                guard size <= Self.limit else {
                    throw .connection("an event of the stream is too long")
                }
                line.append(byte)
            }
        }
    }

    private mutating func endLine() {
        defer { line.removeAll(keepingCapacity: line.capacity < 1 << 20) }
        if isFirstLine, line.starts(with: [0xEF, 0xBB, 0xBF]) { line.removeFirst(3) }
        isFirstLine = false
        guard let first = line.first else { return endEvent() }
        if first == UInt8(ascii: ":") {
            comments += 1
            return
        }
        let colon = line.firstIndex(of: UInt8(ascii: ":")) ?? line.endIndex
        var value = line[colon...].dropFirst()
        if value.first == 0x20 { value = value.dropFirst() }
        switch String(decoding: line[..<colon], as: UTF8.self) {
        case "event": name = String(decoding: value, as: UTF8.self)
        case "data":
            if data == nil { data = Array(value) } else { data? += [0x0A] + value }
        case "id" where !value.contains(0):
            id = String(decoding: value, as: UTF8.self)
            hasID = true
        case "retry":
            let isNumber = value.allSatisfy { (0x30...0x39).contains($0) }
            let number = isNumber ? Int32(String(decoding: value, as: UTF8.self)) : nil
            if let number { retry = .milliseconds(number) }
        default: break
        }
    }

    private mutating func endEvent() {
        if data != nil || hasID {
            events.append(Event(name: name.isEmpty ? "message" : name, id: id, data: data))
        }
        (name, data, hasID, size) = ("", nil, false, 0)
    }
}
