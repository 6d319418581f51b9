// One connection to PostgreSQL on the loop.
//
// Always in libpq's pipeline mode: statements that are known at once are sent at once, and answered
// in one round trip. A batch ends with a synchronization point, so that the failure of one
// statement undoes the rest of its batch and nothing of the next. Confined to the loop. Knows
// nothing of pools and transactions.

internal import CPostgres
internal import EventLoop
internal import Glibc
internal import ProxyGPT

/// A statement on its way to PostgreSQL.
struct PostgresStatement: Sendable {
    let text: String
    let parameters: PostgresParameters

    init(_ text: String, _ parameters: PostgresParameters = PostgresParameters()) {
        self.text = text
        self.parameters = parameters
    }

    init(_ sql: SQL) {
        self.init(sql.text, PostgresParameters(sql.values))
    }

    var beginsTransaction: Bool { text.utf8.starts(with: "BEGIN".utf8) }
}

/// Sends batches of statements and hands back their answers.
@EventLoop final class PostgresConnection {
    typealias Completion = @EventLoop (Result<[PostgresAnswer], DatabaseError>) -> Void

    /// The steps that the server answers one by one.
    private enum Step {
        case preparation(PreparedStatements.Key, name: String)
        case deallocate(name: String)
        /// The settings of a transaction, whose answer is not awaited.
        case settings
        case statement(text: String, PostgresColumns)
    }

    private struct Batch {
        let number: UInt64
        var steps: ArraySlice<Step> = []
        var answers: [PostgresAnswer] = []
        var failure: DatabaseError?
        /// The moment of `monotonicMilliseconds` at which its answer is given up.
        let deadline: Int64
        let completion: Completion
    }

    private let handle: PostgresHandle
    private var connection: OpaquePointer { handle.pointer }
    private var watch: Watch?
    private var waitsForWriting = false
    private var prepared = PreparedStatements()
    private var batches: UInt64 = 0
    private var running: [Batch] = []
    /// The server that it leads to, where that is known.
    var origin: PostgresOrigin?
    /// Why the connection is of no use any more.
    private(set) var failure: DatabaseError?
    /// The error of the socket, as in errno.
    private var socketError: Int32 = 0
    /// Whether it failed because nothing comes back any more, not even from the server's host.
    var hasVanished: Bool { Self.unreachable.contains(socketError) }
    /// The moment of `monotonicMilliseconds` at which something came last.
    private(set) var lastHeard = monotonicMilliseconds()
    /// Called once, when it fails.
    var onFailure: ((DatabaseError) -> Void)?

    /// The statement that makes the settings of a transaction, where a pooler stands before the
    /// server and the next transaction may be on another of its connections. Then no statement is
    /// prepared either, and no setting of a session is relied on.
    private let transactionSettings: String?

    init(_ handle: PostgresHandle, transactionSettings: String? = nil) throws {
        self.handle = handle
        self.transactionSettings = transactionSettings
        watch = try EventLoop.watch(PQsocket(handle.pointer), for: .readable) {
            [weak self] in self?.ready($0)
        }
    }

    /// Whether nothing is under way.
    var isIdle: Bool { running.isEmpty }

    /// Whether no transaction is open.
    var isBetweenTransactions: Bool {
        failure == nil && PQtransactionStatus(connection) == PQTRANS_IDLE
    }

    /// A parameter that the server reports, such as `server_encoding`.
    func parameter(_ name: String) -> String? {
        PQparameterStatus(connection, name).map { String(cString: $0) }
    }

    var serverVersion: Int32 { PQserverVersion(connection) }

    /// The server's process that serves the connection, as reported at the beginning.
    var serverProcess: Int32 { PQbackendPID(connection) }

    /// Sends a batch behind those that are under way and returns the answers, one a statement. Throws
    /// the first failure.
    /// - Parameter prepares: false to prepare nothing, whatever stands before the server.
    func run(
        _ statements: [PostgresStatement], within milliseconds: Int64, prepares: Bool = true
    ) async throws -> [PostgresAnswer] {
        let result: Result<[PostgresAnswer], DatabaseError> =
            await withUnsafeContinuation { continuation in
                submit(statements, within: milliseconds, prepares: prepares) {
                    continuation.resume(returning: $0)
                }
            }
        return try result.get()
    }

