/// A line of the log with a limit: a value that is too long is cut within its quotes, so that the
/// line keeps its format.
struct BoundedLine {
    /// The mark at the end of a cut text.
    static let mark = Array("…".utf8)
    /// The bytes that a field may always take with its name, however long earlier fields are.
    private static let smallestField = 160

    private(set) var bytes: [UInt8] = []
    private let limit: Int

    /// - Parameter limit: bytes without the line's end.
    init(limit: Int) {
        self.limit = limit
    }

    var text: String { String(decoding: bytes, as: UTF8.self) }

    /// Adds a text that is known to be short.
    mutating func add(_ text: String) {
        bytes.append(contentsOf: text.utf8)
    }

    /// Adds a text, cut to `room` bytes at the border of a character.
    /// - Parameter escape: the text for an ASCII byte; nil for the byte itself.
    mutating func add(_ text: String, room: Int, escape: (UInt8) -> [UInt8]?) {
        let start = bytes.count
        var border = start
        for byte in text.utf8 {
            let beginsScalar = byte & 0xC0 != 0x80
            if beginsScalar, bytes.count - start <= room - Self.mark.count { border = bytes.count }
            if let escaped = escape(byte) {
                bytes.append(contentsOf: escaped)
            } else {
                bytes.append(byte)
            }
            if bytes.count - start > room {
                bytes.removeSubrange(border...)
                if room >= Self.mark.count { bytes.append(contentsOf: Self.mark) }
                return
            }
        }
    }

    /// Adds the fields in the order of their names. A field without room is left out.
    /// - Parameters:
    ///   - overhead: the bytes of a field beside its name and value.
    ///   - closing: the bytes that follow the last field.
    ///   - add: adds a field whose value may take so many bytes.
    mutating func addFields(
        _ fields: [String: String], overhead: Int, closing: Int,
        add: (inout BoundedLine, _ name: String, _ value: String, _ room: Int) -> Void
    ) {
        let fields = fields.sorted { $0.key < $1.key }
        let sizes = fields.map { $0.key.utf8.count + $0.value.utf8.count + overhead }
        var later = sizes.reduce(0) { $0 + min($1, Self.smallestField) }
        for (field, size) in zip(fields, sizes) {
            later -= min(size, Self.smallestField)
            let frame = field.key.utf8.count + overhead
            let room = limit - bytes.count - closing - frame
            let share = max(room - later, min(room, Self.smallestField - frame))
            if share >= Self.mark.count { add(&self, field.key, field.value, share) }
        }
    }
}
