// The writes that wait for the writer's next batch.
//
// Filled by any thread, emptied by the writer's. Bounds: 10,000 transactions, then `unavailable`;
// 10,000 records without a waiting caller, then they are dropped. Opening and closing rows are one
// or two for each call in flight, whose number the caller limits.

internal import EventLoop
internal import ProxyGPT
internal import Synchronization

/// Hands writes to the writer: urgent ones at once, the others together with later ones.
final class WriteQueue: Sendable {
    /// Milliseconds that an opening row or a record waits for others before it starts a batch.
    static let maxBatchDelay: Int64 = 25
    /// Milliseconds after the last batch for which the writer polls the queue.
    static let wakefulness: Int64 = 1000
    static let recordLimit = 10_000
    static let transactionLimit = 10_000

    /// How far an opening row has come; those that are committed are forgotten.
    fileprivate enum Opening: Sendable {
        case queued(EventRow)
        case underWay([OpeningWaiter])
        case failed(any Error)
    }

    fileprivate struct State: Sendable {
        /// Starts a batch at once.
        var urgent: [WriteItem] = []
        /// Opening rows and records in the order of their deadlines. A row whose call was closed
        /// meanwhile stays in here and is skipped.
        var deferred: [WriteItem] = []
        var deferredStart = 0
        var openings: [Event.ID: Opening] = [:]
        var records = 0
        var transactions = 0
        var strayJobs: [UnownedJob] = []
        /// Nil while the writer is busy and will poll by itself.
        var sleep: Sleep?
        /// When something was taken last. For a while after that the writer polls, so that an
        /// opening row, most of which are merged with their closing row, need not wake it.
        var lastTaken: Int64 = 0
        var isClosed = false
        var hasEnded = false
        var closers: [UnsafeContinuation<Void, Never>] = []
    }

    /// The event that wakes an idle writer.
    fileprivate enum Sleep {
        case untilRung
        case untilDeadline
    }

    private let state = Mutex(State())
    private let wakeup: any Wakeup

    /// - Parameter wakeup: wakes the writer.
    init(_ wakeup: any Wakeup) {
        self.wakeup = wakeup
    }

    // MARK: - Filling

    /// Queues a transaction. Throws `unavailable` when too many wait.
    func add(_ job: any TransactionJob) throws {
        try change { state in
            if state.isClosed { throw DatabaseError.closed }
            guard state.transactions < Self.transactionLimit else {
                throw Failure(.unavailable, "The database is busy.", retryAfter: 1)
            }
            state.transactions += 1
            state.urgent.append(.transaction(job))
            return state.wakesWriter()
        }
    }

    /// Queues an opening row; false when the queue is closed.
    func open(_ event: Event) -> Bool {
        let row = EventRow(event, deadline: monotonicMilliseconds() &+ Self.maxBatchDelay)
        return change(or: false) { state in
            if state.isClosed { return nil }
            state.openings[event.id] = .queued(row)
            return state.addPatient(.open(row))
        }
    }

    /// Makes the opening row of `id` urgent; `continuation` is resumed when it is committed.
    func force(_ id: Event.ID, _ continuation: UnsafeContinuation<Void, any Error>) {
        let waiter = OpeningWaiter(continuation: continuation)
        var answer: Result<Void, any Error>?
        change { state in
            switch state.openings[id] {
            case nil:
                answer = .success(())
            case .failed(let error):
                answer = .failure(error)
            case .underWay(let waiters):
                state.openings[id] = .underWay(waiters + [waiter])
            case .queued(let row):
                state.openings[id] = .underWay([waiter])
                state.urgent.append(.open(row))
                return state.wakesWriter()
            }
            return false
        }
        if let answer { continuation.resume(with: answer) }
    }

    /// Queues a closing row; it swallows the opening row that has not been taken yet. False when
    /// the queue is closed.
    func close(_ row: EventRow) -> Bool {
        change(or: false) { state in
            if state.isClosed { return nil }
            if case .queued = state.openings[row.event.id] { state.openings[row.event.id] = nil }
            state.urgent.append(.whole(row))
            return state.wakesWriter()
        }
    }

    /// Queues a row without a waiting caller; false when there was no room.
    func record(_ event: Event) -> Bool {
        let row = EventRow(event, deadline: monotonicMilliseconds() &+ Self.maxBatchDelay)
        return change(or: false) { state in
            if state.isClosed || state.records >= Self.recordLimit { return nil }
            state.records += 1
            return state.addPatient(.whole(row))
        }
    }

    /// Queues a piece of a body that waited for something; false when the writer has ended.
    func add(_ job: UnownedJob) -> Bool {
        change(or: false) { state in
            if state.hasEnded { return nil }
            state.strayJobs.append(job)
            return state.wakesWriter()
        }
    }

    /// Takes nothing more from now on; `continuation` is resumed when everything is written.
    func close(_ continuation: UnsafeContinuation<Void, Never>) {
        var hasEnded = false
        change { state in
            state.isClosed = true
            hasEnded = state.hasEnded
            if !hasEnded { state.closers.append(continuation) }
            return state.wakesWriter()
        }
        if hasEnded { continuation.resume() }
    }

    /// The numbers of waiting writes and of remembered openings.
    var counts: (rows: Int, transactions: Int, openings: Int) {
        state.withLock { state in
            (
                state.urgent.count - state.transactions + state.deferred.count
                    - state.deferredStart,
                state.transactions, state.openings.count
            )
        }
    }

