// What may be done to text from outside: everything here looks at bytes.
//
// A `String` compares, hashes and cuts by Characters: it normalizes, which takes time that grows with
// the square of a run of combining marks, and a separator followed by a mark is another Character.

extension Substring {
    /// Whether both texts have the same bytes.
    package func hasSameBytes(as other: String) -> Bool {
        utf8.count == other.utf8.count && utf8.elementsEqual(other.utf8)
    }

    /// Whether the text's bytes begin with those of `prefix`.
    package func beginsWithBytes(of prefix: String) -> Bool {
        utf8.starts(with: prefix.utf8)
    }

    /// The parts between the bytes of an ASCII separator, the empty ones as well.
    package func parts(separatedBy separator: Unicode.Scalar) -> [Substring] {
        utf8.split(separator: UInt8(ascii: separator), omittingEmptySubsequences: false)
            .map { Substring($0) }
    }

    /// The text before the first byte of an ASCII separator; the whole text where there is none.
    package func beginning(before separator: Unicode.Scalar) -> Substring {
        let byte = UInt8(ascii: separator)
        return self[..<(utf8.firstIndex(of: byte) ?? utf8.endIndex)]
    }

    /// The text behind the first byte of an ASCII separator; nil where there is none.
    package func rest(behind separator: Unicode.Scalar) -> Substring? {
        let byte = UInt8(ascii: separator)
        return utf8.firstIndex(of: byte).map { self[utf8.index(after: $0)...] }
    }

    /// The text without spaces and tabs on either side (RFC 9110, section 5.6.3).
    package var withoutOuterBlanks: Substring { Substring(utf8.withoutOuterBlanks) }

    /// The beginning of at most `limit` bytes, cut between two Unicode scalars.
    package func beginning(bytes limit: Int) -> String {
        guard utf8.count > limit else { return String(self) }
        var end = utf8.index(utf8.startIndex, offsetBy: Swift.max(0, limit))
        while end > utf8.startIndex, utf8[end] & 0xC0 == 0x80 { end = utf8.index(before: end) }
        return String(self[..<end])
    }
}

extension String {
    /// Whether both texts have the same bytes.
    package func hasSameBytes(as other: String) -> Bool {
        self[...].hasSameBytes(as: other)
    }

    /// Whether the text's bytes begin with those of `prefix`.
    package func beginsWithBytes(of prefix: String) -> Bool {
        self[...].beginsWithBytes(of: prefix)
    }

    /// The parts between the bytes of an ASCII separator, the empty ones as well.
    package func parts(separatedBy separator: Unicode.Scalar) -> [Substring] {
        self[...].parts(separatedBy: separator)
    }

    /// The text before the first byte of an ASCII separator; the whole text where there is none.
    package func beginning(before separator: Unicode.Scalar) -> Substring {
        self[...].beginning(before: separator)
    }

    /// The text behind the first byte of an ASCII separator; nil where there is none.
    package func rest(behind separator: Unicode.Scalar) -> Substring? {
        self[...].rest(behind: separator)
    }

    /// The text without spaces and tabs on either side (RFC 9110, section 5.6.3).
    package var withoutOuterBlanks: Substring { self[...].withoutOuterBlanks }

    /// The elements of a header's comma-separated list, without the white space around them, the empty
    /// ones as well (RFC 9110, section 5.6.1).
    package var listElements: [String] {
        var text = self
        return text.withUTF8 { bytes in
            bytes.split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false)
                .map { String(decoding: $0.withoutOuterBlanks, as: UTF8.self) }
        }
    }

    /// The beginning of at most `limit` bytes, cut between two Unicode scalars.
    package func beginning(bytes limit: Int) -> String {
        utf8.count > limit ? self[...].beginning(bytes: limit) : self
    }
}

extension String {
    /// Whether the text is ASCII and so short that it may be compared and hashed as a `String`.
    package var isShortASCII: Bool {
        utf8.count <= 64 && utf8.allSatisfy { $0 < 0x80 }
    }

    /// A piece of bytes from outside that is fit for a message: at most 64 printing ASCII characters,
    /// a question mark for every other byte.
    package init(quoting bytes: some Collection<UInt8>) {
        self = String(
            decoding: bytes.prefix(64).map { (0x20..<0x7F).contains($0) ? $0 : 0x3F },
            as: UTF8.self)
    }
}

extension Collection<UInt8> {
    /// The number that decimal digits alone stand for, as far as 63 bits hold it; nil for anything else:
    /// a sign, white space, digits of other scripts.
    package var decimalNumber: Int64? {
        // More than this are leading zeros at best.
        guard (1...40).contains(prefix(41).count) else { return nil }
        var number: Int64 = 0
        for byte in self {
            guard (0x30...0x39).contains(byte) else { return nil }
            let (tens, isTooLarge) = number.multipliedReportingOverflow(by: 10)
            let (sum, isTooLargeBy) = tens.addingReportingOverflow(Int64(byte - 0x30))
            guard !isTooLarge, !isTooLargeBy else { return nil }
            number = sum
        }
        return number
    }
}

extension BidirectionalCollection<UInt8> where SubSequence == Self {
    /// The bytes without spaces and tabs on either side (RFC 9110, section 5.6.3). Inlinable, or a mebibyte
    /// of them would take a second in other modules.
    @inlinable package var withoutOuterBlanks: Self {
        func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }
        var rest = self
        while let byte = rest.first, isBlank(byte) { rest.removeFirst() }
        while let byte = rest.last, isBlank(byte) { rest.removeLast() }
        return rest
    }
}
