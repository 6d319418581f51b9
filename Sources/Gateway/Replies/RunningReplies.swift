// The replies that this process runs, and the requests that wait for the end of one.
//
// A stop is a mark on the message's row, set by whatever process; a deletion takes the row away.
// The database is polled for both every quarter of a second while anything runs. One task runs each
// reply; the table only asks it to end.

internal import Logging
package import ProxyGPT
internal import Synchronization

/// Why a reply is to end before its time.
enum ReplyVerdict: Sendable {
    /// Somebody asked for it: what has come is kept.
    case stopped
    /// The message is gone, or another process has closed it.
    case gone
}

/// Knows the replies that run here and ends those that shall not go on.
package final class RunningReplies: Sendable {
    private struct Waiter {
        let id: Int
        let chat: Chat.ID
        var pollsLeft: Int
        let continuation: UnsafeContinuation<Void, Never>
    }

    private struct State {
        var running: [Message.ID: Task<Void, Never>] = [:]
        var verdicts: [Message.ID: ReplyVerdict] = [:]
        var waiters: [Message.ID: [Waiter]] = [:]
        var unwritten: [Message.ID: ReplyEnd] = [:]
        /// Messages that may be there without a reply, and how often they are looked for yet.
        var doubtful: [Message.ID: Int] = [:]
        var lastWaiter = 0
        var isPolling = false
    }

    private let store: any MessageStore
    private let logger: Logger
    private let state = Mutex(State())

    init(store: any MessageStore, logger: Logger) {
        self.store = store
        self.logger = logger
    }

    /// Notes that `task` runs the reply of a message whose row is committed.
    package func began(_ id: Message.ID, _ task: Task<Void, Never>) {
        state.withLock { state in
            // The task may have run to its end before its starter came here.
            guard state.verdicts.removeValue(forKey: id) == nil else { return }
            state.running[id] = task
        }
    }

    /// Notes the end of a reply and wakes the requests that wait for it. Called once by the reply's own task.
    func ended(_ id: Message.ID) {
        let waiters = state.withLock { state in
            if state.running.removeValue(forKey: id) == nil {
                state.verdicts[id] = .gone
            } else {
                state.verdicts[id] = nil
            }
            return state.waiters.removeValue(forKey: id) ?? []
        }
        for waiter in waiters { waiter.continuation.resume() }
    }

    /// Why the reply was asked to end; nil where it was not.
    func verdict(on id: Message.ID) -> ReplyVerdict? {
        state.withLock { $0.verdicts[id] }
    }

    /// Keeps an end that could not be written, for another try.
    func keep(_ end: ReplyEnd, of id: Message.ID) {
        state.withLock { $0.unwritten[id] = end }
    }

    func takeUnwritten() -> [Message.ID: ReplyEnd] {
        state.withLock { state in
            defer { state.unwritten = [:] }
            return state.unwritten
        }
    }

    /// How often a doubtful message is looked for, once a second: a server may commit late.
    private static let looksForDoubtful = 30
    private static let doubtfulLimit = 10_000

    func doubt(_ id: Message.ID) {
        state.withLock { state in
            guard state.doubtful.count < Self.doubtfulLimit else { return }
            state.doubtful[id] = Self.looksForDoubtful
        }
    }

    /// The message was found, and has its end.
    func settle(_ id: Message.ID) {
        state.withLock { $0.doubtful[id] = nil }
    }

    func takeDoubtful() -> [Message.ID] {
        state.withLock { state in
            let ids = Array(state.doubtful.keys)
            state.doubtful = state.doubtful.mapValues { $0 - 1 }.filter { $0.value > 0 }
            return ids
        }
    }

    // MARK: - Waiting

    /// Returns when the message has its end, here or in another process, when it is gone, after
    /// `maxPolls` polls of the database, or when the task is cancelled.
    package func awaitEnd(of id: Message.ID, in chat: Chat.ID, maxPolls: Int) async {
        let number = state.withLock { state in
            state.lastWaiter += 1
            return state.lastWaiter
        }
        await withTaskCancellationHandler {
            await withUnsafeContinuation { continuation in
                let waiter = Waiter(
                    id: number, chat: chat, pollsLeft: maxPolls, continuation: continuation)
                state.withLock { $0.waiters[id, default: []].append(waiter) }
                // Cancelled before it was in the table: nothing else will wake it.
                if Task.isCancelled { resume(waiterOf: id) { $0.id == number } }
            }
        } onCancel: {
            resume(waiterOf: id) { $0.id == number }
        }
    }

    private func resume(waiterOf id: Message.ID, where isMeant: (Waiter) -> Bool) {
        let resumed = state.withLock { state in
            let all = state.waiters[id] ?? []
            let left = all.filter { !isMeant($0) }
            state.waiters[id] = left.isEmpty ? nil : left
            return all.filter(isMeant)
        }
        for waiter in resumed { waiter.continuation.resume() }
    }

    // MARK: - Polling

    /// Polls once for replies that shall end and for ends that requests await. Called four times a
    /// second; does nothing while no reply runs and no request waits.
    package func poll() async {
        let work: (running: Set<Message.ID>, waited: [Message.ID: Chat.ID])? = state.withLock {
            if $0.isPolling { return nil }
            $0.isPolling = true
            return (Set($0.running.keys), $0.waiters.compactMapValues(\.first?.chat))
        }
        guard let (running, waited) = work else { return }
        defer { state.withLock { $0.isPolling = false } }
        do {
            if !running.isEmpty {
                let rows = try await store.runningReplies()
                for id in running {
                    guard let isToStop = rows[id] else {
                        end(id, .gone)
                        continue
                    }
                    if isToStop { end(id, .stopped) }
                }
            }
            for (id, chat) in waited {
                let message = try await store.message(id, in: chat)
                if message?.state.isRunning != true { resume(waiterOf: id) { _ in true } }
            }
        } catch {
            logger.warning("running replies not polled", metadata: ["error": "\(error)"])
        }
        countPoll()
    }

    /// Asks a reply to end. Its task writes the row.
    private func end(_ id: Message.ID, _ verdict: ReplyVerdict) {
        let task: Task<Void, Never>? = state.withLock { state in
            guard let task = state.running[id], state.verdicts[id] == nil else { return nil }
            state.verdicts[id] = verdict
            return task
        }
        task?.cancel()
    }

    private func countPoll() {
        let expired = state.withLock { state in
            var expired: [Waiter] = []
            for (id, waiters) in state.waiters {
                let left = waiters.map { waiter in
                    var waiter = waiter
                    waiter.pollsLeft -= 1
                    return waiter
                }
                expired += left.filter { $0.pollsLeft <= 0 }
                let waiting = left.filter { $0.pollsLeft > 0 }
                state.waiters[id] = waiting.isEmpty ? nil : waiting
            }
            return expired
        }
        for waiter in expired { waiter.continuation.resume() }
    }
}
