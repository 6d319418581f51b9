import Formats
import NIOCore
import Synchronization

/// The record of one call.
struct CallRow {
    /// The end of a call, as this server saw it.
    enum End: String {
        case running, done, cut
        case peerClosed = "peer_closed"
    }

    var id: Int
    var method: String
    var uri: String
    var requestID: String?
    var userAgent: String?
    var started: Double
    var head: Double?
    var ended: Double?
    var end = End.running
    var bytesSent = 0
    var bytesReceived = 0
    /// The record of a WebSocket; nil for other calls.
    var socket: SocketRow?

    var json: JSONValue {
        guard let socket, case .object(let members) = callJSON else { return callJSON }
        return .object(members + [("socket", socket.json)])
    }

    private var callJSON: JSONValue {
        [
            "id": .integer(id), "method": .string(method), "uri": .string(uri),
            "started_ms": .number("\(started)"), "head_ms": head.map { .number("\($0)") } ?? .null,
            "ended_ms": ended.map { .number("\($0)") } ?? .null, "end": .string(end.rawValue),
            "request_id": .text(requestID), "user_agent": .text(userAgent),
            "bytes_sent": .integer(bytesSent), "bytes_received": .integer(bytesReceived),
        ]
    }
}

/// Counts all calls and remembers the last ones, for the tests that ask.
///
/// Shared by all event loops. Rows live in a ring, so that remembering costs the same for ever.
final class Ledger: Sendable {
    /// The counters, as `/mock/stats` shows them.
    struct Counters {
        var inFlight = 0
        var maxInFlight = 0
        var calls = 0
        /// Connections that have carried a call: the open ones, and all.
        var openConnections = 0
        var connections = 0

        var json: JSONValue {
            [
                "in_flight": .integer(inFlight), "max_in_flight": .integer(maxInFlight),
                "calls": .integer(calls), "connections": .integer(connections),
                "open_connections": .integer(openConnections),
            ]
        }
    }

    private struct Waiter {
        let id: Int
        let inFlight: Int
        let promise: EventLoopPromise<Bool>
    }

    private struct State {
        var counters = Counters()
        var lastID = 0
        var ring: [CallRow?] = []
        var waiters: [Waiter] = []
        var lastWaiter = 0

        mutating func takeWaiters() -> [Waiter] {
            guard !waiters.isEmpty else { return [] }
            let inFlight = counters.inFlight
            let met = waiters.filter { $0.inFlight == inFlight }
            waiters.removeAll { $0.inFlight == inFlight }
            return met
        }
    }

    private let state = Mutex(State())
    private let capacity: Int

    /// - Parameter capacity: the number of calls that are remembered; with 0 they are only counted.
    init(capacity: Int) {
        self.capacity = capacity
    }

    /// Counts a call in; `row` is asked for only when calls are remembered.
    func begin(isFirstOnConnection: Bool, row: (_ id: Int) -> CallRow) -> Int {
        let (id, met) = state.withLock { state in
            state.lastID += 1
            state.counters.calls += 1
            state.counters.inFlight += 1
            state.counters.maxInFlight = max(
                state.counters.maxInFlight, state.counters.inFlight)
            if isFirstOnConnection {
                state.counters.connections += 1
                state.counters.openConnections += 1
            }
            if capacity > 0 {
                let slot = state.lastID % capacity
                while state.ring.count <= slot { state.ring.append(nil) }
                state.ring[slot] = row(state.lastID)
            }
            return (state.lastID, state.takeWaiters())
        }
        for waiter in met { waiter.promise.succeed(true) }
        return id
    }

    /// Updates the record of a running call.
    func note(_ id: Int, head: Double?, bytesSent: Int, bytesReceived: Int) {
        guard capacity > 0 else { return }
        state.withLock { state in
            change(id, in: &state) { row in
                if let head { row.head = head }
                row.bytesSent = bytesSent
                row.bytesReceived = bytesReceived
            }
        }
    }

    /// Updates the record of a WebSocket.
    func note(_ id: Int, socket: SocketRow) {
        state.withLock { state in
            change(id, in: &state) { $0.socket = socket }
        }
    }

    func end(_ id: Int, _ end: CallRow.End) {
        let met = state.withLock { state in
            state.counters.inFlight -= 1
            change(id, in: &state) { row in
                row.ended = unixMilliseconds()
                row.end = end
            }
            return state.takeWaiters()
        }
        for waiter in met { waiter.promise.succeed(true) }
    }

    func connectionClosed() {
        state.withLock { $0.counters.openConnections -= 1 }
    }

    private func change(_ id: Int, in state: inout State, _ body: (inout CallRow) -> Void) {
        guard capacity > 0 else { return }
        let slot = id % capacity
        guard slot < state.ring.count, state.ring[slot]?.id == id, var row = state.ring[slot]
        else { return }
        body(&row)
        state.ring[slot] = row
    }

    // MARK: - Asking

    var counters: Counters { state.withLock { $0.counters } }

    /// The remembered calls, oldest first.
    var rows: [CallRow] {
        state.withLock { $0.ring }.compactMap { $0 }.sorted { $0.id < $1.id }
    }

    /// Forgets all rows and sets the counters to what is open now.
    func forget() {
        state.withLock { state in
            state.ring = []
            state.counters.calls = 0
            state.counters.maxInFlight = state.counters.inFlight
            state.counters.connections = state.counters.openConnections
        }
    }

    /// Becomes true when exactly that many calls are in flight, false after the time limit.
    func wait(forInFlight count: Int, atMost limit: TimeAmount, on loop: any EventLoop)
        -> EventLoopFuture<Bool>
    {
        let promise = loop.makePromise(of: Bool.self)
        let waiter: Int? = state.withLock { state in
            guard state.counters.inFlight != count else { return nil }
            state.lastWaiter += 1
            state.waiters.append(
                Waiter(id: state.lastWaiter, inFlight: count, promise: promise))
            return state.lastWaiter
        }
        guard let waiter else {
            promise.succeed(true)
            return promise.futureResult
        }
        let timer = loop.scheduleTask(in: limit) {
            let isOpen = self.state.withLock { state in
                let count = state.waiters.count
                state.waiters.removeAll { $0.id == waiter }
                return state.waiters.count < count
            }
            if isOpen { promise.succeed(false) }
        }
        promise.futureResult.whenComplete { _ in timer.cancel() }
        return promise.futureResult
    }
}
