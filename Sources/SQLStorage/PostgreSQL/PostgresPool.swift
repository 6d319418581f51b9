// The few connections to PostgreSQL that all tasks of a process share.
//
// Owns the connections; opens them one after the other, and again when they are lost, ever more slowly
// while that fails. Reads that wait while all connections are busy share the next one, several in one
// round trip. Bounds: 10,000 tasks may wait, two seconds each; none waits while the server is away.
// Confined to the loop.

internal import EventLoop
internal import Logging
internal import ProxyGPT

/// Lends connections, and runs single statements on them.
@EventLoop final class PostgresPool {
    /// Milliseconds from one check of waiting requests to the next.
    private nonisolated static let checkInterval: Int64 = 250
    /// Milliseconds between two tries to connect, at least.
    private nonisolated static let shortestPause: Int64 = 50
    /// Milliseconds without an answer, after which a connection is given up along with one that
    /// vanished.
    private nonisolated static let silence: Int64 = 1000
    /// How many reads that wait are sent in one go.
    private nonisolated static let batchSize = 8

    /// A request that waits for a connection.
    private struct Waiter {
        enum Request {
            case lease(@EventLoop (Result<PostgresConnection, DatabaseError>) -> Void)
            case statement(PostgresStatement, PostgresConnection.Completion)
        }

        let request: Request
        let deadline: Int64

        /// The same, for no longer than until then.
        func waiting(until end: Int64) -> Waiter {
            Waiter(request: request, deadline: min(deadline, end))
        }
    }

    private nonisolated let configuration: Configuration
    /// Connects, one after the other.
    nonisolated static let connector = ThreadPool(
        name: "pg-connect", threads: 1, capacity: 64)
    private nonisolated let logger: Logger
    private nonisolated let identifiers: any IdentifierSource
    private var pauses = Backoff(first: 100, longest: 2000)
    private var members: [PostgresConnection] = []
    private var idle: [PostgresConnection] = []
    /// A connection that is being prepared.
    private var newcomer: PostgresConnection?
    /// Requests that must not wait behind others: of events and heartbeats.
    private var urgent: [Waiter] = []
    private var waiting: [Waiter] = []
    private var waitingStart = 0
    private var isConnecting = false
    private var failedTries = 0
    private var lastFailure: DatabaseError?
    private var isTicking = false
    private var isClosed = false
    /// Called before a new connection is lent for the first time.
    private nonisolated let prepare: @EventLoop (PostgresConnection) async throws -> Void

    nonisolated init(
        _ configuration: Configuration, identifiers: any IdentifierSource, logger: Logger,
        prepare: @escaping @EventLoop (PostgresConnection) async throws -> Void
    ) {
        self.configuration = configuration
        self.logger = logger
        self.prepare = prepare
        self.identifiers = identifiers
    }

    nonisolated var answerLimit: Int64 { configuration.answerLimit }
    nonisolated var grace: Int64 { configuration.grace }
    nonisolated var statementLimit: Int64 { configuration.statementLimit }

    /// How many connections there are, and how many tasks wait for one.
    var counts: (connections: Int, waiting: Int) {
        (members.count, urgent.count + waiting.count - waitingStart)
    }

    /// Connections in use, and requests that wait for one.
    var connections: (busy: Int, idle: Int) { (members.count - idle.count, idle.count) }

    // MARK: - Using

    /// Opens the first connection; throws why there is none.
    func start() async throws {
        let connection = try await connect()
        join(connection)
    }

    /// Runs one statement by itself.
    func run(
        _ statement: PostgresStatement, isUrgent: Bool = false
    ) async throws -> PostgresAnswer {
        let result: Result<[PostgresAnswer], DatabaseError> =
            await withUnsafeContinuation { continuation in
                add(
                    .statement(statement) { continuation.resume(returning: $0) },
                    isUrgent: isUrgent)
            }
        guard let answer = try result.get().first else {
            throw DatabaseError(.other, "no answer", during: statement.text)
        }
        return answer
    }

    /// Lends a connection, which must be given back.
    func lease(isUrgent: Bool = false) async throws -> PostgresConnection {
        let result: Result<PostgresConnection, DatabaseError> =
            await withUnsafeContinuation { continuation in
                add(.lease { continuation.resume(returning: $0) }, isUrgent: isUrgent)
            }
        return try result.get()
    }

