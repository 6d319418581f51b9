/// The bytes in base64 with padding (RFC 4648, section 4).
func base64(_ bytes: [UInt8]) -> String {
    let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    var text: [UInt8] = []
    text.reserveCapacity((bytes.count + 2) / 3 * 4)
    for start in stride(from: 0, to: bytes.count, by: 3) {
        let group = bytes[start..<min(start + 3, bytes.count)]
        var bits: UInt32 = 0
        for position in 0..<3 {
            bits = bits << 8 | (position < group.count ? UInt32(group[start + position]) : 0)
        }
        for position in 0..<4 {
            let isPadding = position > group.count
            let value = Int(bits >> (18 - 6 * UInt32(position)) & 63)
            text.append(isPadding ? UInt8(ascii: "=") : alphabet[value])
        }
    }
    return String(decoding: text, as: UTF8.self)
}
