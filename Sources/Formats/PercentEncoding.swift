/// Percent-escapes (RFC 3986, section 2.1).
package enum PercentEncoding {
    /// Decodes percent-escapes, and `+` as a space in forms; nil where an escape is malformed.
    package static func decode(
        _ text: some Collection<UInt8>, plusIsSpace: Bool = false
    ) -> [UInt8]? {
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

    /// Decodes percent-escapes; what is malformed stays as it is.
    package static func decodeLeniently(_ bytes: [UInt8]) -> [UInt8] {
        guard bytes.contains(UInt8(ascii: "%")) else { return bytes }
        var result: [UInt8] = []
        var rest = bytes[...]
        while let byte = rest.popFirst() {
            let digits =
                byte == UInt8(ascii: "%") ? rest.prefix(2).compactMap(hexadecimalValue) : []
            if digits.count == 2 {
                result.append(digits[0] << 4 | digits[1])
                rest = rest.dropFirst(2)
            } else {
                result.append(byte)
            }
        }
        return result
    }
}
