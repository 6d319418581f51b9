/// Tells from the first bytes on a connection whether a whole request head is there, so that
/// libfcgi, which blocks until it is, is only called when it will not. A pure function over bytes;
/// the record format is in the FastCGI specification, section 3.3.
package enum RequestHead: Equatable, Sendable {
    /// BEGIN_REQUEST and all PARAMS are there, in this many bytes.
    case complete(length: Int)
    case incomplete
    /// No responder's request begins like this.
    case malformed

    private static let headerLength = 8
    private static let version: UInt8 = 1
    private static let beginRequest: UInt8 = 1
    private static let parameters: UInt8 = 4

    package init(scanning bytes: some RandomAccessCollection<UInt8>) {
        self = Self.scan(bytes)
    }

    private static func scan(_ bytes: some RandomAccessCollection<UInt8>) -> RequestHead {
        func byte(_ offset: Int) -> UInt8 {
            bytes[bytes.index(bytes.startIndex, offsetBy: offset)]
        }
        var offset = 0
        var requestID: (UInt8, UInt8)?
        while offset < bytes.count {
            guard byte(offset) == version else { return .malformed }
            guard bytes.count - offset >= headerLength else { return .incomplete }
            let id = (byte(offset + 2), byte(offset + 3))
            let content = Int(byte(offset + 4)) << 8 | Int(byte(offset + 5))
            let padding = Int(byte(offset + 6))
            switch byte(offset + 1) {
            case beginRequest where requestID == nil && id != (0, 0) && content == 8:
                requestID = id
            case parameters where requestID != nil && id == (requestID ?? (0, 0)):
                let end = offset + headerLength + content + padding
                if content == 0 && end <= bytes.count { return .complete(length: end) }
            default: return .malformed
            }
            offset += headerLength + content + padding
        }
        return .incomplete
    }
}
