/// Reads server-sent events (WHATWG HTML, section 9.2.6) that arrive in pieces cut anywhere. Of an
/// event only its data is of interest here.
package struct ServerSentEventParser: Sendable {
    /// Thrown when one event grows beyond the limit.
    package struct TooLong: Error {}

    private static let limit = 1024 * 1024

    private var line: [UInt8] = []
    private var data: [UInt8] = []
    private var hasData = false
    private var endsWithReturn = false
    private var isFirstLine = true

    package init() {}

    /// Takes the next bytes and returns the data of each event that they complete.
    package mutating func feed(_ bytes: [UInt8]) throws(TooLong) -> [[UInt8]] {
        var events: [[UInt8]] = []
        var start = 0
        while start < bytes.count {
            // A line ends with CR, LF or both, which may come in two pieces.
            if endsWithReturn {
                endsWithReturn = false
                if bytes[start] == 0x0A {
                    start += 1
                    continue
                }
            }
            let end = bytes[start...].firstIndex { $0 == 0x0A || $0 == 0x0D } ?? bytes.count
            line.append(contentsOf: bytes[start..<end])
            guard line.count + data.count <= Self.limit else { throw TooLong() }
            if end < bytes.count {
                endsWithReturn = bytes[end] == 0x0D
                if let event = takeLine() { events.append(event) }
            }
            start = end + 1
        }
        return events
    }

    /// Returns the data of an event that nothing follows. The standard drops it; an upstream that
    /// closes right behind its last line meant it all the same.
    package mutating func finish() -> [UInt8]? {
        if !line.isEmpty { _ = takeLine() }
        return takeEvent()
    }

    private mutating func takeLine() -> [UInt8]? {
        defer { line.removeAll(keepingCapacity: true) }
        if isFirstLine {
            isFirstLine = false
            if line.starts(with: [0xEF, 0xBB, 0xBF]) { line.removeFirst(3) }
        }
        if line.isEmpty { return takeEvent() }
        let name = line.prefix { $0 != UInt8(ascii: ":") }
        guard name.elementsEqual("data".utf8) else { return nil }
        var value = line.dropFirst(name.count + 1)
        if value.first == 0x20 { value = value.dropFirst() }
        if hasData { data.append(0x0A) }
        data.append(contentsOf: value)
        hasData = true
        return nil
    }

    private mutating func takeEvent() -> [UInt8]? {
        guard hasData else { return nil }
        defer {
            data = []
            hasData = false
        }
        return data
    }
}
