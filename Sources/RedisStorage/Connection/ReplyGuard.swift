// Lets hiredis build only answers that it can handle.
//
// hiredis asserts, which ends the process, that an answer was asked for and that an answer to a
// subscriber has the shape of a publication (async.c, redisProcessCallbacks and
// __redisGetSubscribeCallback). The server may send anything else. The reader builds answers by a
// table of functions (read.h, redisReplyObjectFunctions); the one here asks the connection first,
// and "no memory" from it ends the connection in good order. The same ends an answer that announces
// more than any of ours has, before room is made for it.

internal import CHiredis
internal import EventLoop

/// A filter between hiredis's reader and the functions that build its answers.
@EventLoop enum ReplyGuard {
    /// The element that the reader is about to build.
    struct Piece {
        /// It is inside a list.
        let isPart: Bool
        /// It fits at this position of a publication: three elements, the first two of them texts.
        let isPublication: Bool
        /// Elements of a list, for which room is made at once, whether they come or not.
        var elements = 0
        /// Bytes of a text.
        var bytes = 0
    }

    /// The bounds of one answer, with everything in it.
    struct Allowance {
        /// No answer of ours has half as many.
        private var elements = 100_000
        private var bytes = 256 * 1024 * 1024

        /// False for an element beyond the bounds.
        mutating func takes(_ piece: Piece) -> Bool {
            guard (0...elements).contains(piece.elements), (0...bytes).contains(piece.bytes) else {
                return false
            }
            elements -= piece.elements
            bytes -= piece.bytes
            return true
        }
    }

    /// Bytes of one text or line, at most: a batch of frames is far smaller.
    private static let textLimit = 16 * 1024 * 1024

    /// Whether the text that is being read is longer than any of ours, as far as is known by now.
    static func announcesTooMuch(_ reader: UnsafeMutablePointer<redisReader>?) -> Bool {
        guard let reader, let buffer = reader.pointee.buf else { return false }
        let waiting = UnsafeBufferPointer(start: buffer, count: Int(reader.pointee.len))
            .dropFirst(Int(reader.pointee.pos))
        if waiting.count > textLimit { return true }
        let current = Int(reader.pointee.ridx)
        let type = withUnsafeBytes(of: reader.pointee.rstack) { stack in
            stack.bindMemory(to: redisReadTask.self).dropFirst(max(0, current)).first?.type
        }
        guard current >= 0, type == REDIS_REPLY_STRING else { return false }
        // Its length is here until all of it has come.
        let digits = waiting.prefix(20).prefix { (0x30...0x39).contains($0) }
        let length = Int64(String(decoding: digits.map { UInt8(bitPattern: $0) }, as: UTF8.self))
        return !digits.isEmpty && length.map { $0 > Int64(textLimit) } ?? true
    }

    private static var original: redisReplyObjectFunctions?
    // hiredis keeps the pointer as long as there are readers: for ever.
    private static let table: UnsafeMutablePointer<redisReplyObjectFunctions> = .allocate(
        capacity: 1)

    /// - Parameter object: the connection, as every reader knows it.
    static func install(
        in reader: UnsafeMutablePointer<redisReader>?, object: UnsafeMutableRawPointer
    ) {
        guard let reader, let functions = reader.pointee.fn else { return }
        if original == nil {
            original = functions.pointee
            table.initialize(to: guarded(functions.pointee))
        }
        reader.pointee.fn = table
        reader.pointee.privdata = object
    }

    private static func guarded(
        _ functions: redisReplyObjectFunctions
    ) -> redisReplyObjectFunctions {
        var guarded = functions
        guarded.createString = { task, text, length in
            EventLoop.assumeIsolated {
                guard let task, ReplyGuard.admits(task, isText: true, text, length) else {
                    return nil
                }
                return ReplyGuard.original?.createString(task, text, length)
            }
        }
        guarded.createArray = { task, count in
            EventLoop.assumeIsolated {
                guard let task, ReplyGuard.admits(task, elements: count) else { return nil }
                return ReplyGuard.original?.createArray(task, count)
            }
        }
        guarded.createInteger = { task, value in
            EventLoop.assumeIsolated {
                guard let task, ReplyGuard.admits(task) else { return nil }
                return ReplyGuard.original?.createInteger(task, value)
            }
        }
        guarded.createNil = { task in
            EventLoop.assumeIsolated {
                guard let task, ReplyGuard.admits(task) else { return nil }
                return ReplyGuard.original?.createNil(task)
            }
        }
        return guarded
    }

    private static func admits(
        _ task: UnsafePointer<redisReadTask>, isText: Bool = false,
        _ text: UnsafeMutablePointer<CChar>? = nil, _ length: Int = 0, elements: Int32? = nil
    ) -> Bool {
        guard let connection = RedisConnection.at(task.pointee.privdata) else { return false }
        let type = task.pointee.type
        // hiredis handles an error outside of a list by itself.
        let isError = type == REDIS_REPLY_ERROR
        guard task.pointee.parent != nil else {
            return isError
                || connection.expects(
                    Piece(
                        isPart: false, isPublication: elements == 3,
                        elements: Int(elements ?? 0), bytes: length))
        }
        let isPublication =
            switch task.pointee.idx {
            case 0:
                type == REDIS_REPLY_STRING
                    && ["subscribe", "message"].contains(word(text, length))
            case 1: type == REDIS_REPLY_STRING
            default: type == REDIS_REPLY_STRING || type == REDIS_REPLY_INTEGER
            }
        return connection.expects(
            Piece(
                isPart: true, isPublication: isPublication, elements: Int(elements ?? 0),
                bytes: length))
    }

    private static func word(_ text: UnsafeMutablePointer<CChar>?, _ length: Int) -> String {
        String(decoding: UnsafeRawBufferPointer(start: text, count: min(length, 16)), as: UTF8.self)
    }
}
