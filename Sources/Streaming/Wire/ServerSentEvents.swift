internal import NIOCore
internal import ProxyGPT

/// Writes an event stream (WHATWG HTML, section 9.2). JSON has no line ends, so that a frame's data
/// is one line.
enum ServerSentEvents {
    /// Milliseconds within which a client comes back when its connection breaks.
    static let retry: ClosedRange<Int64> = 1000...5000

    static func event(_ frame: Frame) -> ByteBuffer {
        let json = frame.json
        var buffer = ByteBuffer()
        buffer.reserveCapacity(json.count + 96)
        if case .reset = frame.content { buffer.writeString("event: reset\n") }
        buffer.writeString("id: \(frame.id)\ndata: ")
        buffer.writeBytes(json)
        buffer.writeString("\n\n")
        return buffer
    }

    /// An id without data is no event, and is remembered all the same: a client that breaks off
    /// resumes from here.
    static func mark(at id: FrameID) -> ByteBuffer {
        ByteBuffer(string: "id: \(id)\n\n")
    }

    /// How long the client is to wait before it comes back.
    static func retry(after milliseconds: Int64) -> ByteBuffer {
        ByteBuffer(string: "retry: \(milliseconds)\n\n")
    }
}

/// Keeps proxies from closing a silent connection: made once for all subscribers.
struct KeepAlive {
    /// The newest frame that was passed on.
    let id: FrameID?
    let plain = ByteBuffer(string: ": keep-alive\n\n")
    /// Also moves the place from which an idle client resumes.
    let marked: ByteBuffer

    init(at id: FrameID?) {
        self.id = id
        marked = id.map { ByteBuffer(string: ": keep-alive\nid: \($0)\n\n") } ?? plain
    }
}