    /// Takes a connection back and gives it to the next request that waits.
    func giveBack(_ connection: PostgresConnection) {
        guard connection.isBetweenTransactions, !isClosed else {
            connection.close()
            return
        }
        dispatch(connection)
    }

    /// Closes all connections; waiting and later requests are refused.
    func close() {
        isClosed = true
        newcomer?.close()
        for member in members { member.close() }
        failWaiting(.closed)
    }

    // MARK: - Waiting

    private func add(_ request: Waiter.Request, isUrgent: Bool) {
        if isClosed { return refuse(request, .closed) }
        keepTicking()
        if let connection = idle.popLast() {
            serve(request, connection)
            return
        }
        let isAway = members.isEmpty
        if isAway, let lastFailure { return refuse(request, lastFailure) }
        guard waiting.count - waitingStart + urgent.count < configuration.queueLimit else {
            return refuse(request, Self.crowded)
        }
        let limit = isAway ? configuration.grace : configuration.waitLimit
        let waiter = Waiter(request: request, deadline: monotonicMilliseconds() &+ limit)
        if isUrgent { urgent.append(waiter) } else { waiting.append(waiter) }
    }

    private static let crowded = DatabaseError(
        .busy, "no connection became free", during: "wait")
    private static let silent = DatabaseError(
        .connection, "the server does not answer", during: "connect")

    private func serve(_ request: Waiter.Request, _ connection: PostgresConnection) {
        switch request {
        case .lease(let body): body(.success(connection))
        case .statement(let statement, let completion):
            connection.submit(
                [statement], within: configuration.answerLimit, isTransaction: true
            ) {
                [weak self] result in
                completion(result)
                if connection.isIdle { self?.giveBack(connection) }
            }
        }
    }

    private func refuse(_ request: Waiter.Request, _ error: DatabaseError) {
        switch request {
        case .lease(let body): body(.failure(error))
        case .statement(_, let completion): completion(.failure(error))
        }
    }

    /// Gives a free connection to the next requests: to one that leases it, or to several reads.
    private func dispatch(_ connection: PostgresConnection) {
        var served = 0
        while served < Self.batchSize, let waiter = nextWaiter(mayLease: served == 0) {
            serve(waiter.request, connection)
            served += 1
            if case .lease = waiter.request { return }
            if connection.failure != nil { return }
        }
        if served == 0 { idle.append(connection) }
    }

    private func nextWaiter(mayLease: Bool) -> Waiter? {
        if let first = urgent.first {
            if case .lease = first.request, !mayLease { return nil }
            return urgent.removeFirst()
        }
        guard waitingStart < waiting.count else { return nil }
        let first = waiting[waitingStart]
        if case .lease = first.request, !mayLease { return nil }
        return takeWaiting()
    }

    private func takeWaiting() -> Waiter {
        let first = waiting[waitingStart]
        waitingStart += 1
        if waitingStart == waiting.count {
            waiting.removeAll(keepingCapacity: true)
            waitingStart = 0
        } else if waitingStart >= 1024 {
            waiting.removeFirst(waitingStart)
            waitingStart = 0
        }
        return first
    }

    private func failWaiting(_ error: DatabaseError) {
        let all = urgent + waiting[waitingStart...]
        urgent = []
        waiting = []
        waitingStart = 0
        for waiter in all { refuse(waiter.request, error) }
    }

    /// Refuses requests that have waited for too long, four times a second while any wait.
    private func keepTicking() {
        guard !isTicking else { return }
        isTicking = true
        EventLoop.schedule(afterMilliseconds: Self.checkInterval) { [weak self] in self?.tick() }
    }

    private func tick() {
        isTicking = false
        let now = monotonicMilliseconds()
        newcomer?.checkDeadline(now)
        for member in members { member.checkDeadline(now) }
        let isAway = members.isEmpty
        let reason = isAway ? Self.silent : Self.crowded
        var hasRefused = false
        while let first = urgent.first, first.deadline <= now {
            urgent.removeFirst()
            hasRefused = true
            refuse(first.request, reason)
        }
        while waitingStart < waiting.count, waiting[waitingStart].deadline <= now {
            hasRefused = true
            refuse(takeWaiting().request, reason)
        }
        if isAway, hasRefused, members.isEmpty { goAway(reason) }
        if idle.count < members.count || newcomer != nil || counts.waiting > 0 { keepTicking() }
    }

