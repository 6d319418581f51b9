// Transactions of one process that will lock the same row run one after the other, before they take
// a connection: a row that another process has locked holds up one connection and not the pool.
//
// Confined to the loop. Bound: as many wait as requests are in flight; none gets its turn after the
// limit, so that all are refused together.

internal import EventLoop
internal import ProxyGPT

/// Gives the users of a row their turns.
@EventLoop final class Turns {
    private struct Waiter {
        let since: Int64
        let continuation: UnsafeContinuation<Void, Never>
    }

    /// Milliseconds that a caller may wait.
    private nonisolated let limit: Int64
    /// The callers that wait behind the one that has its turn, by key.
    private var waiting: [String: [Waiter]] = [:]

    nonisolated init(limit: Int64) {
        self.limit = limit
    }

    /// Runs `body` when the turn has come at all keys, which all callers name in the same order.
    func run<T: Sendable>(
        _ keys: [String], _ body: @Sendable () async throws -> T
    ) async throws -> T {
        var taken = 0
        defer { for key in keys.prefix(taken) { giveBack(key) } }
        for key in keys {
            try await take(key)
            taken += 1
        }
        return try await body()
    }

    /// The numbers of keys in use and of waiting callers.
    var counts: (busy: Int, waiting: Int) {
        (waiting.count, waiting.values.reduce(0) { $0 + $1.count })
    }

    private func take(_ key: String) async throws {
        guard waiting[key] != nil else {
            waiting[key] = []
            return
        }
        let since = monotonicMilliseconds()
        await withUnsafeContinuation { continuation in
            waiting[key]?.append(Waiter(since: since, continuation: continuation))
        }
        guard monotonicMilliseconds() &- since <= limit else {
            giveBack(key)
            throw DatabaseError.locked.clientFailure
        }
    }

    private func giveBack(_ key: String) {
        guard let first = waiting[key]?.first else {
            waiting[key] = nil
            return
        }
        waiting[key]?.removeFirst()
        first.continuation.resume()
    }
}
