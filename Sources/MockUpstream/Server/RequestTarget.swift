import Formats

/// A request's target as received, cut at the first question mark and not decoded.
struct RequestTarget {
    let path: Substring
    let query: Substring

    init(_ uri: String) {
        let cut = uri.utf8.firstIndex(of: UInt8(ascii: "?")) ?? uri.endIndex
        path = uri[..<cut]
        query = uri[cut...].dropFirst()
    }

    /// The raw value of the first query parameter of that name.
    func parameter(_ name: String) -> Substring? {
        QueryParameters(query).first { $0.name == name }?.value
    }
}

/// The `name=value` pairs of a query string, not decoded; a missing value is empty.
struct QueryParameters: Sequence, IteratorProtocol {
    private var rest: Substring

    init(_ query: Substring) {
        rest = query
    }

    mutating func next() -> (name: Substring, value: Substring)? {
        guard !rest.isEmpty else { return nil }
        let end = rest.utf8.firstIndex(of: UInt8(ascii: "&")) ?? rest.endIndex
        let pair = rest[..<end]
        rest = rest[end...].dropFirst()
        let cut = pair.utf8.firstIndex(of: UInt8(ascii: "=")) ?? pair.endIndex
        return (pair[..<cut], pair[cut...].dropFirst())
    }
}

/// The text with its percent-escapes resolved, or nothing where they are broken or no UTF-8.
func percentDecoded(_ text: Substring, plusIsSpace: Bool = false) -> String? {
    PercentEncoding.decode(text.utf8, plusIsSpace: plusIsSpace)
        .flatMap { String(validating: $0, as: UTF8.self) }
}
