/// The beginning of a `-shm` file: the committed part of the WAL, as SQLite's own readers see it.
///
/// "mxFrame: Number of valid and committed frames in the WAL file" and the other fields:
/// sqlite.org/walformat.html, "The WAL-Index Header".
struct WALIndex: Equatable {
    static let headerSize = 96
    static let walHeaderSize = 32
    private static let frameHeaderSize = 24
    private static let version: UInt32 = 3_007_000

    let frames: UInt32
    let pageSize: Int
    /// The salts of the WAL's own header, which name its generation.
    let salts: [UInt8]

    /// Nil where the index is not whole: not made yet, or its writer died over it. "A copy of bytes 0
    /// through 47 of this header" follows it, written before it.
    init?(_ bytes: [UInt8]) {
        guard bytes.count >= Self.headerSize, bytes[..<48] == bytes[48..<96], bytes[12] == 1 else {
            return nil
        }
        // "unsigned integers in the native byte-order of the host machine"
        func integer(at offset: Int) -> UInt32 {
            var value: UInt32 = 0
            withUnsafeMutableBytes(of: &value) { $0.copyBytes(from: bytes[offset..<offset + 4]) }
            return value
        }
        guard integer(at: 0) == Self.version else { return nil }
        var size: UInt16 = 0
        withUnsafeMutableBytes(of: &size) { $0.copyBytes(from: bytes[14..<16]) }
        // "or 1 if the page size is 65536"
        pageSize = size == 1 ? 65_536 : Int(size)
        guard pageSize >= 512, pageSize & (pageSize - 1) == 0 else { return nil }
        frames = integer(at: 16)
        salts = Array(bytes[32..<40])
    }

    /// How many bytes of the WAL are committed.
    var walLength: Int64 {
        frames == 0
            ? 0
            : Int64(Self.walHeaderSize) + Int64(frames) * Int64(pageSize + Self.frameHeaderSize)
    }

    /// Whether a WAL that begins with these bytes is the one that the index describes.
    func describes(_ walHeader: [UInt8]) -> Bool {
        walHeader.count >= Self.walHeaderSize && Array(walHeader[16..<24]) == salts
    }
}
