internal import ProxyGPT

/// The path and query of a request: checked, and otherwise as they came.
struct RequestTarget: Sendable, Equatable {
    /// The raw path, undecoded.
    let path: String
    /// The raw query without its `?`; nil when there is none.
    let query: String?

    /// Throws `invalidRequest` for a path that does not mean the same to everybody on its way.
    init(_ target: String) throws(Failure) {
        let target = Self.withoutAuthority(target)
        let path = target.prefix { $0 != "?" }
        self.path = String(path)
        query = path.endIndex < target.endIndex ? String(target[path.endIndex...].dropFirst()) : nil
        try Self.check(self.path)
        // Bytes that are no UTF-8 arrive as U+FFFD; they could not be passed on as they came.
        let rest = query ?? ""
        guard rest.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7F }), !rest.contains("\u{FFFD}") else {
            throw Failure(.invalidRequest, "The query has control bytes or is not UTF-8.")
        }
    }

    // A request line may hold the whole URL (RFC 9112, section 3.2.2).
    private static func withoutAuthority(_ target: String) -> Substring {
        for scheme in ["http://", "https://"]
        where target.prefix(scheme.count).lowercased() == scheme {
            let rest = target.dropFirst(scheme.count).drop { $0 != "/" && $0 != "?" }
            return rest.hasPrefix("/") ? rest : "/" + rest
        }
        return Substring(target)
    }

    private static func check(_ path: String) throws(Failure) {
        guard path.utf8.first == UInt8(ascii: "/") else { throw bad("does not begin with a slash") }
        guard path.utf8.count <= 4096 else { throw bad("is longer than 4096 bytes") }
        guard path.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7F }) else {
            throw bad("has control bytes")
        }
        guard !path.contains("\u{FFFD}") else { throw bad("is not UTF-8") }
        guard !path.utf8.contains(UInt8(ascii: "\\")) else { throw bad("has a backslash") }
        let slashes = path.hasPrefix("/v1/models/")
        let segments = path.dropFirst().split(separator: "/", omittingEmptySubsequences: false)
        for (index, segment) in segments.enumerated() {
            if segment.isEmpty && index < segments.count - 1 { throw bad("has an empty segment") }
            guard let decoded = PercentEncoding.decode(segment.utf8) else {
                throw bad("has a malformed percent-escape")
            }
            if decoded.contains(0) { throw bad("has a null byte") }
            if decoded.contains(where: { $0 < 0x20 || $0 == 0x7F }) {
                throw bad("has control bytes")
            }
            // A model's name may hold a slash, which must then be escaped.
            guard slashes || !decoded.contains(UInt8(ascii: "/")) else {
                throw bad("has an escaped slash")
            }
            for part in decoded.split(
                separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
            where part.elementsEqual(".".utf8) || part.elementsEqual("..".utf8) {
                throw bad("has a segment of dots")
            }
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
