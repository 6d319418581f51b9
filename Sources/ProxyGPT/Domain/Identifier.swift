internal import Formats

/// The id of an entity of one kind, so that a chat's id cannot be passed as a user's.
package struct Identifier<Entity>: Hashable, Sendable, CustomStringConvertible {
    package let text: String

    package init(_ text: String) {
        self.text = text
    }

    /// Reads an id of a request; nil for anything but the 36 bytes of a UUID.
    package init?(outside text: String) {
        guard UUIDText.isShaped(text) else { return nil }
        self.text = text
    }

    package var description: String { text }
}

/// Makes the ids of new entities. Implementations are in `Credentials`, where randomness lives.
package protocol IdentifierSource: Sendable {
    /// Returns a new UUID of version 7 (RFC 9562, section 5.7) as 36 lower-case characters.
    /// Ids made later by one source sort after those made before.
    func next() -> String
}

extension IdentifierSource {
    /// A random number from `range`, for jitter: made of the last 32 random bits of an identifier.
    package func number(in range: ClosedRange<Int64>) -> Int64 {
        let random = next().utf8.suffix(8).reduce(UInt64(0)) {
            $0 << 4 | UInt64(hexadecimalValue($1) ?? 0)
        }
        let span = UInt64(clamping: range.upperBound &- range.lowerBound) &+ 1
        return range.lowerBound &+ Int64(clamping: random % max(1, span))
    }
}

package enum UUIDText {
    /// Formats a version 7 UUID: 48 bits of time, then `counter` (12 bits) and `random` (62 bits).
    package static func version7(milliseconds: Int64, counter: UInt16, random: UInt64) -> String {
        let high =
            (UInt64(bitPattern: milliseconds) & 0xFFFF_FFFF_FFFF) << 16
            | 0x7000 | UInt64(counter & 0x0FFF)
        let low = (random & 0x3FFF_FFFF_FFFF_FFFF) | 0x8000_0000_0000_0000
        return String(unsafeUninitializedCapacity: 36) { text in
            var position = 0
            for index in 0..<32 {
                if index == 8 || index == 12 || index == 16 || index == 20 {
                    text[position] = UInt8(ascii: "-")
                    position += 1
                }
                let half = index < 16 ? high : low
                let nibble = UInt8(truncatingIfNeeded: half >> UInt64(60 - 4 * (index & 15))) & 15
                text[position] = hexadecimalDigit(nibble)
                position += 1
            }
            return 36
        }
    }

    /// Tells whether `text` has the shape of a UUID, of any version and in either case.
    package static func isShaped(_ text: String) -> Bool {
        let bytes = text.utf8
        guard bytes.count == 36 else { return false }
        for (index, byte) in bytes.enumerated() {
            if index == 8 || index == 13 || index == 18 || index == 23 {
                guard byte == UInt8(ascii: "-") else { return false }
            } else if hexadecimalValue(byte) == nil {
                return false
            }
        }
        return true
    }
}
