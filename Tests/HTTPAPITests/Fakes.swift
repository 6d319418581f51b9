import Formats
@testable import Gateway
import TestSupport
import EventLoop
import HTTPAPI
import ProxyGPT
import Synchronization

/// A clock that goes when the test says so.
final class ManualClock: Clock {
    private let milliseconds = Mutex<Int64>(1_769_903_999_000)

    func now() -> Timestamp { Timestamp(milliseconds: milliseconds.withLock { $0 }) }

    func monotonicMicroseconds() -> Int64 { milliseconds.withLock { $0 } * 1000 }

    func advance(seconds: Int64) {
        milliseconds.withLock { $0 += seconds * 1000 }
    }
}

/// An event log that commits when the test lets it.
final class ControlledEvents: EventLog {
    struct DiskFull: Error {}

    struct Rules: Sendable {
        var openings: Gate?
        var closings: Gate?
        var openingsFail = false
        var closingsFail = false
    }

    private struct State {
        var rules = Rules()
        var closed: [Event] = []
        var recorded: [Event] = []
    }

    private let journal: Journal
    private let state = Mutex(State())

    init(_ journal: Journal) {
        self.journal = journal
    }

    /// The rows that are committed and closed.
    var closed: [Event] { state.withLock(\.closed) }

    /// The rows that nobody waited for.
    var recorded: [Event] { state.withLock(\.recorded) }

    func set(_ change: (inout Rules) -> Void) {
        state.withLock { change(&$0.rules) }
    }

    func open(_ event: Event) {
        journal.note("open")
    }

    func opened(_ id: Event.ID) async throws {
        journal.note("opened?")
        let rules = state.withLock(\.rules)
        await rules.openings?.wait()
        if rules.openingsFail { throw DiskFull() }
        journal.note("opened")
    }

    func close(_ event: Event) async throws {
        journal.note("close?")
        let rules = state.withLock(\.rules)
        await rules.closings?.wait()
        if rules.closingsFail { throw DiskFull() }
        state.withLock { $0.closed.append(event) }
        journal.note("closed")
    }

    func record(_ event: Event) {
        state.withLock { $0.recorded.append(event) }
        journal.note("record")
    }
}

/// An answer's way out, which remembers everything.
final class RecordingWriter: ResponseWriter {
    private struct State {
        var status: Int?
        var headers: [Header] = []
        var body: [UInt8] = []
        var writesUntilGone = Int.max
    }

    private let journal: Journal
    private let state = Mutex(State())

    private let stops: Bool

    /// - Parameter stops: it is this server that gave the request up, not the client.
    init(_ journal: Journal, leavesAfterWrites writes: Int = .max, stops: Bool = false) {
        self.journal = journal
        self.stops = stops
        state.withLock { $0.writesUntilGone = writes }
    }

    var status: Int? { state.withLock(\.status) }
    var headers: [Header] { state.withLock(\.headers) }
    var text: String { String(decoding: state.withLock(\.body), as: UTF8.self) }
    var json: JSONValue? { try? JSONValue(parsing: state.withLock(\.body)) }

    func values(of name: String) -> [String] {
        headers.filter { equalIgnoringCase($0.name, name) }.map(\.value)
    }

    func value(of name: String) -> String? { values(of: name).first }

    /// The code of the error that was answered.
    var errorCode: String? { json?["error"]?["code"]?.stringValue }

    func begin(status: Int, headers: [Header]) async throws(ClientGone) {
        journal.note("begin \(status)")
        state.withLock { state in
            state.status = status
            state.headers = headers
        }
    }

    func write(_ bytes: [UInt8], flush: Bool) async throws(ClientGone) {
        let isGone = state.withLock { state in
            if bytes.isEmpty { return false }
            state.writesUntilGone -= 1
            if state.writesUntilGone < 0 { return true }
            state.body += bytes
            return false
        }
        if isGone { throw ClientGone() }
        journal.note(
            "write \(String(decoding: bytes.prefix(40), as: UTF8.self))\(flush ? "!" : "")")
    }

    func finish() async { journal.note("finish") }

    func abort() async { journal.note("abort") }

    func isStopped() async -> Bool { stops }
}

/// A body that is there, in pieces; or one whose client leaves before its end.
final class BodyPieces: BodySource {
    let length: Int64?
    private let pieces: Mutex<[[UInt8]]>
    private let isCut: Bool

    init(_ pieces: [String], length: Int64?, isCut: Bool = false) {
        self.pieces = Mutex(pieces.map { Array($0.utf8) })
        self.length = length
        self.isCut = isCut
    }

    func next() async throws -> [UInt8]? {
        let piece = pieces.withLock { $0.isEmpty ? nil : $0.removeFirst() }
        if piece == nil && isCut { throw ClientGone() }
        return piece
    }
}

/// An upstream that does what the test wrote.
final class ScriptedUpstream: Upstream {
    enum Step: Sendable {
        case bytes(String)
        case wait(Gate)
        case fail(UpstreamFailure)
    }

    struct Script: Sendable {
        var status = 200
        var headers: [Header] = []
        var steps: [Step] = []
        /// Waited for before the head comes; a cancelled task ends it.
        var head: Gate?
        var failure: UpstreamFailure?
    }

    private struct State {
        var script = Script()
        var calls: [UpstreamCall] = []
        var bodies: [[UInt8]] = []
    }

    private let journal: Journal
    private let state = Mutex(State())

    init(_ journal: Journal) {
        self.journal = journal
    }

    var calls: [UpstreamCall] { state.withLock(\.calls) }
    var bodies: [[UInt8]] { state.withLock(\.bodies) }

    func play(_ script: Script) {
        state.withLock { $0.script = script }
    }

    func start(_ call: UpstreamCall) async throws(UpstreamFailure) -> any UpstreamReply {
        journal.note("start")
        let script = state.withLock { state in
            state.calls.append(call)
            return state.script
        }
        var body: [UInt8] = []
        do {
            while let bytes = try await call.body?.next() { body += bytes }
        } catch {
            throw .cut("the body ended early")
        }
        state.withLock { [body] in $0.bodies.append(body) }
        await script.head?.wait()
        if Task.isCancelled { throw .cancelled }
        if let failure = script.failure { throw failure }
        return Reply(script, journal)
    }

    private final class Reply: UpstreamReply {
        let head: UpstreamHead
        private let steps: Mutex<[Step]>
        private let journal: Journal

        init(_ script: Script, _ journal: Journal) {
            head = UpstreamHead(status: script.status, headers: script.headers)
            steps = Mutex(script.steps)
            self.journal = journal
        }

        func next() async throws(UpstreamFailure) -> [UInt8]? {
            while true {
                let step = steps.withLock { $0.isEmpty ? nil : $0.removeFirst() }
                switch step {
                case nil: return nil
                case .bytes(let text): return Array(text.utf8)
                case .fail(let failure): throw failure
                case .wait(let gate):
                    await gate.wait()
                    if Task.isCancelled { throw .cancelled }
                }
            }
        }

        func cancel() async { journal.note("cancel") }
    }
}

/// A bus that keeps what it is given.
final class RecordingBus: Bus {
    private let state = Mutex<[StreamFrame]>([])

    var frames: [StreamFrame] { state.withLock { $0 } }

    func publish(_ frame: StreamFrame) {
        state.withLock { $0.append(frame) }
    }

    func close() async {}
}

/// Runs what outlives its request on the loop, as the worker does.
struct TaskBackground: Background {
    func start(
        counts: Bool, _ body: @escaping @Sendable () async -> Void
    ) -> Task<Void, Never> {
        EventLoop.spawn { await body() }
    }
}