    /// Changes the state and wakes the writer where the change returns true.
    private func change(_ body: (inout State) throws -> Bool) rethrows {
        if try state.withLock({ try body(&$0) }) { wake() }
    }

    /// Wakes the writer; from the loop not before the turn ends, so that one batch takes everything
    /// that the turn brings.
    private func wake() {
        guard EventLoop.shared.executor.isCurrent else {
            wakeup.signal()
            return
        }
        EventLoop.assumeIsolated {
            EventLoop.atEndOfTurn { self.wakeup.signal() }
        }
    }

    /// The same for changes that may refuse, by nil.
    private func change(or refusal: Bool, _ body: (inout State) -> Bool?) -> Bool {
        guard let mustWake = state.withLock({ body(&$0) }) else { return refusal }
        if mustWake { wake() }
        return true
    }

    // MARK: - Emptying, by the writer alone

    /// The next work of the writer.
    enum Step {
        /// Something is due.
        case work
        /// Nothing, before this moment of `monotonicMilliseconds` or until a signal.
        case wait(until: Int64?)
        /// The queue is closed and empty.
        case end
    }

    /// Returns the next work; a writer that gets `.wait` is woken by the wakeup from then on.
    func step() -> Step {
        let now = monotonicMilliseconds()
        return state.withLock { state in
            state.sleep = nil
            if !state.urgent.isEmpty || !state.strayJobs.isEmpty { return .work }
            guard let deadline = state.nextDeadline() else {
                if state.isClosed { return .end }
                if now &- state.lastTaken < Self.wakefulness {
                    state.sleep = .untilDeadline
                    return .wait(until: now &+ Self.maxBatchDelay)
                }
                state.sleep = .untilRung
                return .wait(until: nil)
            }
            if state.isClosed || deadline <= now { return .work }
            state.sleep = .untilDeadline
            return .wait(until: deadline)
        }
    }

    /// Takes the writes that are due, within the bounds of a batch.
    func take(rows: Int, bytes: Int) -> [WriteItem] {
        let now = monotonicMilliseconds()
        return state.withLock { state in
            var items: [WriteItem] = []
            var size = 0
            while items.count < rows, size < bytes, let deadline = state.nextDeadline(),
                deadline <= now || state.isClosed
            {
                let item = state.deferred[state.deferredStart]
                state.deferredStart += 1
                switch item {
                case .open(let row): state.openings[row.event.id] = .underWay([])
                case .whole: state.records -= 1
                case .transaction: break
                }
                size += item.size
                items.append(item)
            }
            var count = 0
            while count < state.urgent.count, items.count + count < rows, size < bytes {
                size += state.urgent[count].size
                switch state.urgent[count] {
                case .transaction: state.transactions -= 1
                case .open: break
                case .whole(let row): state.forgetFailure(of: row.event.id)
                }
                count += 1
            }
            items.append(contentsOf: state.urgent[..<count])
            if !items.isEmpty { state.lastTaken = now }
            state.urgent.removeFirst(count)
            return items
        }
    }

    /// Takes note of the result of opening rows and returns the callers that wait for them.
    func settle(_ ids: [Event.ID], _ failure: (any Error)?) -> [OpeningWaiter] {
        if ids.isEmpty { return [] }
        return state.withLock { state in
            var all: [OpeningWaiter] = []
            for id in ids {
                guard case .underWay(let waiters) = state.openings[id] else { continue }
                all += waiters
                state.openings[id] = failure.map { .failed($0) }
            }
            return all
        }
    }

    func takeStrayJobs() -> [UnownedJob] {
        state.withLock { state in
            defer { state.strayJobs.removeAll() }
            return state.strayJobs
        }
    }

    /// Marks the end of the writer and returns the callers that wait for it.
    func end() -> [UnsafeContinuation<Void, Never>] {
        state.withLock { state in
            state.hasEnded = true
            defer { state.closers.removeAll() }
            return state.closers
        }
    }
}

extension WriteQueue.State {
    /// Whether the writer must be woken for an urgent write.
    fileprivate mutating func wakesWriter() -> Bool {
        defer { sleep = nil }
        return sleep != nil
    }

    /// Adds a write that can wait; true when the writer must be woken to set its alarm.
    fileprivate mutating func addPatient(_ item: WriteItem) -> Bool {
        if deferredStart > 64, deferredStart * 2 > deferred.count {
            deferred.removeFirst(deferredStart)
            deferredStart = 0
        }
        deferred.append(item)
        // An alarm that is set is for an older row; the writer then sets the next one.
        return sleep == .untilRung ? wakesWriter() : false
    }

    /// Forgets an opening row that came to nothing, once its call's closing row is taken.
    fileprivate mutating func forgetFailure(of id: Event.ID) {
        if !openings.isEmpty, case .failed = openings[id] { openings[id] = nil }
    }

    /// The deadline of the first deferred row that is still wanted.
    fileprivate mutating func nextDeadline() -> Int64? {
        while deferredStart < deferred.count {
            switch deferred[deferredStart] {
            case .whole(let row): return row.deadline
            case .transaction: return 0
            case .open(let row):
                if case .queued = openings[row.event.id] { return row.deadline }
                deferredStart += 1
            }
        }
        deferred.removeAll(keepingCapacity: true)
        deferredStart = 0
        return nil
    }
}
