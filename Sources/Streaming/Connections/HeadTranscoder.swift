// Heads of HTTP messages on their way into NIO's parser, which repairs header values that are no UTF-8
// and refuses a request target that is not ASCII. Here such bytes take a form that it leaves alone.

internal import NIOCore
internal import ProxyGPT

/// Rewrites the head of a message piece by piece: each byte of a header's value becomes the character
/// with its number (the Infra Standard's isomorphic decode), and the target is kept aside.
struct HeadTranscoder {
    enum Kind {
        case request
        case answer
    }

    /// nginx takes a request line of at most 16 KiB.
    private static let firstLineLimit = 64 * 1024

    /// Whether the head has ended; what follows passes as it is.
    private(set) var isOver = false
    /// The request's target, where it is not ASCII; the parser sees letters in the place of its bytes.
    private(set) var target: [UInt8]?

    private let kind: Kind
    private var firstLine: [UInt8] = []
    private var isFirstLine = true
    /// How many bytes the current line has, its CR not among them.
    private var length = 0
    private var spaces = 0
    private var isTargetASCII = true

    init(_ kind: Kind) {
        self.kind = kind
    }

    /// Takes the next bytes and returns them as they go on to the parser.
    mutating func feed(_ bytes: [UInt8]) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(bytes.count + 16)
        for byte in bytes {
            if isOver || byte < 0x80 {
                result.append(byte)
            } else if !isFirstLine || kind == .answer {
                result.append(0xC0 | byte >> 6)
                result.append(0x80 | byte & 0x3F)
            } else if spaces == 1 && firstLine.count < Self.firstLineLimit {
                isTargetASCII = false
                result.append(UInt8(ascii: "x"))
            } else {
                // The parser refuses it.
                result.append(byte)
            }
            if !isOver { note(byte) }
        }
        return result
    }

    private mutating func note(_ byte: UInt8) {
        switch byte {
        case UInt8(ascii: "\n"): endLine()
        case UInt8(ascii: "\r"): break
        default:
            length += 1
            guard isFirstLine, firstLine.count < Self.firstLineLimit else { return }
            firstLine.append(byte)
            if byte == UInt8(ascii: " ") { spaces += 1 }
        }
    }

    private mutating func endLine() {
        defer { length = 0 }
        if length > 0 {
            if isFirstLine && !isTargetASCII {
                target = Array(
                    firstLine.drop { $0 != UInt8(ascii: " ") }.dropFirst()
                        .prefix { $0 != UInt8(ascii: " ") })
            }
            isFirstLine = false
        } else if !isFirstLine {
            // Behind an interim answer there is another one (RFC 9110, section 15.2).
            let status = firstLine.dropFirst("HTTP/1.1 ".utf8.count).prefix(3)
            let isInterim = status.first == UInt8(ascii: "1") && !status.elementsEqual("101".utf8)
            isOver = kind == .request || !isInterim
            isFirstLine = true
            firstLine = []
        }
    }
}

/// Feeds a connection's first head through a `HeadTranscoder`, and leaves the pipeline behind it.
final class HeadTranscodingHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    private var transcoder: HeadTranscoder

    /// See `HeadTranscoder`.
    var target: [UInt8]? { transcoder.target }

    init(_ kind: HeadTranscoder.Kind) {
        transcoder = HeadTranscoder(kind)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = transcoder.feed(Array(unwrapInboundIn(data).readableBytesView))
        context.fireChannelRead(wrapInboundOut(ByteBuffer(bytes: bytes)))
        if transcoder.isOver {
            context.pipeline.syncOperations.removeHandler(context: context, promise: nil)
        }
    }
}

extension Header {
    /// A header of a head that a `HeadTranscoder` has rewritten, as it came.
    init(transcoded name: String, _ value: String) {
        if value.utf8.allSatisfy({ $0 < 0x80 }) {
            self.init(name, value)
        } else {
            self.init(
                name,
                bytes: value.unicodeScalars.map { UInt8(exactly: $0.value) ?? UInt8(ascii: "?") })
        }
    }
}
