/// Joins the deltas of one reply, and knows which part of a repeated reply is new.
///
/// After a reset the server sends a running reply from its first word again, and a final frame has the
/// whole reply. In both cases the text that is already known is compared, byte by byte, and left out.
struct ReplyText {
    /// The text so far.
    private(set) var text = ""
    private var bytes: [UInt8] = []
    /// The length of the text that the deltas since the last restart add up to; nil where a delta did not
    /// continue the text, so that only a restart or the whole reply helps.
    private var position: Int? = 0

    /// Notes that the deltas begin at the first word again.
    mutating func restart() {
        position = 0
    }

    /// Takes a delta and returns the part of it that is new.
    mutating func add(_ delta: String) -> String {
        guard let position else { return "" }
        let delta = Array(delta.utf8)
        let known = bytes[position...].prefix(delta.count)
        guard delta.starts(with: known) else {
            self.position = nil
            return ""
        }
        self.position = position + delta.count
        return append(delta.dropFirst(known.count))
    }

    /// Takes the whole reply and returns what is new of it: nothing, where the reply does not continue the
    /// text.
    mutating func finish(_ reply: String) -> String {
        let reply = Array(reply.utf8)
        guard reply.starts(with: bytes) else { return "" }
        return append(reply.dropFirst(bytes.count))
    }

    private mutating func append(_ fresh: ArraySlice<UInt8>) -> String {
        bytes += fresh
        let fresh = String(decoding: fresh, as: UTF8.self)
        text += fresh
        return fresh
    }
}
