internal import Formats

/// Names of request headers that the operator lets pass: `FORWARD_HEADERS`.
package struct HeaderNames: Sendable, Equatable {
    package static let none = HeaderNames()

    /// The problem of a list.
    package typealias Problem = ValueProblem

    /// Names and prefixes of headers that never go upstream: credentials, the client's identity and
    /// address, the operator's account, and headers of a single connection.
    private static let forbidden = [
        "authorization", "cookie", "host", "api-key", "x-api-key", "forwarded", "x-forwarded-*",
        "proxy", "proxy-*", "openai-organization", "openai-project", "connection", "keep-alive",
        "te", "trailer", "transfer-encoding", "upgrade", "content-length", "expect",
        "sec-websocket-*",
    ].map(Pattern.init)

    /// A name or a prefix of names, in small letters.
    private struct Pattern: Sendable, Equatable {
        let text: String
        let isPrefix: Bool

        init(_ pattern: String) {
            isPrefix = pattern.hasSuffix("*")
            text = (isPrefix ? String(pattern.dropLast()) : pattern).lowercased()
        }

        func covers(_ name: String) -> Bool {
            isPrefix ? hasPrefixIgnoringCase(name, text) : equalIgnoringCase(name, text)
        }

        /// Whether a name exists that both cover.
        func overlaps(_ other: Pattern) -> Bool {
            covers(other.text) || other.covers(text)
        }

        var description: String { text + (isPrefix ? "*" : "") }
    }

    private let patterns: [Pattern]

    private init() {
        patterns = []
    }

    /// Reads names and prefixes ending in `*`, separated by commas. Refuses a forbidden name, and a
    /// prefix with which a forbidden name begins.
    package init(_ text: String) throws(Problem) {
        var patterns: [Pattern] = []
        for entry in text.utf8.split(separator: UInt8(ascii: ",")) {
            let name = String(Substring(entry)).filter { $0 != " " && $0 != "\t" }
            let pattern = Pattern(name)
            guard !name.isEmpty, pattern.text.utf8.allSatisfy(Self.isNameByte) else {
                throw Problem(
                    text: "must be names of headers, or beginnings such as x-team-*, "
                        + "separated by commas")
            }
            if let forbidden = Self.forbidden.first(where: pattern.overlaps) {
                throw Problem(
                    text: "has \(pattern.description), but \(forbidden.description) never goes "
                        + "upstream")
            }
            patterns.append(pattern)
        }
        self.patterns = patterns
    }

    package func contains(_ name: String) -> Bool {
        patterns.contains { $0.covers(name) }
    }

    /// Whether a byte is a lower-case letter, a digit or a dash: web servers drop headers with
    /// others.
    static func isNameByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
        default: byte == UInt8(ascii: "-")
        }
    }
}
