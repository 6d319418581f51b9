internal import CHiredis
import Formats
internal import ProxyGPT
@testable internal import RedisStorage

// What stands in Redis, where others may write too.

/// Takes the first bytes of everything for its mark: else no input would come past the seal.
private struct NoAuthenticator: MessageAuthenticator {
    func code(of pieces: [UInt8]...) -> [UInt8] { Array("0123456789abcdef".utf8) }
}

private let seal = Seal(NoAuthenticator())

extension Entry {
    private static let window: [UInt8] = {
        var writer = ByteWriter()
        writer.bytes = [1]
        for number in [UInt64(3), 4000] { writer.number(number) }
        writer.bytes.append(0)
        for number in [UInt64(1), 7, 5] { writer.number(number) }
        writer.text("prompt")
        writer.text("reply")
        return writer.bytes
    }()

    static let stores = [
        Entry("context", bytes: [window, [1, 0, 0, 0, 0], Array(window.dropLast())]) { bytes in
            guard let window = ContextWindow(encoded: bytes) else { return }
            let encoded = window.encoded
            require(ContextWindow(encoded: encoded)?.encoded == encoded, "a window comes back")
        },
        Entry(
            "frames",
            bytes: [
                Array("epoch-1\n".utf8)
                    + StreamFrame(
                        chatID: Chat.ID("c"), messageID: Message.ID("m"), userID: User.ID("u"),
                        .delta("text", prompt: "prompt")
                    ).encoded(at: 0, seal)
                    + StreamFrame(
                        chatID: Chat.ID("c"), messageID: Message.ID("m"), userID: User.ID("u"),
                        .ended
                    ).encoded(at: 0, seal),
                Array("a-9007199254740992\n\u{11}0123456789abcdefe".utf8),
            ]
        ) { bytes in
            guard let group = Turns.turn({ FrameBatch(bytes, seal) }) else { return }
            require(
                group.last >= group.first.sequence, "a group's last frame is not before its first")
            let merged = Turns.turn { StreamFrame.merge(group.frames.map(\.frame)) }
            Turns.turn { _ = merged.map { $0.encoded(at: 0, seal) } }
        },
        Entry(
            "redis-replies",
            seeds: [
                "+OK\r\n", "-ERR a b\r\n", ":12\r\n", "$3\r\nabc\r\n$-1\r\n",
                "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n", "*1\r\n*1\r\n*1\r\n:1\r\n",
                "*9999\r\n", "$536870912\r\n",
            ]
        ) { bytes in
            // hiredis makes room for as many elements as are promised.
            guard !promisesManyElements(bytes), let reader = redisReaderCreate() else { return }
            defer { redisReaderFree(reader) }
            // hiredis reads 16 KiB at a time.
            for piece in pieces(bytes).flatMap({ slices($0, of: 16 * 1024) }) {
                guard Turns.turn({ read(piece, reader) }) else { return }
            }
        },
    ]

    /// False where the bytes are no replies.
    private static func read(
        _ piece: [UInt8], _ reader: UnsafeMutablePointer<redisReader>
    ) -> Bool {
        let isTaken = piece.withUnsafeBytes { bytes in
            redisReaderFeed(reader, bytes.bindMemory(to: CChar.self).baseAddress, bytes.count)
        }
        guard isTaken == REDIS_OK else { return false }
        var reply: UnsafeMutableRawPointer?
        while redisReaderGetReply(reader, &reply) == REDIS_OK, let found = reply {
            let copy = RedisReply(UnsafePointer(found.assumingMemoryBound(to: redisReply.self)))
            _ = (copy.number, copy.text, copy.list, copy.bytes)
            freeReplyObject(found)
            reply = nil
        }
        return true
    }

    private static func promisesManyElements(_ bytes: [UInt8]) -> Bool {
        bytes.split(separator: UInt8(ascii: "*")).dropFirst(
            bytes.first == UInt8(ascii: "*") ? 0 : 1
        )
        .contains { $0.prefix { (0x30...0x39).contains($0) || $0 == 0x2B }.count > 5 }
    }
}