    // MARK: - Connecting

    private func connect() async throws -> PostgresConnection {
        let address = configuration.address
        let handle = try await Self.connector.run { try PostgresHandle.connect(address) }
        if isClosed { throw DatabaseError.closed }
        let connection = try PostgresConnection(
            handle,
            transactionSettings: configuration.prepares
                ? nil : PostgresSession.settings(configuration, ofTransaction: true))
        newcomer = connection
        defer { newcomer = nil }
        do {
            keepTicking()
            try await prepare(connection)
            // It may have ended since its last answer.
            if let failure = connection.failure { throw failure }
            if let conflict = conflict(of: connection) { throw conflict }
            return connection
        } catch {
            connection.close()
            throw error
        }
    }

    /// The objection to a connection beside the living ones.
    private func conflict(of connection: PostgresConnection) -> DatabaseError? {
        guard let origin = connection.origin else { return nil }
        return members.lazy.compactMap { $0.origin }.compactMap { origin.conflict(with: $0) }.first
    }

    /// Ends the connections to a server that another one has replaced.
    private func leaveReplaced(by connection: PostgresConnection) {
        guard let origin = connection.origin else { return }
        for member in members {
            if let reason = member.origin.flatMap({ origin.replaces($0) }) { member.giveUp(reason) }
        }
    }

    private func join(_ connection: PostgresConnection) {
        if isClosed { return connection.close() }
        members.append(connection)
        leaveReplaced(by: connection)
        connection.onFailure = { [weak self, weak connection] error in
            if let connection { self?.lose(connection, error) }
        }
        if failedTries > 0 || lastFailure != nil {
            logger.notice("database reached again", metadata: ["pool.tries": "\(failedTries)"])
        }
        failedTries = 0
        pauses.reset()
        lastFailure = nil
        dispatch(connection)
        fill()
    }

    /// Opens the missing connections, one after the other.
    private func fill() {
        guard !isClosed, !isConnecting, members.count < configuration.size else { return }
        isConnecting = true
        EventLoop.spawn { await self.openOne() }
    }

    private func openOne() async {
        let start = monotonicMilliseconds()
        do {
            let connection = try await connect()
            isConnecting = false
            join(connection)
        } catch {
            if isClosed { return }
            failedTries += 1
            if members.isEmpty {
                let cause =
                    error as? DatabaseError
                    ?? DatabaseError(.connection, "\(error)", during: "connect")
                goAway(cause)
                failWaiting(cause)
            } else if failedTries == 1 {
                logger.warning("no new connection", metadata: ["storage.error": "\(error)"])
            }
            // A try that was long is a pause by itself.
            let passed = monotonicMilliseconds() &- start
            let pause = pauses.next(jitter: identifiers.number)
            await EventLoop.sleep(milliseconds: max(Self.shortestPause, pause &- passed))
            isConnecting = false
            fill()
        }
    }

    /// Refuses requests from now on, until there is a connection again.
    private func goAway(_ cause: DatabaseError) {
        if lastFailure == nil {
            logger.error("database away", metadata: ["storage.error": "\(cause)"])
        }
        lastFailure = cause
    }

    private func lose(_ connection: PostgresConnection, _ error: DatabaseError) {
        members.removeAll { $0 === connection }
        idle.removeAll { $0 === connection }
        guard !isClosed else { return }
        if failedTries == 0, error.kind != .closed {
            logger.warning("connection lost", metadata: ["storage.error": "\(error)"])
        }
        if connection.hasVanished { giveUpSilent(error) }
        if members.isEmpty {
            // Requests that waited for two seconds now wait for the next connection alone.
            let end = monotonicMilliseconds() &+ configuration.grace
            urgent = urgent.map { $0.waiting(until: end) }
            waiting = waiting[waitingStart...].map { $0.waiting(until: end) }
            waitingStart = 0
        }
        fill()
    }

    /// The way to the server is cut: requests on any other connection to it need not find that out
    /// one by one. Connections with an answer a moment ago lead another way.
    private func giveUpSilent(_ error: DatabaseError) {
        let now = monotonicMilliseconds()
        for member in members where now &- member.lastHeard > Self.silence {
            member.giveUp(error)
        }
        guard members.isEmpty else { return }
        goAway(error)
        failWaiting(error)
    }
}
