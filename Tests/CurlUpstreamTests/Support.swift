import CurlUpstream
import EventLoop
import ProxyGPT
import Synchronization
import Testing

/// The loop of the test process.
private let loop: Void = EventLoop.startOnOwnThread()

/// Runs a test's body on the loop.
func onLoop<T: Sendable>(
    _ body: @escaping @EventLoop @Sendable () async throws -> T
) async throws -> T {
    _ = loop
    return try await Task { @EventLoop in try await body() }.value
}

/// What threads of a test tell its tasks, in order.
final class Mailbox<T: Sendable>: Sendable {
    private let stream: AsyncStream<T>
    private let continuation: AsyncStream<T>.Continuation

    init() {
        (stream, continuation) = AsyncStream.makeStream()
    }

    func post(_ value: T) { continuation.yield(value) }

    /// The next value, as soon as there is one.
    func take() async throws -> T {
        var iterator = stream.makeAsyncIterator()
        return try #require(await iterator.next())
    }
}

/// A body that is made piece by piece when it is asked for.
final class Pieces: BodySource {
    struct Failed: Error {}

    let length: Int64?
    private let make: @Sendable (Int) async throws -> [UInt8]?
    private let given = Mutex(0)

    /// - Parameter make: returns the piece of that number, nil at the end.
    init(length: Int64?, _ make: @escaping @Sendable (Int) async throws -> [UInt8]?) {
        self.length = length
        self.make = make
    }

    convenience init(_ text: String) {
        self.init(length: Int64(text.utf8.count)) { $0 == 0 ? Array(text.utf8) : nil }
    }

    /// How many pieces have been asked for.
    var asked: Int { given.withLock { $0 } }

    func next() async throws -> [UInt8]? {
        let number = given.withLock { count in
            defer { count += 1 }
            return count
        }
        return try await make(number)
    }
}

/// An upstream with limits that no test reaches by accident.
@EventLoop func makeUpstream(
    key: String? = nil, _ adjust: (inout CurlUpstream.Configuration) -> Void = { _ in }
) -> CurlUpstream {
    var configuration = CurlUpstream.Configuration(key: key.map { Secret($0) })
    configuration.connectLimit = 120_000
    configuration.firstByteLimit = 120_000
    configuration.idleLimit = 120_000
    adjust(&configuration)
    return CurlUpstream(configuration)
}

func get(_ url: String) -> UpstreamCall {
    get(Array(url.utf8))
}

func post(_ url: String, _ body: (any BodySource)?) -> UpstreamCall {
    post(Array(url.utf8), body)
}

func get(_ url: [UInt8], _ headers: [Header] = []) -> UpstreamCall {
    UpstreamCall(method: "GET", url: url, headers: headers, body: nil)
}

func post(_ url: [UInt8], _ body: (any BodySource)?, _ headers: [Header] = []) -> UpstreamCall {
    UpstreamCall(method: "POST", url: url, headers: headers, body: body)
}

/// A reply read to its end, in whichever way it ended.
struct Whole: Sendable {
    var body: [UInt8] = []
    var failure: UpstreamFailure?

    var text: String { String(decoding: body, as: UTF8.self) }
}

@EventLoop func readAll(_ reply: any UpstreamReply) async -> Whole {
    var whole = Whole()
    do {
        while let bytes = try await reply.next() { whole.body += bytes }
    } catch {
        whole.failure = error
    }
    return whole
}

/// Starts a call that is expected to fail, and returns how.
@EventLoop func failing(
    _ call: UpstreamCall, with upstream: CurlUpstream
) async -> UpstreamFailure? {
    do {
        _ = try await upstream.start(call)
        return nil
    } catch {
        return error
    }
}

extension UpstreamFailure {
    var isCut: Bool {
        if case .cut = self { true } else { false }
    }

    /// The text of an `unreachable`.
    var cause: String? {
        if case .unreachable(let text) = self { text } else { nil }
    }
}

/// Milliseconds within which the upstream must see what takes less than one: far below every limit,
/// and enough for a loop that all tests share.
let promptly: Int64 = 15_000

/// Yields until a condition holds that other code on the loop brings about.
@EventLoop func until(_ condition: () -> Bool) async {
    let end = monotonicMilliseconds() + 15_000
    while !condition() && monotonicMilliseconds() < end { await EventLoop.sleep(milliseconds: 1) }
}

/// A count that two threads share.
final class Counter: Sendable {
    private let count = Atomic<Int>(0)

    var value: Int { count.load(ordering: .sequentiallyConsistent) }

    @discardableResult
    func add(_ more: Int) -> Int {
        count.add(more, ordering: .sequentiallyConsistent).newValue
    }
}
