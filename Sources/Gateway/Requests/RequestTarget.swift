internal import Formats
package import ProxyGPT

/// The path and query of a request: checked, and otherwise as they came.
package struct RequestTarget: Sendable, Equatable {
    /// The raw path, undecoded.
    package let path: String
    /// The raw query without its `?`; nil when there is none. Below /v1/ it may be no UTF-8.
    package let query: [UInt8]?

    package init(of request: Request) throws(Failure) {
        try self.init(bytes: request.rawTarget ?? Array(request.target.utf8))
    }

    init(_ target: String) throws(Failure) {
        try self.init(bytes: Array(target.utf8))
    }

    /// Throws `invalidRequest` for a path that servers on its way may understand differently, and for
    /// what would not stay in a request line.
    init(bytes target: [UInt8]) throws(Failure) {
        let (bytes, hasPath) = Self.withoutAuthority(target)
        let mark = bytes.firstIndex(of: UInt8(ascii: "?"))
        path = try Self.checkedPath(hasPath ? bytes[..<(mark ?? bytes.endIndex)] : [0x2F])
        query = mark.map { Array(bytes[($0 + 1)...]) }
        if let query {
            guard query.allSatisfy(Self.isPlain) else {
                throw Failure(.invalidRequest, "The query has control bytes.")
            }
            // What stands behind it would be lost on the way upstream.
            guard !query.contains(UInt8(ascii: "#")) else { throw Self.bad("has a fragment") }
            // The upstream's queries are bytes, ours are text.
            guard path.beginsWithBytes(of: Endpoints.forwarded) || Self.isUTF8(query) else {
                throw Failure(.invalidRequest, "The query is not UTF-8.")
            }
        }
    }

    /// A request line may hold the whole URL (RFC 9112, section 3.2.2), where the path may be left out.
    private static func withoutAuthority(
        _ target: [UInt8]
    ) -> (rest: ArraySlice<UInt8>, hasPath: Bool) {
        for scheme in ["http://", "https://"]
        where target.lazy.map(lowerCase).starts(with: scheme.utf8) {
            let rest = target.dropFirst(scheme.utf8.count).drop {
                $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: "?")
            }
            return (rest, rest.first == UInt8(ascii: "/"))
        }
        return (target[...], true)
    }

    /// Whether a byte is neither a control byte nor a space, with which a request line would break.
    private static func isPlain(_ byte: UInt8) -> Bool {
        byte > 0x20 && byte != 0x7F
    }

    private static func isUTF8(_ bytes: [UInt8]) -> Bool {
        bytes.allSatisfy { $0 < 0x80 } || String(validating: bytes, as: UTF8.self) != nil
    }

    private static func checkedPath(_ bytes: ArraySlice<UInt8>) throws(Failure) -> String {
        let slash = UInt8(ascii: "/")
        guard bytes.first == slash else { throw bad("does not begin with a slash") }
        guard bytes.count <= 4096 else { throw bad("is longer than 4096 bytes") }
        // Rules and rows go by the path, so it is text, below /v1/ too.
        guard bytes.allSatisfy(isPlain), let path = String(validating: bytes, as: UTF8.self) else {
            throw bad("has control bytes or is not UTF-8")
        }
        guard !bytes.contains(UInt8(ascii: "#")) else { throw bad("has a fragment") }
        guard !bytes.contains(UInt8(ascii: "\\")) else { throw bad("has a backslash") }
        // A model's name may hold a slash, which must then be escaped.
        let mayEscapeSlash = path.beginsWithBytes(of: Endpoints.models)
        var start = bytes.startIndex + 1
        while start <= bytes.endIndex {
            let end = bytes[start...].firstIndex(of: slash) ?? bytes.endIndex
            if start == end && end < bytes.endIndex { throw bad("has an empty segment") }
            try check(bytes[start..<end], mayEscapeSlash: mayEscapeSlash)
            start = end + 1
        }
        return path
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
    package func queryText(_ name: String, limit: Int) -> String? {
        for pair in (query ?? []).split(separator: UInt8(ascii: "&")) {
            let key = pair.prefix { $0 != UInt8(ascii: "=") }
            guard key.elementsEqual(name.utf8) else { continue }
            let value = pair[key.endIndex...].dropFirst()
            guard key.endIndex < pair.endIndex, value.count <= 3 * limit else { return nil }
            return PercentEncoding.decode(value, plusIsSpace: true)
                .flatMap { String(validating: $0, as: UTF8.self) }?.beginning(bytes: limit)
        }
        return nil
    }

    private static func bad(_ problem: String) -> Failure {
        Failure(.invalidRequest, "The path \(problem).")
    }
}
