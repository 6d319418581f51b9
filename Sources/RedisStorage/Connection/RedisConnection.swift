// One connection to Redis, by hiredis's asynchronous interface, on the loop.
//
// Owns a redisAsyncContext, which is freed by hiredis: when the connection fails, or when it is
// asked to. hiredis announces that by the hook `cleanup`, and from then on nothing here touches it.
// Replies belong to hiredis and are copied in the callback. The interface is hiredis's README,
// "Asynchronous API", and async.h. It writes with write(2): the process must ignore SIGPIPE. Knows
// nothing of passwords or time.

internal import CHiredis
internal import EventLoop
internal import Glibc

/// Sends commands and hands out the answers.
@EventLoop final class RedisConnection {
    typealias Answer = (Result<RedisReply, RedisError>) -> Void

    /// The address that hiredis connects to: never a name, which hiredis would look up at once and
    /// block.
    enum Target: Equatable, Sendable {
        case address(String, port: UInt16)
        case socket(path: String)
    }

    /// A command whose answer has not come. Its size counts until then.
    private final class Pending {
        let size: Int
        let answer: Answer

        init(size: Int, _ answer: @escaping Answer) {
            self.size = size
            self.answer = answer
        }
    }

    /// Commands without an answer, and the bytes that they were.
    private(set) var pending = 0
    private(set) var pendingBytes = 0

    /// Whether commands can be sent.
    var isOpen: Bool { context != nil && !isToClose }

    private var context: UnsafeMutablePointer<redisAsyncContext>?
    private var watch: Watch?
    private var interest: Readiness = []
    private let connected: () -> Void
    private let closed: (_ reason: String) -> Void
    private var receive: (([UInt8]) -> Void)?
    private var subscribed: (() -> Void)?
    // Whether hiredis is at work further up the stack: there it must not lose its context.
    private var isBusy = false
    private var isToClose = false
    /// The other side sent bytes that no Redis sends.
    private var isMisled = false
    private var allowance = ReplyGuard.Allowance()

    /// Begins to connect.
    ///
    /// - Parameters:
    ///   - connected: called once when the connection is established.
    ///   - closed: called once when it has ended, or could not be made; not after `close`.
    init(
        to target: Target, connected: @escaping () -> Void, closed: @escaping (String) -> Void
    ) throws(RedisError) {
        self.connected = connected
        self.closed = closed
        let context =
            switch target {
            case .address(let address, let port): redisAsyncConnect(address, Int32(port))
            case .socket(let path): redisAsyncConnectUnix(path)
            }
        guard let context else { throw .closed("no memory") }
        guard context.pointee.err == 0 else {
            let reason = Self.reason(context)
            redisAsyncFree(context)
            throw .closed(reason)
        }
        do {
            let descriptor = context.pointee.c.fd
            _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
            watch = try EventLoop.watch(descriptor, for: []) { [weak self] in self?.act($0) }
        } catch {
            redisAsyncFree(context)
            throw .closed("\(error)")
        }
        attach(context)
    }

    private func attach(_ context: UnsafeMutablePointer<redisAsyncContext>) {
        self.context = context
        // Released by `cleanup`: the object outlives the context.
        let object = Unmanaged.passRetained(self).toOpaque()
        context.pointee.data = object
        ReplyGuard.install(in: context.pointee.c.reader, object: object)
        context.pointee.ev.data = object
        context.pointee.ev.addRead = { object in
            EventLoop.assumeIsolated { RedisConnection.at(object)?.want(.readable) }
        }
        context.pointee.ev.delRead = { object in
            EventLoop.assumeIsolated { RedisConnection.at(object)?.wantNoMore(.readable) }
        }
        context.pointee.ev.addWrite = { object in
            EventLoop.assumeIsolated { RedisConnection.at(object)?.want(.writable) }
        }
        context.pointee.ev.delWrite = { object in
            EventLoop.assumeIsolated { RedisConnection.at(object)?.wantNoMore(.writable) }
        }
        context.pointee.ev.cleanup = { object in
            EventLoop.assumeIsolated { RedisConnection.at(object)?.cleanUp() }
        }
        // Waits for a write, too, which shows that the connection is established.
        redisAsyncSetConnectCallback(context) { context, status in
            guard status == REDIS_OK else { return }
            EventLoop.assumeIsolated { RedisConnection.at(context?.pointee.data)?.connected() }
        }
    }

    static func at(_ object: UnsafeMutableRawPointer?) -> RedisConnection? {
        object.map { Unmanaged<RedisConnection>.fromOpaque($0).takeUnretainedValue() }
    }

    /// Whether the beginning of an answer may come just now. If not, the caller ends the
    /// connection.
    func expects(_ piece: ReplyGuard.Piece) -> Bool {
        if !piece.isPart { allowance = ReplyGuard.Allowance() }
        let isExpected = receive == nil ? pending > 0 || piece.isPart : piece.isPublication
        guard isExpected, allowance.takes(piece) else {
            isMisled = true
            return false
        }
        return true
    }

    /// Ends a connection whose other side announces a longer answer than any of ours.
    private func endIfMisled() {
        guard let context, !isMisled, ReplyGuard.announcesTooMuch(context.pointee.c.reader) else {
            return
        }
        isMisled = true
        redisAsyncFree(context)
    }

    // MARK: - Commands