    /// - Parameter isTransaction: whether the batch is one by itself, and not part of one that is open.
    func submit(
        _ statements: [PostgresStatement], within milliseconds: Int64,
        isTransaction: Bool = false, prepares: Bool = true, completion: @escaping Completion
    ) {
        if let failure {
            completion(.failure(failure))
            return
        }
        batches += 1
        var batch = Batch(
            number: batches, deadline: monotonicMilliseconds() &+ milliseconds,
            completion: completion)
        let prepares = prepares && transactionSettings == nil
        var isSent = !isTransaction || sendSettings(&batch)
        for statement in statements where isSent {
            isSent =
                prepares ? send(statement, &batch) : sendUnprepared(statement, &batch)
            if isSent, statement.beginsTransaction { isSent = sendSettings(&batch) }
        }
        running.append(batch)
        guard isSent, PQpipelineSync(connection) == 1 else {
            fail(DatabaseError(.connection, handle.message, during: "send"))
            return
        }
        flush()
    }

    /// Ends the connection when the oldest batch has waited for too long.
    func checkDeadline(_ now: Int64) {
        guard let first = running.first, first.deadline < now else { return }
        fail(
            DatabaseError(
                .connection, "the server does not answer", during: "wait"))
    }

    /// Ends the connection for the same reason as other connections to that server.
    func giveUp(_ reason: DatabaseError) {
        fail(reason)
    }

    /// Ends the connection; statements under way fail.
    func close() {
        fail(.closed)
    }

    // MARK: - Sending

    private func send(_ statement: PostgresStatement, _ batch: inout Batch) -> Bool {
        let key = PreparedStatements.Key(
            text: statement.text, types: statement.parameters.types)
        let count = Int32(clamping: key.types.count)
        let use = prepared.use(key, in: batch.number)
        for name in use.leftover {
            batch.steps.append(.deallocate(name: name))
            guard
                PQsendQueryParams(
                    connection, "DEALLOCATE \(name)", 0, nil, nil, nil, nil, 0) == 1
            else { return false }
        }
        if use.mustBePrepared {
            batch.steps.append(.preparation(key, name: use.name))
            guard PQsendPrepare(connection, use.name, key.text, count, key.types) == 1 else {
                return false
            }
        }
        batch.steps.append(.statement(text: statement.text, use.columns))
        return statement.parameters.withPointers { values, lengths, formats in
            PQsendQueryPrepared(connection, use.name, count, values, lengths, formats, 0) == 1
        }
    }

    private func sendUnprepared(_ statement: PostgresStatement, _ batch: inout Batch) -> Bool {
        let types = statement.parameters.types
        batch.steps.append(.statement(text: statement.text, PostgresColumns()))
        return statement.parameters.withPointers { values, lengths, formats in
            PQsendQueryParams(
                connection, statement.text, Int32(clamping: types.count), types, values, lengths,
                formats, 0) == 1
        }
    }

    private func sendSettings(_ batch: inout Batch) -> Bool {
        guard let transactionSettings else { return true }
        batch.steps.append(.settings)
        return PQsendQueryParams(connection, transactionSettings, 0, nil, nil, nil, nil, 0) == 1
    }

    private func flush() {
        switch PQflush(connection) {
        case 0: waitForWriting(false)
        case 1: waitForWriting(true)
        default: fail(DatabaseError(.connection, handle.message, during: "send"))
        }
    }

    private func waitForWriting(_ waits: Bool) {
        guard waits != waitsForWriting else { return }
        waitsForWriting = waits
        do {
            try watch?.change(to: waits ? [.readable, .writable] : .readable)
        } catch {
            fail(DatabaseError(.connection, "\(error)", during: "watch"))
        }
    }

    // MARK: - Reading

