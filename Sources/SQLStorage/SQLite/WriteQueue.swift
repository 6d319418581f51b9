// What waits for the writer's next group.
//
// Filled by any thread, emptied by the writer's. Bounds: 10,000 transactions, then `unavailable`;
// 10,000 records that nobody waits for, then they are dropped. Opening and closing rows are one or
// two for each call in flight, whose number the caller limits.

internal import EventLoop
internal import ProxyGPT
internal import Synchronization

/// Hands work to the writer, what cannot wait at once and the rest in company.
final class WriteQueue: Sendable {
    /// How long an opening row or a record waits for company before it starts a group.
    static let patience: Int64 = 25
    /// How long after the last group the writer goes on looking by itself, in milliseconds.
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
        /// Starts a group at once.
        var urgent: [WriteItem] = []
        /// Opening rows and records in the order of their deadlines. A row whose call was closed
        /// meanwhile stays in here and is passed over.
        var patient: [WriteItem] = []
        var patientStart = 0
        var openings: [Event.ID: Opening] = [:]
        var records = 0
        var transactions = 0
        var strayJobs: [UnownedJob] = []
        /// Nil while the writer is busy and will look here by itself.
        var sleep: Sleep?
        /// When something was taken last. For a while after that the writer looks by itself, so
        /// that an opening row, of which most are swallowed, need not wake it.
        var lastTaken: Int64 = 0
        var isClosed = false
        var hasEnded = false
        var closers: [UnsafeContinuation<Void, Never>] = []
    }

    /// What wakes an idle writer.
    fileprivate enum Sleep {
        case untilRung
        case untilDeadline
    }

    private let state = Mutex(State())
    private let bell: any Bell

    /// - Parameter bell: wakes the writer.
    init(_ bell: any Bell) {
        self.bell = bell
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
        let row = EventRow(event, deadline: monotonicMilliseconds() &+ Self.patience)
        return change(or: false) { state in
            if state.isClosed { return nil }
            state.openings[event.id] = .queued(row)
            return state.addPatient(.open(row))
        }
    }

    /// Makes the opening row of `id` urgent; `continuation` learns when it is committed.
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

    /// Queues a row that nobody waits for; false when there was no room.
    func record(_ event: Event) -> Bool {
        let row = EventRow(event, deadline: monotonicMilliseconds() &+ Self.patience)
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

    /// Takes nothing more from now on; `continuation` learns when all is written.
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

    /// What waits, and what is remembered.
    var counts: (rows: Int, transactions: Int, openings: Int) {
        state.withLock { state in
            (
                state.urgent.count - state.transactions + state.patient.count - state.patientStart,
                state.transactions, state.openings.count
            )
        }
    }

    /// Changes the state and rings where the change says so.
    private func change(_ body: (inout State) throws -> Bool) rethrows {
        if try state.withLock({ try body(&$0) }) { ring() }
    }

    /// Wakes the writer; from the loop not before the turn ends, so that one group takes all that
    /// the turn brings.
    private func ring() {
        guard EventLoop.shared.executor.isCurrent else {
            bell.ring()
            return
        }
        EventLoop.assumeIsolated {
            EventLoop.atEndOfTurn { self.bell.ring() }
        }
    }

    /// The same for changes that may refuse, by nil.
    private func change(or refusal: Bool, _ body: (inout State) -> Bool?) -> Bool {
        guard let mustRing = state.withLock({ body(&$0) }) else { return refusal }
        if mustRing { ring() }
        return true
    }

    // MARK: - Emptying, by the writer alone

    /// What the writer is to do.
    enum Step {
        /// Something is due.
        case work
        /// Nothing is, before this moment of `monotonicMilliseconds` or until the bell rings.
        case wait(until: Int64?)
        /// The queue is closed and empty.
        case end
    }

    /// Looks what is to be done; who is told to wait is woken by the bell from then on.
    func step() -> Step {
        let now = monotonicMilliseconds()
        return state.withLock { state in
            state.sleep = nil
            if !state.urgent.isEmpty || !state.strayJobs.isEmpty { return .work }
            guard let deadline = state.nextDeadline() else {
                if state.isClosed { return .end }
                if now &- state.lastTaken < Self.wakefulness {
                    state.sleep = .untilDeadline
                    return .wait(until: now &+ Self.patience)
                }
                state.sleep = .untilRung
                return .wait(until: nil)
            }
            if state.isClosed || deadline <= now { return .work }
            state.sleep = .untilDeadline
            return .wait(until: deadline)
        }
    }

    /// Takes what is due, within the bounds of a group.
    func take(rows: Int, bytes: Int) -> [WriteItem] {
        let now = monotonicMilliseconds()
        return state.withLock { state in
            var items: [WriteItem] = []
            var size = 0
            while items.count < rows, size < bytes, let deadline = state.nextDeadline(),
                deadline <= now || state.isClosed
            {
                let item = state.patient[state.patientStart]
                state.patientStart += 1
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

    /// Says what became of opening rows and returns who waits for them.
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

    /// Marks the end of the writer and returns who waits for it.
    func end() -> [UnsafeContinuation<Void, Never>] {
        state.withLock { state in
            state.hasEnded = true
            defer { state.closers.removeAll() }
            return state.closers
        }
    }
}

extension WriteQueue.State {
    /// Tells whether the writer must be woken for something urgent.
    fileprivate mutating func wakesWriter() -> Bool {
        defer { sleep = nil }
        return sleep != nil
    }

    /// Adds what can wait; tells whether the writer must be woken to set its alarm.
    fileprivate mutating func addPatient(_ item: WriteItem) -> Bool {
        if patientStart > 64, patientStart * 2 > patient.count {
            patient.removeFirst(patientStart)
            patientStart = 0
        }
        patient.append(item)
        // An alarm that is set rings for an older row, and the writer then sets the next.
        return sleep == .untilRung ? wakesWriter() : false
    }

    /// Forgets an opening row that came to nothing, once its call's closing row is taken.
    fileprivate mutating func forgetFailure(of id: Event.ID) {
        if !openings.isEmpty, case .failed = openings[id] { openings[id] = nil }
    }

    /// The deadline of the first patient row that is still wanted.
    fileprivate mutating func nextDeadline() -> Int64? {
        while patientStart < patient.count {
            switch patient[patientStart] {
            case .whole(let row): return row.deadline
            case .transaction: return 0
            case .open(let row):
                if case .queued = openings[row.event.id] { return row.deadline }
                patientStart += 1
            }
        }
        patient.removeAll(keepingCapacity: true)
        patientStart = 0
        return nil
    }
}
