// The queue of passwords to be hashed, and the two threads that hash them.

internal import EventLoop
internal import Synchronization

/// Hashes for log-ins on one thread and for password changes on another, each in fair order.
///
/// A hash takes a core for some 100 ms, and log-ins come first: a hash for a change begins while
/// none is computed for a log-in, or after a second.
final class HashQueue: Sendable {
    /// Thrown when the queue is full.
    struct Full: Error {}

    /// A piece of work, and the action when it is refused or displaced.
    struct Work: Sendable {
        let run: @Sendable () -> Void
        let refuse: @Sendable () -> Void
    }

    private static let loginNice: Int32 = 5
    /// A tenth of the share of a usual thread. At 19 it is a seventieth: on a busy machine a hash of
    /// 100 ms took a minute.
    private static let changeNice: Int32 = 10

    private struct State {
        var logins: FairQueue<Work>
        var changes: FairQueue<Work>
        var isHashingLogin = false
        var isHashingChange = false
        var lastChangeAt: Int64

        /// Whether the thread of changes may take work now.
        func changeIsDue(at now: Int64, _ changeDelay: Int64) -> Bool {
            guard !changes.isEmpty, !isHashingChange else { return false }
            let isIdle = !isHashingLogin && logins.isEmpty
            return isIdle || now &- lastChangeAt >= changeDelay
        }
    }

    private let state: Mutex<State>
    private let loginWork = Semaphore()
    private let changeWork = Semaphore()

    private let changeDelay: Int64

    /// - Parameters:
    ///   - loginCapacity: the most waiting log-ins.
    ///   - changeCapacity: the most waiting changes.
    ///   - changeDelay: the longest delay of a hash for a change by log-ins, in milliseconds.
    init(loginCapacity: Int, changeCapacity: Int, changeDelay: Int64 = 1000) {
        self.changeDelay = changeDelay
        state = Mutex(
            State(
                logins: FairQueue(capacity: loginCapacity),
                changes: FairQueue(capacity: changeCapacity),
                lastChangeAt: monotonicMilliseconds()))
        // The threads live as long as the process, and the queue with them.
        // Requests of this process and of all others go before hashes, and log-ins before changes.
        startThread(name: "scrypt-login") {
            lowerThreadPriority(nice: Self.loginNice)
            self.serveLogins()
        }
        startThread(name: "scrypt-change") {
            lowerThreadPriority(nice: Self.changeNice)
            self.serveChanges()
        }
    }

    /// Runs `body` on the thread of its kind and returns what it returns. Throws `Full` when the queue
    /// has no room for this party, or no longer.
    func run<T: Sendable>(
        isLogin: Bool, of party: [UInt8], _ body: @escaping @Sendable () throws -> T
    ) async throws -> T {
        try await withCheckedThrowingContinuation { continuation in
            let work = Work(
                run: { continuation.resume(with: Result { try body() }) },
                refuse: { continuation.resume(throwing: Full()) })
            add(work, isLogin: isLogin, of: party)
        }
    }

    func add(_ work: Work, isLogin: Bool, of party: [UInt8]) {
        let now = monotonicMilliseconds()
        let (entry, isDue) = state.withLock { state in
            let entry =
                isLogin ? state.logins.add(work, of: party) : state.changes.add(work, of: party)
            return (entry, isLogin || state.changeIsDue(at: now, changeDelay))
        }
        if isDue { (isLogin ? loginWork : changeWork).signal() }
        switch entry {
        case .waits: break
        case .displaces(let other): other.refuse()
        case .refused: work.refuse()
        }
    }

    private func serveLogins() {
        while true {
            loginWork.wait()
            let next = state.withLock { state in
                let next = state.logins.take()
                state.isHashingLogin = next != nil
                return next
            }
            // Displaced work leaves its permit behind.
            guard let next else { continue }
            next.work.run()
            let now = monotonicMilliseconds()
            let isDue = state.withLock { state in
                state.logins.finish(next.party)
                state.isHashingLogin = false
                return state.changeIsDue(at: now, changeDelay)
            }
            if isDue { changeWork.signal() }
        }
    }

    private func serveChanges() {
        while true {
            changeWork.wait()
            while let next = takeChange() {
                next.work.run()
                state.withLock { state in
                    state.changes.finish(next.party)
                    state.isHashingChange = false
                }
            }
        }
    }

    private func takeChange() -> (work: Work, party: [UInt8])? {
        let now = monotonicMilliseconds()
        return state.withLock { state in
            guard state.changeIsDue(at: now, changeDelay), let next = state.changes.take() else {
                return nil
            }
            state.isHashingChange = true
            state.lastChangeAt = now
            return next
        }
    }
}
