internal import Gateway
internal import NIOCore
internal import NIOHTTP1
internal import ProxyGPT

/// Writes the heads of HTTP/1.1 answers, one a connection.
enum AnswerHead {
    /// A whole answer, after which the connection closes.
    static func whole(_ response: Response) -> ByteBuffer {
        var buffer = head(response.status, response.headers + [Header("Connection", "close")])
        buffer.writeBytes(response.body)
        return buffer
    }

    /// The beginning of an event stream, which lasts until the connection closes.
    static func eventStream(_ headers: [Header]) -> ByteBuffer {
        head(
            Transport.serverSentEvents.status,
            [
                Header("Content-Type", "text/event-stream"),
                // Read by what stands before nginx, too: a stream that is compressed or gathered
                // there arrives late.
                Header("Cache-Control", "private, no-store, no-transform"),
                Header("X-Accel-Buffering", "no"), Header("X-Content-Type-Options", "nosniff"),
                Header("Connection", "close"),
            ] + headers)
    }

    /// The server's part of a WebSocket's handshake (RFC 6455, section 4.2.2).
    static func webSocket(_ accept: String, _ headers: [Header]) -> ByteBuffer {
        head(
            Transport.webSocket(accept: accept).status,
            [
                Header("Upgrade", "websocket"), Header("Connection", "Upgrade"),
                Header("Sec-WebSocket-Accept", accept),
            ] + headers)
    }

    private static func head(_ status: Int, _ headers: [Header]) -> ByteBuffer {
        let reason = HTTPResponseStatus(statusCode: status).reasonPhrase
        var buffer = ByteBuffer(string: "HTTP/1.1 \(status) \(reason)\r\n")
        for header in headers {
            buffer.writeString(header.name)
            buffer.writeString(": ")
            buffer.writeBytes(header.bytes)
            buffer.writeString("\r\n")
        }
        buffer.writeString("\r\n")
        return buffer
    }
}
