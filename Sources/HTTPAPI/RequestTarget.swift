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
            let rest = target.dropFirst(scheme.count).drop { $0 != "/" && $0 != "?" }
            return rest.hasPrefix("/") ? rest : "/" + rest
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
        return isASCII || !text.unicodeScalars.contains("\u{FFFD}")
    }

    private static func check(_ path: String) throws(Failure) {
        let bytes = Array(path.utf8)
        let slash = UInt8(ascii: "/")
        guard bytes.first == slash else { throw bad("does not begin with a slash") }
        guard bytes.count <= 4096 else { throw bad("is longer than 4096 bytes") }
        guard isPlain(path) else { throw bad("has control bytes or is not UTF-8") }
        guard !bytes.contains(UInt8(ascii: "\\")) else { throw bad("has a backslash") }
        // A model's name may hold a slash, which must then be escaped.
        let mayEscapeSlash = path.hasPrefix(Router.models)
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

    private static func bad(_ problem: String) -> Failure {
        Failure(.invalidRequest, "The path \(problem).")
    }
}

enum PercentEncoding {
    /// Decodes percent-escapes, and `+` as a space in forms; nil where an escape is malformed.
    static func decode(_ text: some Sequence<UInt8>, plusIsSpace: Bool = false) -> [UInt8]? {
        var bytes: [UInt8] = []
        var iterator = text.makeIterator()
        while let byte = iterator.next() {
            switch byte {
            case UInt8(ascii: "%"):
                guard let high = iterator.next().flatMap(hexadecimalValue),
                    let low = iterator.next().flatMap(hexadecimalValue)
                else { return nil }
                bytes.append(high << 4 | low)
            case UInt8(ascii: "+") where plusIsSpace: bytes.append(0x20)
            default: bytes.append(byte)
            }
        }
        return bytes
    }
}