    /// Sends a command; `answer` is called once, at the latest when the connection ends.
    func send(_ arguments: [[UInt8]], _ answer: @escaping Answer) {
        guard let context, !isToClose else {
            answer(.failure(.closed("already")))
            return
        }
        let size = arguments.reduce(0) { $0 + $1.count }
        let pending = Unmanaged.passRetained(Pending(size: size, answer)).toOpaque()
        self.pending += 1
        pendingBytes += size
        let status = Self.withPointers(to: arguments) { texts, lengths in
            redisAsyncCommandArgv(
                context,
                { context, reply, pending in
                    EventLoop.assumeIsolated {
                        RedisConnection.at(context?.pointee.data)?.take(reply, for: pending)
                    }
                }, pending, Int32(arguments.count), texts, lengths)
        }
        if status != REDIS_OK { take(nil, for: pending) }
    }

    private func take(_ reply: UnsafeMutableRawPointer?, for pending: UnsafeMutableRawPointer?) {
        guard let pending else { return }
        let command = Unmanaged<Pending>.fromOpaque(pending).takeRetainedValue()
        self.pending -= 1
        pendingBytes -= command.size
        guard let reply else {
            command.answer(.failure(.closed(context.map { reason($0) } ?? "already")))
            return
        }
        switch RedisReply(reply.assumingMemoryBound(to: redisReply.self)) {
        case .error(let code): command.answer(.failure(.refused(code: code)))
        case let reply: command.answer(.success(reply))
        }
    }

    /// Delivers the publications on a channel from now on. No other command may follow: hiredis
    /// cannot tell the answers apart.
    func subscribe(
        to channel: String, subscribed: @escaping () -> Void, receive: @escaping ([UInt8]) -> Void
    ) {
        guard let context, !isToClose else { return }
        self.subscribed = subscribed
        self.receive = receive
        _ = Self.withPointers(to: [Array("SUBSCRIBE".utf8), Array(channel.utf8)]) {
            redisAsyncCommandArgv(
                context,
                { context, reply, _ in
                    EventLoop.assumeIsolated {
                        RedisConnection.at(context?.pointee.data)?.take(published: reply)
                    }
                }, nil, 2, $0, $1)
        }
    }

    private func take(published reply: UnsafeMutableRawPointer?) {
        guard let reply,
            case .list(let parts) = RedisReply(reply.assumingMemoryBound(to: redisReply.self)),
            parts.count == 3
        else { return }
        switch parts[0].text {
        case "subscribe": subscribed?()
        case "message": parts[2].bytes.map { receive?($0) }
        default: break
        }
    }

    /// The arguments as C wants them: pointers into one copy, since `arguments` holds many.
    private static func withPointers<T>(
        to arguments: [[UInt8]],
        _ body: (UnsafeMutablePointer<UnsafePointer<CChar>?>?, UnsafePointer<Int>?) -> T
    ) -> T {
        let all = arguments.flatMap { $0 }
        let lengths = arguments.map(\.count)
        return all.withUnsafeBytes { bytes in
            // An empty buffer has no address, and an argument of no bytes needs one.
            var nothing: CChar = 0
            return withUnsafePointer(to: &nothing) { nothing in
                var next = bytes.baseAddress?.assumingMemoryBound(to: CChar.self) ?? nothing
                var pointers: [UnsafePointer<CChar>?] = lengths.map { length in
                    defer { next += length }
                    return next
                }
                return body(&pointers, lengths)
            }
        }
    }

    // MARK: - Ending

    /// Ends the connection. Commands without an answer fail now.
    func close() {
        isToClose = true
        guard !isBusy, let context else { return }
        isBusy = true
        redisAsyncFree(context)
        isBusy = false
    }

    private func cleanUp() {
        guard let context else { return }
        let reason = reason(context)
        self.context = nil
        watch?.cancel()
        watch = nil
        receive = nil
        subscribed = nil
        if !isToClose { closed(reason) }
        Unmanaged.passUnretained(self).release()
    }

    private func reason(_ context: UnsafePointer<redisAsyncContext>) -> String {
        isMisled ? Self.foreign : Self.reason(context)
    }

    private static let foreign = "the other side does not speak Redis's protocol"

    /// Why the connection ends, without any text of the other side.
    private static func reason(_ context: UnsafePointer<redisAsyncContext>) -> String {
        switch context.pointee.err {
        case 0: "asked to"
        case REDIS_ERR_IO: context.pointee.errstr.map { String(cString: $0) } ?? "input or output"
        case REDIS_ERR_EOF: "closed by the other side"
        case REDIS_ERR_PROTOCOL: foreign
        case REDIS_ERR_OOM: "no memory"
        default:
            context.pointee.errstr.map { text in
                RedisReply.errorCode(
                    UnsafeBufferPointer(start: text, count: strlen(text)).map {
                        UInt8(bitPattern: $0)
                    })
            } ?? "unknown"
        }
    }

    // MARK: - The loop

    private func want(_ readiness: Readiness) {
        if !interest.contains(readiness) { setInterest(interest.union(readiness)) }
    }

    private func wantNoMore(_ readiness: Readiness) {
        if interest.contains(readiness) { setInterest(interest.subtracting(readiness)) }
    }

    private func setInterest(_ interest: Readiness) {
        self.interest = interest
        // A refusal (no memory) is left to the limits in time.
        try? watch?.change(to: interest)
    }

    private func act(_ readiness: Readiness) {
        isBusy = true
        if !readiness.isDisjoint(with: [.readable, .hungUp]), let context {
            redisAsyncHandleRead(context)
        }
        if !isToClose { endIfMisled() }
        if readiness.contains(.writable), let context { redisAsyncHandleWrite(context) }
        isBusy = false
        if isToClose { close() }
    }
}
