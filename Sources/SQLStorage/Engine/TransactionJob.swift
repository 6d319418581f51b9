internal import Glibc
internal import ProxyGPT
internal import Synchronization

/// A transaction's body, of whatever result, as the writer sees it.
protocol TransactionJob: Waiter {
    /// Starts the body as a task on `executor`.
    func start(_ transaction: SQLiteTransaction, on executor: WriterExecutor)

    /// How the body ended: nil while it has not.
    var outcome: Result<Void, any Error>? { get }
}

/// The body with its result and the task that waits for it.
final class Job<T: Sendable>: TransactionJob, @unchecked Sendable {
    // Sendable: `result` is written on the writer's thread, where the body runs. `finish` reads it
    // on the loop afterwards, and only if it was there when the writer handed the job over.
    private let body: @Sendable (any Transaction) async throws -> T
    private let continuation: UnsafeContinuation<T, any Error>
    private var result: Result<T, any Error>?

    init(
        _ body: @escaping @Sendable (any Transaction) async throws -> T,
        continuation: UnsafeContinuation<T, any Error>
    ) {
        self.body = body
        self.continuation = continuation
    }

    func start(_ transaction: SQLiteTransaction, on executor: WriterExecutor) {
        Task(executorPreference: executor) {
            do {
                let value = try await self.body(transaction)
                self.end(.success(value), transaction)
            } catch {
                self.end(.failure(error), transaction)
            }
        }
    }

    private func end(_ result: Result<T, any Error>, _ transaction: SQLiteTransaction) {
        // A body that was given up on must not touch a connection that other tasks may be reading.
        if transaction.isUsable { self.result = result }
    }

    var outcome: Result<Void, any Error>? {
        result.map { $0.map { _ in } }
    }

    func finish(_ failure: (any Error)?) {
        if let failure {
            continuation.resume(throwing: (failure as? DatabaseError)?.clientFailure ?? failure)
        } else if let result {
            continuation.resume(with: result)
        } else {
            continuation.resume(throwing: DatabaseError.suspended)
        }
    }
}

/// The statements of one transaction on the writer's connection.
final class SQLiteTransaction: Transaction, @unchecked Sendable {
    // Sendable: the thread is compared before anything else is touched, so that a body which has
    // strayed to another thread gets an error.
    private let thread = pthread_self()
    private let connection: SQLiteConnection
    let dialect = Dialect.sqlite
    private var hasEnded = false
    /// Whether it is one of many that remove much.
    private(set) var yields = false

    /// Made on the writer's thread.
    init(_ connection: SQLiteConnection) {
        self.connection = connection
    }

    func query(_ sql: SQL) throws -> [Row] {
        try check()
        return try connection.query(sql)
    }

    @discardableResult
    func execute(_ sql: SQL) throws -> Int {
        try check()
        return try connection.execute(sql)
    }

    func send(_ sql: SQL) throws {
        try execute(sql)
    }

    /// No other task writes meanwhile.
    func lock(_ sql: SQL) {}

    func yieldsToOthers() {
        if isUsable { yields = true }
    }

    /// Throws where a statement would not belong to the transaction: after the end, or after SQLite
    /// has rolled everything back by itself.
    private func check() throws {
        guard isUsable, connection.isInTransaction else { throw DatabaseError.transactionEnded }
    }

    /// Whether the caller may go on: on the writer's thread, before the end.
    var isUsable: Bool { pthread_equal(pthread_self(), thread) != 0 && !hasEnded }

    /// Makes every later statement fail. Called on the writer's thread.
    func end() {
        hasEnded = true
    }
}

/// Runs the bodies of transactions on the writer's thread.
///
/// A body that awaits nothing but its own queries is done when `runJobs` returns.
final class WriterExecutor: TaskExecutor, @unchecked Sendable {
    // Sendable: `local` is touched on the writer's thread only, which `enqueue` compares first.
    private let thread = Atomic<UInt>(0)
    private let queue: WriteQueue
    private var local: [UnownedJob] = []

    init(queue: WriteQueue) {
        self.queue = queue
    }

    /// Makes the calling thread the writer's.
    func adoptCurrentThread() {
        thread.store(UInt(pthread_self()), ordering: .sequentiallyConsistent)
    }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        if thread.load(ordering: .relaxed) == UInt(pthread_self()) {
            local.append(job)
        } else if !queue.add(job) {
            // The writer has ended and with it the transaction: the body gets errors from every
            // query.
            job.runSynchronously(on: asUnownedTaskExecutor())
        }
    }

    /// Runs the remaining jobs of bodies, until they all end or wait for something elsewhere.
    func runJobs() {
        local.append(contentsOf: queue.takeStrayJobs())
        while !local.isEmpty {
            let jobs = local
            local.removeAll(keepingCapacity: true)
            for job in jobs { job.runSynchronously(on: asUnownedTaskExecutor()) }
        }
    }
}
