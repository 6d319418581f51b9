internal import Formats

/// The upstream's paths that are passed on: all except those that give out the account or a key of
/// it, changed by `V1_PATHS`. Paths are compared by whole segments; the longest rule decides, and
/// of two equal ones the later.
package struct PathPolicy: Sendable {
    private struct Rule {
        let segments: [[UInt8]]
        let isOpen: Bool
    }

    /// Paths that give access to the account, or a key that outlives the session.
    private static let closed = [
        "/organization", "/projects", "/realtime/client_secrets", "/realtime/sessions",
        "/realtime/transcription_sessions", "/realtime/translations/client_secrets",
        "/chatkit/sessions",
    ].map { Rule(segments: segments(of: "/v1" + $0), isOpen: false) }

    private var rules = closed

    package init() {}

    /// Reads entries separated by commas: `+/path` opens a path below `/v1`, `-/path` closes it. Nil where
    /// an entry is neither.
    init?(_ text: String) {
        for entry in text.utf8.split(separator: UInt8(ascii: ",")) {
            let bytes = entry.drop { $0 == 0x20 }
            var path = bytes.dropFirst().prefix { $0 != 0x20 }
            let isPlain = path.allSatisfy { $0 > 0x20 && $0 < 0x7F && !"%?#*\\".utf8.contains($0) }
            guard let sign = bytes.first, "+-".utf8.contains(sign), path.first == 0x2F, isPlain,
                bytes.dropFirst(1 + path.count).allSatisfy({ $0 == 0x20 })
            else { return nil }
            // An operator may write the path as in a request, with /v1.
            if path.elementsEqual("/v1".utf8) || path.starts(with: "/v1/".utf8) {
                path = path.dropFirst(3)
            }
            rules.append(
                Rule(
                    segments: Self.segments(of: "/v1" + String(decoding: path, as: UTF8.self)),
                    isOpen: sign == UInt8(ascii: "+")))
        }
    }

    /// The path, without `/v1`, whose rule closes this one; nil for an open one.
    /// - Parameter path: the raw path, which begins with `/v1`.
    package func closedPath(of path: String) -> String? {
        let segments = Self.segments(of: path)
        var decisive: Rule?
        for rule in rules
        where rule.segments.count >= decisive?.segments.count ?? 0
            && segments.starts(with: rule.segments)
        {
            decisive = rule
        }
        guard let decisive, !decisive.isOpen else { return nil }
        return "/"
            + decisive.segments.map { String(decoding: $0, as: UTF8.self) }.joined(separator: "/")
    }

    /// Whether answers of this path may have keys in them.
    package static func makesSecrets(_ path: String) -> Bool {
        let segments = segments(of: path)
        return closed.contains { segments.starts(with: $0.segments) }
    }

    /// The path's segments behind `/v1`, as the most lenient upstream would read them: decoded
    /// repeatedly, in small letters, without parameters and empty segments.
    private static func segments(of path: String) -> [[UInt8]] {
        var bytes = Array(path.utf8.dropFirst("/v1".utf8.count))
        var decoded = PercentEncoding.decodeLeniently(bytes)
        while decoded.count < bytes.count {
            bytes = decoded
            decoded = PercentEncoding.decodeLeniently(bytes)
        }
        return bytes.split { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "\\") }.compactMap {
            let name = $0.prefix { $0 > 0x20 && $0 != UInt8(ascii: ";") }.map(lowerCase)
            return name.isEmpty ? nil : name
        }
    }
}
