// A process's client for commands: one connection, made anew whenever it was lost.
//
// Owns the connection, the breaker and the timers of both. Every command has a time budget; its
// caller gets an answer within it, whatever Redis does. Bounds: commands under way and their bytes.
// Confined to the loop. Knows nothing of the purpose of the commands.

internal import EventLoop
internal import Logging
internal import ProxyGPT

/// Sends commands while Redis is healthy, and refuses them at once while it is not.
@EventLoop final class RedisClient {
    /// Values that tests change.
    struct Tuning: Sendable {
        /// Milliseconds until a command counts as failed.
        var budget: Int64 = 50
        /// Milliseconds for a try: look-up, connection, authentication, scripts.
        var connectTimeout: Int64 = 1000
        var commands = 512
        var bytes = 8 * 1024 * 1024
    }

    /// A change that listeners are told of.
    enum Change: Equatable {
        case ready
        case away
    }

    let address: RedisAddress
    let tuning: Tuning
    /// Names this start of Redis, while it is there.
    private(set) var runID: String?

    private let logger: Logger
    private let identifiers: any IdentifierSource
    private let dialer: Dialer
    /// The key with which each new connection is tried.
    private let probe: String
    private var breaker = Breaker()
    private var refusals = Refusals()
    /// Whether the last connection was given up because of refusals.
    private var isOnTrial = false
    private var trials: [(_ run: String) -> [Trial]] = []
    private var connection: RedisConnection?
    private var attempt: Task<Void, Never>?
    private var listeners: [(Change) -> Void] = []
    private var shas: [String: [UInt8]] = [:]
    private var isStopped = false
    private var lastProblem: String?
    /// Whether the connection has answered a command, or existed for a while.
    private var isProven = false
    /// Whether the last connection ended unproven: then the next one is announced only when it is
    /// proven.
    private var hasFaltered = false
    private var hasTried = false
    private var awaitingTry: [UnsafeContinuation<Void, Never>] = []

    /// - Parameter prefix: begins the names of all keys.
    nonisolated init(
        _ address: RedisAddress, prefix: String, tuning: Tuning,
        identifiers: any IdentifierSource, logger: Logger
    ) {
        self.address = address
        self.tuning = tuning
        self.identifiers = identifiers
        self.logger = logger
        dialer = Dialer(address)
        probe = prefix + "probe"
    }

    /// Begins to connect. Returns at once, also when Redis is away.
    func start() {
        guard attempt == nil, connection == nil, !isStopped else { return }
        tryLater(after: 0)
        // The look-up of a name may take longer.
        EventLoop.schedule(afterMilliseconds: tuning.connectTimeout) { [weak self] in self?.endTry()
        }
    }

    /// Waits until the first try has succeeded or failed, or its time is over.
    func firstTry() async {
        await withUnsafeContinuation { continuation in
            if hasTried || isStopped {
                continuation.resume()
            } else {
                awaitingTry.append(continuation)
            }
        }
    }

    private func endTry() {
        hasTried = true
        for continuation in awaitingTry { continuation.resume() }
        awaitingTry = []
    }

    func stop() {
        isStopped = true
        endTry()
        attempt?.cancel()
        attempt = nil
        breaker.disconnected()
        runID = nil
        dropConnection()
        listeners = []
    }

    var isReady: Bool { breaker.isClosed }

    /// Commands whose answers have not come, in time or not.
    var underWay: Int { connection?.pending ?? 0 }

    /// Reports every change, and the present state where Redis is there already.
    func listen(_ listener: @escaping (Change) -> Void) {
        listeners.append(listener)
        if runID != nil { listener(.ready) }
    }

    /// Adds commands that are tried before Redis counts as back after refusals.
    func addTrial(_ commands: @escaping (_ run: String) -> [Trial]) {
        trials.append(commands)
    }

    // MARK: - Commands

    /// Sends a command. `answer` is called within the budget: with the reply of Redis or with an
    /// error.
    ///
    /// - Parameters:
    ///   - mayBeLate: the answer may come late; only the end of the connection is final. The
    ///     breaker counts a failure for each budget that passes all the same.
    ///   - group: the name under which a refusal of the command is counted, see `Refusals`.
    func send(
        _ arguments: [[UInt8]], group: String? = nil, mayBeLate: Bool = false,
        _ answer: @escaping RedisConnection.Answer
    ) {
        guard breaker.isClosed, let connection else {
            answer(.failure(.unavailable))
            return
        }
        let size = arguments.reduce(0) { $0 + $1.count }
        guard connection.pending < tuning.commands,
            connection.pendingBytes + size <= tuning.bytes || connection.pending == 0
        else {
            answer(.failure(.overloaded))
            return
        }
        let deadline = Deadline(tuning.budget, repeats: mayBeLate, answer) { [weak self] in
            self?.failed(.late, nil, on: connection)
        }
        connection.send(arguments) { [weak self] result in
            switch result {
            case .success:
                // A late answer is no success: every answer of a slow Redis comes in the end.
                if !deadline.hasPassed { self?.succeeded(group, on: connection) }
            case .failure(let error): self?.failed(error, group, on: connection)
            }
            deadline.answer(result)
        }
    }

    /// Sends a command and waits for the answer.
    func ask(
        _ arguments: [[UInt8]], group: String? = nil
    ) async throws(RedisError) -> RedisReply {
        try await withUnsafeContinuation { continuation in
            send(arguments, group: group) { continuation.resume(returning: $0) }
        }.get()
    }

