/// Compares header names and other ASCII words without regard to case.
package func equalIgnoringCase(_ left: String, _ right: String) -> Bool {
    // Most names differ in length already.
    guard left.utf8.count == right.utf8.count else { return false }
    return hasPrefixIgnoringCase(left, right)
}

/// Tells whether an ASCII word begins with another, without regard to case.
package func hasPrefixIgnoringCase(_ text: String, _ prefix: String) -> Bool {
    var rest = text.utf8.makeIterator()
    for byte in prefix.utf8 {
        guard let other = rest.next(), lowerCase(byte) == lowerCase(other) else { return false }
    }
    return true
}

/// Returns an ASCII capital's small letter, any other byte as it is.
@inline(__always)
package func lowerCase(_ byte: UInt8) -> UInt8 {
    byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "Z") ? byte | 0x20 : byte
}

/// Tells whether a byte may stand in a method, a header's name or another token (RFC 9110, 5.6.2).
package func isTokenByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"):
        true
    case UInt8(ascii: "!"), UInt8(ascii: "#"), UInt8(ascii: "$"), UInt8(ascii: "%"),
        UInt8(ascii: "&"), UInt8(ascii: "'"), UInt8(ascii: "*"), UInt8(ascii: "+"),
        UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "^"), UInt8(ascii: "_"),
        UInt8(ascii: "`"), UInt8(ascii: "|"), UInt8(ascii: "~"):
        true
    default:
        false
    }
}
