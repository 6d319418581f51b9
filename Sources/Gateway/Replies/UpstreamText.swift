package import ProxyGPT

/// Makes what an upstream says fit for callers: bounded, on one line, without the key and without the
/// ids of the account behind it.
package struct UpstreamText: Sendable {
    private static let textLimit = 1000
    private static let codeLimit = 64

    private let mask: KeyMask

    package init(_ keyMask: KeyMask) {
        mask = keyMask
    }

    /// A text for callers; nil where nothing is said.
    package func shown(_ text: String?) -> String? {
        guard let text else { return nil }
        let masked = Self.withoutAccount(mask.masked(Array(text.utf8)))
        var line = masked.map { $0 < 0x20 || $0 == 0x7F ? 0x20 : $0 }
        if line.count > Self.textLimit {
            var end = Self.textLimit
            while end > 0, line[end] & 0xC0 == 0x80 { end -= 1 }
            line.removeSubrange(end...)
        }
        guard line.contains(where: { $0 != 0x20 }) else { return nil }
        return String(decoding: line, as: UTF8.self)
    }

    /// A code for callers: a word of letters, digits, `_`, `-` and `.`; nil for anything else.
    package func code(_ text: String?) -> String? {
        guard let text, (1...Self.codeLimit).contains(text.utf8.count),
            text.utf8.allSatisfy({ Self.isWordByte($0) || $0 == UInt8(ascii: ".") })
        else { return nil }
        let shown = mask.masked(Array(text.utf8))
        let masked = Self.withoutAccount(shown)
        return masked.elementsEqual(text.utf8) ? text : nil
    }

    // MARK: - The account

    /// How ids of organizations, projects and keys begin.
    private static let idPrefixes = ["org-", "org_", "proj_", "sk-"].map { Array($0.utf8) }
    /// The same, but parameters have such names, too: what follows has to look like an id.
    private static let doubtfulPrefixes = ["proj-", "key_", "key-"].map { Array($0.utf8) }

    static func withoutAccount(_ bytes: [UInt8]) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(bytes.count)
        var index = 0
        while index < bytes.count {
            let isStart = index == 0 || !isWordByte(bytes[index - 1])
            let begins = { (prefix: [UInt8]) in bytes[index...].starts(with: prefix) }
            let certain = isStart ? idPrefixes.first(where: begins) : nil
            let doubtful = isStart ? doubtfulPrefixes.first(where: begins) : nil
            guard let prefix = certain ?? doubtful else {
                result.append(bytes[index])
                index += 1
                continue
            }
            let start = index + prefix.count
            let rest = bytes[start...].prefix { isWordByte($0) || $0 == UInt8(ascii: "*") }
            result += prefix
            let isID = certain == nil ? looksLikeID(rest) : !rest.isEmpty
            result += isID ? Array("***".utf8) : Array(rest)
            index = start + rest.count
        }
        return result
    }

    private static func looksLikeID(_ text: ArraySlice<UInt8>) -> Bool {
        text.count >= 8 && text.contains { (0x30...0x39).contains($0) }
    }

    private static func isWordByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "_"), UInt8(ascii: "-"):
            true
        default: (0x61...0x7A).contains(byte)
        }
    }
}