    private func ready(_ readiness: Readiness) {
        // "After sending any command or data on a nonblocking connection, call PQflush. If it returns 1,
        // wait for the socket to become read- or write-ready … If it becomes read-ready, call
        // PQconsumeInput, then call PQflush again" (libpq-async.html).
        if !readiness.isDisjoint(with: [.readable, .peerClosed, .hungUp]) {
            if !readiness.isDisjoint(with: .hungUp) { takeSocketError() }
            let isOpen = PQconsumeInput(connection) == 1
            if isOpen { lastHeard = monotonicMilliseconds() }
            // The server's last words before it closed are read in any case.
            readAnswers()
            if !isOpen || socketError != 0 {
                fail(DatabaseError(.connection, lossMessage, during: "receive"))
            }
        }
        if failure == nil, waitsForWriting { flush() }
    }

    /// The error of a connection whose packets are lost, see tcp(7), TCP_USER_TIMEOUT. The server,
    /// or its host, would have ended it in another way.
    private nonisolated static let unreachable = [
        ETIMEDOUT, EHOSTUNREACH, EHOSTDOWN, ENETUNREACH, ENETDOWN,
    ]

    private func takeSocketError() {
        var code: Int32 = 0
        var size = socklen_t(MemoryLayout<Int32>.size)
        if getsockopt(PQsocket(connection), SOL_SOCKET, SO_ERROR, &code, &size) == 0 {
            socketError = code
        }
    }

    private var lossMessage: String {
        socketError == 0 ? handle.message : "\(SystemError("recv", code: socketError))"
    }

    private func readAnswers() {
        while failure == nil, !running.isEmpty, PQisBusy(connection) == 0 {
            guard let result = PostgresResult(nextOf: connection) else {
                // The end of one command's results.
                guard running[0].steps.popFirst() != nil else {
                    fail(DatabaseError(.connection, handle.message, during: "receive"))
                    return
                }
                continue
            }
            let status = result.status
            if status == PGRES_PIPELINE_SYNC {
                let batch = running.removeFirst()
                batch.completion(batch.failure.map { .failure($0) } ?? .success(batch.answers))
            } else {
                take(result, status)
            }
        }
    }

    private func take(_ result: consuming PostgresResult, _ status: ExecStatusType) {
        guard let step = running[0].steps.first else {
            fail(DatabaseError(postgres: result, during: "receive"))
            return
        }
        switch (status, step) {
        case (PGRES_TUPLES_OK, .statement(_, let columns)),
            (PGRES_COMMAND_OK, .statement(_, let columns)):
            running[0].answers.append(columns.answer(result))
        case (PGRES_COMMAND_OK, .preparation(let key, let name)): prepared.confirm(key, name)
        case (PGRES_COMMAND_OK, _), (PGRES_TUPLES_OK, _): break
        case (_, .preparation(let key, let name)):
            prepared.fail(key, name)
            note(result, status, during: key.text)
        case (_, .statement(let text, _)): note(result, status, during: text)
        case (_, .settings): note(result, status, during: "settings")
        case (_, .deallocate(let name)):
            prepared.keep(name)
            note(result, status, during: "deallocate")
        }
    }

    private func note(
        _ result: borrowing PostgresResult, _ status: ExecStatusType, during text: String
    ) {
        // The statements behind a failed one are only passed over.
        guard status != PGRES_PIPELINE_ABORTED, running[0].failure == nil else { return }
        var error = DatabaseError(postgres: result, during: text)
        // The server sends nothing over a connection that broke.
        if error.message.isEmpty {
            error = DatabaseError(.connection, lossMessage, during: text)
        }
        running[0].failure = error
        if error.kind == .connection { fail(error) }
    }

    private func fail(_ error: DatabaseError) {
        guard failure == nil else { return }
        failure = error
        watch?.cancel()
        watch = nil
        let batches = running
        running.removeAll()
        // Of a refusal only the batch that was refused knows that nothing was done.
        let loss = DatabaseError(error.kind, error.message, during: error.during)
        for batch in batches { batch.completion(.failure(batch.failure ?? loss)) }
        onFailure?(error)
        onFailure = nil
    }
}
