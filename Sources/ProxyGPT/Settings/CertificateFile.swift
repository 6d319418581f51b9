internal import Glibc

/// Checks a file of certificate authorities at the start, since a file that cannot be read would
/// make each connection fail.
enum CertificateFile {
    private static let largest = 64 * 1024 * 1024
    private static let begin = Array("-----BEGIN CERTIFICATE-----".utf8)
    private static let end = Array("-----END CERTIFICATE-----".utf8)

    /// The problem of a file; nil where it holds certificates, each of which can be decoded.
    static func problem(_ path: String) -> String? {
        var status = stat()
        guard stat(path, &status) == 0, access(path, R_OK) == 0 else {
            return "cannot be read: \(String(cString: strerror(errno)))"
        }
        guard status.st_mode & S_IFMT == S_IFREG else { return "is no file" }
        guard status.st_size <= largest else { return "is too large" }
        return problem(in: Settings.contents(ofFile: path, limit: largest)[...])
    }

    static func problem(in bytes: ArraySlice<UInt8>) -> String? {
        var found = 0
        var block: [UInt8]?
        for line in bytes.split(whereSeparator: { $0 == 0x0A || $0 == 0x0D }) {
            var line = line
            while line.last == 0x20 || line.last == 0x09 { line.removeLast() }
            if line.elementsEqual(begin) {
                block = []
            } else if line.elementsEqual(end), let text = block {
                guard isCertificate(text) else { return "holds a certificate that is damaged" }
                found += 1
                block = nil
            } else {
                block?.append(contentsOf: line)
            }
        }
        if block != nil { return "breaks off within a certificate" }
        return found == 0 ? "holds no certificate in PEM form" : nil
    }

    /// Whether base64 encodes one DER sequence of the length in its header (X.690, 8.1.3).
    private static func isCertificate(_ text: [UInt8]) -> Bool {
        guard let der = decoded(text), der.count > 4, der[0] == 0x30 else { return false }
        let first = Int(der[1])
        guard first > 0x80 else { return der.count == 2 + first }
        let size = first - 0x80
        guard (1...4).contains(size), der.count > 2 + size else { return false }
        let length = der[2..<2 + size].reduce(0) { $0 << 8 | Int($1) }
        return der.count == 2 + size + length
    }

    private static func decoded(_ text: [UInt8]) -> [UInt8]? {
        let digits = text.filter { $0 != UInt8(ascii: "=") }
        guard text.count % 4 == 0, text.count - digits.count <= 2 else { return nil }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(digits.count / 4 * 3 + 3)
        var (bits, held) = (UInt32(0), 0)
        for digit in digits {
            guard let value = value(digit) else { return nil }
            bits = bits << 6 | value
            held += 6
            if held >= 8 {
                held -= 8
                bytes.append(UInt8(truncatingIfNeeded: bits >> UInt32(held)))
            }
        }
        return bytes
    }

    private static func value(_ digit: UInt8) -> UInt32? {
        switch digit {
        case 0x41...0x5A: UInt32(digit - 0x41)
        case 0x61...0x7A: UInt32(digit - 0x61) + 26
        case 0x30...0x39: UInt32(digit - 0x30) + 52
        case UInt8(ascii: "+"): 62
        case UInt8(ascii: "/"): 63
        default: nil
        }
    }
}
