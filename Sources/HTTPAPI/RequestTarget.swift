internal import ProxyGPT

/// The path and query of a request: checked, and otherwise as they came.
struct RequestTarget: Sendable, Equatable {
    /// The raw path, undecoded.
    let path: String
    /// The raw query without its `?`; nil when there is none.
    let query: String?

    /// Throws `invalidRequest` for a path that does not mean the same to everybody on its way.
    init(_ target: String) throws(Failure) {
        let bytes = Self.withoutAuthority(target).utf8
        if let mark = bytes.firstIndex(of: UInt8(ascii: "?")) {
            path = String(Substring(bytes[..<mark]))
            query = String(Substring(bytes[bytes.index(after: mark)...]))
        } else {
            path = String(Substring(bytes))
            query = nil
        }
        try Self.check(path)
        guard Self.isPlain(query ?? "") else {
            throw Failure(.invalidRequest, "The query has control bytes or is not UTF-8.")
        }
        // What stands behind it would be lost on the way upstream.
        guard !bytes.contains(UInt8(ascii: "#")) else { throw Self.bad("has a fragment") }
    }

    // A request line may hold the whole URL (RFC 9112, section 3.2.2).
    private static func withoutAuthority(_ target: String) -> Substring {
        for scheme in ["http://", "https://"] where hasPrefixIgnoringCase(target, scheme) {
            let rest = target.utf8.dropFirst(scheme.utf8.count).drop {
                $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: "?")
            }
            return rest.first == UInt8(ascii: "/") ? Substring(rest) : "/" + Substring(rest)
        }
        return Substring(target)
    }

    /// Whether a text has neither control bytes nor spaces, nor bytes that were no UTF-8: those
    /// arrive as U+FFFD, and could not be passed on as they came.
    private static func isPlain(_ text: String) -> Bool {
        var isASCII = true
        for byte in text.utf8 {
            if byte <= 0x20 || byte == 0x7F { return false }
            if byte >= 0x80 { isASCII = false }
        }
        return isASCII || !text.unicodeScalars.contains { $0 == "\u{FFFD}" }
    }

    private static func check(_ path: String) throws(Failure) {
        let bytes = Array(path.utf8)
        let slash = UInt8(ascii: "/")
        guard bytes.first == slash else { throw bad("does not begin with a slash") }
        guard bytes.count <= 4096 else { throw bad("is longer than 4096 bytes") }
        guard isPlain(path) else { throw bad("has control bytes or is not UTF-8") }
        guard !bytes.contains(UInt8(ascii: "\\")) else { throw bad("has a backslash") }
        // A model's name may hold a slash, which must then be escaped.
        let mayEscapeSlash = path.beginsWithBytes(of: Router.models)
        var start = 1
        while start <= bytes.count {
            let end = bytes[start...].firstIndex(of: slash) ?? bytes.count
            if start == end && end < bytes.count { throw bad("has an empty segment") }
            try check(bytes[start..<end], mayEscapeSlash: mayEscapeSlash)
            start = end + 1
        }
    }

    private static func check(
        _ segment: ArraySlice<UInt8>, mayEscapeSlash: Bool
    ) throws(Failure) {
        guard segment.contains(where: { $0 == UInt8(ascii: "%") || $0 == UInt8(ascii: ".") }) else {
            return
        }
        guard let decoded = PercentEncoding.decode(segment) else {
            throw bad("has a malformed percent-escape")
        }
        if decoded.contains(0) { throw bad("has a null byte") }
        if decoded.contains(where: { $0 < 0x20 || $0 == 0x7F }) { throw bad("has control bytes") }
        guard mayEscapeSlash || !decoded.contains(UInt8(ascii: "/")) else {
            throw bad("has an escaped slash")
        }
        for part in decoded.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        where part.elementsEqual(".".utf8) || part.elementsEqual("..".utf8) {
            throw bad("has a segment of dots")
        }
    }

    /// The text that the query has first under a name, of at most so many bytes; nil where it has none
    /// or the text is malformed. For what is not ours to refuse.
    func queryText(_ name: String, limit: Int) -> String? {
        for pair in (query ?? "").parts(separatedBy: "&") {
            guard pair.beginning(before: "=").hasSameBytes(as: name) else { continue }
            guard let value = pair.rest(behind: "="), value.utf8.count <= 3 * limit else {
                return nil
            }
            return PercentEncoding.decode(value.utf8, plusIsSpace: true)
                .flatMap { String(validating: $0, as: UTF8.self) }?.beginning(bytes: limit)
        }
        return nil
    }

    private static func bad(_ problem: String) -> Failure {
        Failure(.invalidRequest, "The path \(problem).")
    }
}

enum PercentEncoding {
    /// Decodes percent-escapes, and `+` as a space in forms; nil where an escape is malformed.
    static func decode(_ text: some Collection<UInt8>, plusIsSpace: Bool = false) -> [UInt8]? {
        text.withContiguousStorageIfAvailable { decode($0, plusIsSpace) }
            ?? Array(text).withUnsafeBufferPointer { decode($0, plusIsSpace) }
    }

    private static func decode(
        _ text: UnsafeBufferPointer<UInt8>, _ plusIsSpace: Bool
    ) -> [UInt8]? {
        var isValid = true
        let bytes = [UInt8](unsafeUninitializedCapacity: text.count) { bytes, count in
            var index = 0
            while index < text.count {
                var byte = text[index]
                index += 1
                if byte == UInt8(ascii: "%") {
                    guard index + 1 < text.count, let high = hexadecimalValue(text[index]),
                        let low = hexadecimalValue(text[index + 1])
                    else {
                        isValid = false
                        return
                    }
                    byte = high << 4 | low
                    index += 2
                } else if plusIsSpace, byte == UInt8(ascii: "+") {
                    byte = 0x20
                }
                bytes[count] = byte
                count += 1
            }
        }
        return isValid ? bytes : nil
    }
}
