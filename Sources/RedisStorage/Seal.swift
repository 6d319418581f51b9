internal import Formats
internal import ProxyGPT

/// Marks what this installation keeps in Redis. What others have written there, or have put in another
/// place than it was made for, does not open: it is not there.
struct Seal: Sendable {
    /// Bytes that a seal takes, before what it is on.
    static let size = 16

    private let key: any MessageAuthenticator

    init(_ key: any MessageAuthenticator) {
        self.key = key
    }

    /// The content behind its seal.
    /// - Parameter place: where it may be found; empty where the content says that itself.
    func closed(_ content: [UInt8], for place: String = "") -> [UInt8] {
        code(of: content, place) + content
    }

    /// The content, if it was closed by this installation, for this place, and is as it was.
    func opened(_ bytes: ArraySlice<UInt8>, for place: String = "") -> [UInt8]? {
        guard bytes.count >= Self.size else { return nil }
        let content = Array(bytes.dropFirst(Self.size))
        // All of it, whatever the first difference is: time must not tell where that stands.
        let difference = zip(bytes, code(of: content, place)).reduce(0) { $0 | ($1.0 ^ $1.1) }
        return difference == 0 ? content : nil
    }

    private func code(of content: [UInt8], _ place: String) -> [UInt8] {
        // Its length before it: the end of one must not be the beginning of the other.
        var head = ByteWriter()
        head.text(place)
        return key.code(of: head.bytes, content)
    }
}
