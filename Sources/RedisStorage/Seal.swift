internal import Formats
internal import ProxyGPT

/// Seals this installation's entries in Redis. An entry of another writer, or one that was moved to
/// another key, does not open: it counts as absent.
struct Seal: Sendable {
    /// Bytes of a seal, before the content.
    static let size = 16

    private let key: any MessageAuthenticator

    init(_ key: any MessageAuthenticator) {
        self.key = key
    }

    /// The content behind its seal.
    /// - Parameter place: the key of the entry; empty where the content names its place itself.
    func closed(_ content: [UInt8], for place: String = "") -> [UInt8] {
        code(of: content, place) + content
    }

    /// The content, if this installation sealed it for this place, and it is unchanged.
    func opened(_ bytes: ArraySlice<UInt8>, for place: String = "") -> [UInt8]? {
        guard bytes.count >= Self.size else { return nil }
        let content = Array(bytes.dropFirst(Self.size))
        // Compares all bytes, wherever the first difference is: the time must not reveal its
        // position.
        let difference = zip(bytes, code(of: content, place)).reduce(0) { $0 | ($1.0 ^ $1.1) }
        return difference == 0 ? content : nil
    }

    private func code(of content: [UInt8], _ place: String) -> [UInt8] {
        // Its length before it: the end of one part must not pass for the beginning of the other.
        var head = ByteWriter()
        head.text(place)
        return key.code(of: head.bytes, content)
    }
}
