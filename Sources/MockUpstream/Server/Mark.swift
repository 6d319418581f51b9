/// A word that says when it was sent: `@` and sixteen digits, microseconds since 1970.
enum Mark {
    /// A mark before it is sent.
    static let blank = "@" + String(repeating: "0", count: digits)
    private static let digits = 16

    /// Writes the moment into a blank mark, where there is one.
    static func stamp(_ bytes: inout [UInt8], at microseconds: Int64) {
        guard let place = bytes.firstRange(of: blank.utf8) else { return }
        let text = String(microseconds)
        let padded = String(repeating: "0", count: max(0, digits - text.utf8.count)) + text
        bytes.replaceSubrange(
            place.lowerBound + 1..<place.upperBound, with: padded.utf8.suffix(digits))
    }
}
