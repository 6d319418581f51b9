internal import EventLoop
internal import ProxyGPT
internal import Synchronization

/// Runs one piece of work of each key at a time; further pieces wait, in order.
package final class HashTurns: Sendable {
    /// The most waiting pieces of a key. Each takes one or two hashes of some 100 ms.
    package static let waitersPerKey = 16
    /// The longest wait, in milliseconds.
    package static let waitLimit: Int64 = 5000

    private struct Waiter: Sendable {
        let number: Int
        let continuation: UnsafeContinuation<Bool, Never>
    }

    private struct State: Sendable {
        /// Keys with running work, each with its waiters. Bytes, since a `String` is compared and
        /// hashed by its normal form.
        var waiters: [[UInt8]: [Waiter]] = [:]
        var lastNumber = 0
    }

    private let state = Mutex(State())
    private let waitLimit: Int64

    /// - Parameter waitLimit: the longest wait of a piece of work, in milliseconds.
    package init(waitLimit: Int64 = HashTurns.waitLimit) {
        self.waitLimit = waitLimit
    }

    /// Runs `body` once no other work of the key runs. Throws `rateLimited` where the wait would be
    /// longer than the limit.
    package func run<T>(_ key: [UInt8], _ body: () async throws -> T) async throws -> T {
        guard await enter(key) else {
            throw Failure(
                .rateLimited, "The password of this account is being checked too often.",
                retryAfter: 1)
        }
        defer { leave(key) }
        return try await body()
    }

    private enum Entry {
        case entered, waits(Int), refused
    }

    private func enter(_ key: [UInt8]) async -> Bool {
        await withUnsafeContinuation { continuation in
            let entry = state.withLock { state -> Entry in
                guard let waiters = state.waiters[key] else {
                    state.waiters[key] = []
                    return .entered
                }
                guard waiters.count < Self.waitersPerKey else { return .refused }
                state.lastNumber += 1
                state.waiters[key]?.append(
                    Waiter(number: state.lastNumber, continuation: continuation))
                return .waits(state.lastNumber)
            }
            switch entry {
            case .entered: continuation.resume(returning: true)
            case .refused: continuation.resume(returning: false)
            case .waits(let number):
                let waitLimit = waitLimit
                EventLoop.spawn {
                    EventLoop.schedule(afterMilliseconds: waitLimit) { self.giveUp(number, key) }
                }
            }
        }
    }

    /// Refuses a waiter that still waits.
    private func giveUp(_ number: Int, _ key: [UInt8]) {
        let waiter = state.withLock { state -> Waiter? in
            guard let index = state.waiters[key]?.firstIndex(where: { $0.number == number }) else {
                return nil
            }
            return state.waiters[key]?.remove(at: index)
        }
        waiter?.continuation.resume(returning: false)
    }

    private func leave(_ key: [UInt8]) {
        let next = state.withLock { state -> Waiter? in
            guard state.waiters[key]?.isEmpty == false else {
                state.waiters[key] = nil
                return nil
            }
            return state.waiters[key]?.removeFirst()
        }
        next?.continuation.resume(returning: true)
    }
}
