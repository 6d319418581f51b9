// The standard library has Unicode's normalization form C as `_nfc`; the public function is in
// Foundation, which this product does not use.
@_spi(_Unicode) internal import Swift

/// Unicode's normalization form C, in which one text has one sequence of bytes.
///
/// Costs quadratic time for runs of combining marks: the caller limits the length first.
package enum NormalizationFormC {
    package static func normalized(_ text: String) -> String {
        if text.utf8.allSatisfy({ $0 < 0x80 }) { return text }
        var result = String.UnicodeScalarView()
        result.append(contentsOf: text._nfc)
        return String(result)
    }
}