    /// Runs a script, which Redis most often knows by its digest.
    func run(
        _ script: RedisScript, keys: [String], _ arguments: [[UInt8]], mayBeLate: Bool = false,
        _ answer: @escaping RedisConnection.Answer
    ) {
        let rest = [Array(String(keys.count).utf8)] + keys.map { Array($0.utf8) } + arguments
        let whole = [Array("EVAL".utf8), Array(script.text.utf8)] + rest
        guard let sha = shas[script.name] else {
            send(whole, group: script.name, mayBeLate: mayBeLate, answer)
            return
        }
        send([Array("EVALSHA".utf8), sha] + rest, group: script.name, mayBeLate: mayBeLate) {
            [weak self] result in
            guard let self, result == .failure(.refused(code: "NOSCRIPT")) else {
                answer(result)
                return
            }
            send(whole, group: script.name, mayBeLate: mayBeLate, answer)
        }
    }

    func run(
        _ script: RedisScript, keys: [String], _ arguments: [[UInt8]]
    ) async throws(RedisError) -> RedisReply {
        try await withUnsafeContinuation { continuation in
            run(script, keys: keys, arguments) { continuation.resume(returning: $0) }
        }.get()
    }

    private func failed(
        _ error: RedisError, _ group: String?, on connection: RedisConnection
    ) {
        guard self.connection === connection else { return }
        if let group, case .refused(let code) = error, code != "NOSCRIPT",
            refusals.refused(group, code: code)
        {
            isOnTrial = true
            lose("\(error) (\(group))")
            return
        }
        guard error.isFailureOfRedis else { return }
        if breaker.failed() || error.isRefusalToWrite { lose("\(error)") }
    }

    private func succeeded(_ group: String?, on connection: RedisConnection) {
        guard self.connection === connection else { return }
        if let group { refusals.succeeded(group) }
        breaker.succeeded()
        prove()
    }

    /// Takes note that a connection is useful.
    private func prove() {
        guard !isProven else { return }
        isProven = true
        lastProblem = nil
        if hasFaltered { announceReturn() }
        hasFaltered = false
    }

    private func announceReturn() {
        logger.notice("redis is there", metadata: ["redis.address": "\(address)"])
    }

    // MARK: - The connection

    /// Gives the connection up, with all commands under way on it, and tries again later.
    private func lose(_ problem: String) {
        guard let connection else { return }
        self.connection = nil
        breaker.disconnected()
        refusals = Refusals()
        runID = nil
        report(problem)
        hasFaltered = !isProven
        connection.close()
        for listener in listeners { listener(.away) }
        tryLater(after: breaker.nextPause(jitter: identifiers.number))
    }

    private func dropConnection() {
        let dropped = connection
        connection = nil
        dropped?.close()
    }

    private func tryLater(after milliseconds: Int64) {
        guard !isStopped else { return }
        attempt = EventLoop.spawn { [weak self] in
            await EventLoop.sleep(milliseconds: milliseconds)
            await self?.tryNow()
        }
    }

    private func tryNow() async {
        guard !isStopped else { return }
        do {
            let opened = try await dialer.open(
                connectTimeout: tuning.connectTimeout, budget: tuning.budget, probe: probe,
                scripts: RedisScript.all,
                trial: { [trials, isOnTrial] run in
                    isOnTrial ? trials.flatMap { $0(run) } : []
                }
            ) { [weak self] connection, reason in
                guard let self, self.connection === connection else { return }
                lose(reason)
            }
            guard !isStopped else {
                opened.connection.close()
                return
            }
            take(opened)
        } catch {
            guard !isStopped else { return }
            report("\(error)")
            endTry()
            tryLater(after: breaker.nextPause(jitter: identifiers.number))
        }
    }

    private func take(_ opened: Dialer.Opened) {
        attempt = nil
        isOnTrial = false
        connection = opened.connection
        shas = opened.shas
        runID = opened.run
        breaker.close()
        isProven = false
        if !hasFaltered { announceReturn() }
        EventLoop.schedule(afterMilliseconds: Breaker.longestPause) { [weak self] in
            guard let self, connection === opened.connection else { return }
            breaker.stood()
            prove()
        }
        if opened.evicts {
            // A frame in a lost batch would be missing without a trace.
            logger.warning("redis evicts keys: set its maxmemory-policy to noeviction")
        }
        endTry()
        for listener in listeners { listener(.ready) }
        // It may have ended before it had an owner.
        if !opened.connection.isOpen { lose("the connection ended at once") }
    }

    /// A problem that lasts is logged once.
    private func report(_ problem: String) {
        guard problem != lastProblem else { return }
        lastProblem = problem
        logger.warning(
            "redis is away, going on without it",
            metadata: ["redis.address": "\(address)", "redis.error": "\(problem)"])
    }
}

/// Ensures that a command is answered once, and in time.
@EventLoop private final class Deadline {
    private var waiting: RedisConnection.Answer?
    private var timer: Timer?
    private(set) var hasPassed = false

    init(
        _ budget: Int64, repeats: Bool, _ answer: @escaping RedisConnection.Answer,
        passed: @escaping () -> Void
    ) {
        waiting = answer
        set(budget, repeats, passed)
    }

    private func set(_ budget: Int64, _ repeats: Bool, _ passed: @escaping () -> Void) {
        timer = EventLoop.schedule(afterMilliseconds: budget) { [weak self] in
            guard let self, waiting != nil else { return }
            hasPassed = true
            if repeats { set(budget, repeats, passed) } else { answer(.failure(.late)) }
            passed()
        }
    }

    func answer(_ result: Result<RedisReply, RedisError>) {
        timer?.cancel()
        timer = nil
        let answer = waiting
        waiting = nil
        answer?(result)
    }
}

extension IdentifierSource {
    /// A name for an epoch: an identifier without its time.
    var epoch: String {
        String(next().filter { $0 != "-" }.suffix(16))
    }
}
