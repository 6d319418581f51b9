// Makes connections to Redis: looks the name up, connects, authenticates, selects the database.
//
// The whole has a time limit, except for the name, which has one of its own; and at the end a write
// must be answered within a command's budget: a Redis that answers slowly, or takes no writes, is
// not used.

internal import EventLoop
internal import ProxyGPT

/// Opens connections for commands.
@EventLoop final class Dialer {
    /// A connection that has answered.
    struct Opened {
        let connection: RedisConnection
        /// A new one for each start of Redis.
        let run: String
        /// It evicts keys when its memory is full.
        let evicts: Bool
        let shas: [String: [UInt8]]
    }

    /// Why there is no connection, without any text of Redis or the settings.
    struct Problem: Error, CustomStringConvertible {
        let description: String

        init(_ description: String) {
            self.description = description
        }
    }

    typealias Closed = (RedisConnection, _ reason: String) -> Void

    private let address: RedisAddress
    private let names: NameLookUp

    nonisolated init(_ address: RedisAddress, names: NameLookUp = NameLookUp()) {
        self.address = address
        self.names = names
    }

    /// Opens a connection for commands.
    /// - Parameters:
    ///   - probe: the key that is written to find out whether writes are taken.
    ///   - trial: commands that must not be refused.
    func open(
        connectTimeout: Int64, budget: Int64, probe: String, scripts: [RedisScript],
        trial: (_ run: String) -> [Trial] = { _ in [] }, closed: @escaping Closed
    ) async throws(Problem) -> Opened {
        try await open(within: connectTimeout, closed) { connection, limit throws(Problem) in
            let (run, evicts) = try await Self.information(of: connection)
            var shas: [String: [UInt8]] = [:]
            for script in scripts {
                let reply = try await connection.ask("SCRIPT", "LOAD", script.text)
                guard let sha = reply.bytes else { throw Problem("SCRIPT LOAD answered otherwise") }
                shas[script.name] = sha
            }
            for trial in trial(run) {
                _ = try await connection.ask(trial.command { shas[$0.name] }, as: trial.name)
            }
            limit.shorten(to: budget)
            let written = try await connection.ask("SET", probe, "", "EX", "10")
            guard written == .status("OK") else { throw Problem("SET answered otherwise") }
            return Opened(connection: connection, run: run, evicts: evicts, shas: shas)
        }
    }

    /// Opens a connection for a subscription.
    func open(connectTimeout: Int64, closed: @escaping Closed) async throws(Problem)
        -> RedisConnection
    {
        try await open(within: connectTimeout, closed) { connection, _ in connection }
    }

    /// Opens a connection and prepares it; closes it where that fails or takes too long.
    private func open<Result: Sendable>(
        within connectTimeout: Int64, _ closed: @escaping Closed,
        _ prepare: @EventLoop (RedisConnection, TimeLimit) async throws(Problem) -> Result
    ) async throws(Problem) -> Result {
        let targets = try await targets(within: connectTimeout)
        let limit = TimeLimit(connectTimeout)
        defer { limit.cancel() }
        let connection = try await connect(to: targets, limit, closed)
        do throws(Problem) {
            try await enter(connection)
            let result = try await prepare(connection, limit)
            try limit.check()
            return result
        } catch {
            connection.close()
            throw limit.hasPassed ? Problem("no answer in time") : error
        }
    }

    private func connect(
        to targets: [RedisConnection.Target], _ limit: TimeLimit, _ closed: @escaping Closed
    ) async throws(Problem) -> RedisConnection {
        var problem = Problem("the name has no address")
        for target in targets where !limit.hasPassed {
            do throws(Problem) {
                // An address that swallows packets must not hide the others.
                let share = limit.milliseconds / Int64(targets.count)
                return try await connect(to: target, share, limit, closed)
            } catch {
                problem = error
            }
        }
        throw limit.hasPassed ? Problem("no connection in time") : problem
    }

    private func targets(
        within milliseconds: Int64
    ) async throws(Problem) -> [RedisConnection.Target] {
        switch address.place {
        case .socket(let path): return [.socket(path: path)]
        case .host(let name, let port):
            if HostNames.isAddress(name) { return [.address(name, port: port)] }
            guard let addresses = await names.addresses(of: name, within: milliseconds) else {
                throw Problem("the name was not looked up in time")
            }
            return addresses.prefix(8).map { .address($0, port: port) }
        }
    }

    private func connect(
        to target: RedisConnection.Target, _ share: Int64, _ limit: TimeLimit,
        _ closed: @escaping Closed
    ) async throws(Problem) -> RedisConnection {
        let attempt = Attempt()
        let timer = EventLoop.schedule(afterMilliseconds: share) { attempt.end("too late") }
        defer { timer.cancel() }
        let connection: RedisConnection
        do {
            connection = try RedisConnection(
                to: target, connected: { attempt.end(nil) },
                closed: { reason in
                    attempt.end(reason)
                    if let connection = attempt.connection { closed(connection, reason) }
                })
        } catch {
            throw Problem("\(error)")
        }
        limit.connection = connection
        let reason = await attempt.outcome { limit.onPassing = { attempt.end("too late") } }
        limit.onPassing = nil
        if let reason {
            connection.close()
            throw Problem(reason)
        }
        attempt.connection = connection
        return connection
    }

    private func enter(_ connection: RedisConnection) async throws(Problem) {
        if let password = address.password {
            let reply = try await connection.ask(
                "AUTH", address.user, password.revealed)
            guard reply == .status("OK") else { throw Problem("AUTH answered otherwise") }
        }
        if address.database != 0 {
            guard try await connection.ask("SELECT", String(address.database)) == .status("OK")
            else { throw Problem("SELECT answered otherwise") }
        }
    }

    /// INFO: `run_id` is "Random value identifying the Redis server (to be used by Sentinel and
    /// Cluster)", https://redis.io/docs/latest/commands/info/.
    private static func information(
        of connection: RedisConnection
    ) async throws(Problem) -> (run: String, evicts: Bool) {
        let reply = try await connection.ask("INFO")
        let lines = String(decoding: reply.bytes ?? [], as: UTF8.self)
            .split(whereSeparator: \.isNewline)
        func value(_ name: String) -> Substring? {
            lines.first { $0.hasPrefix(name + ":") }?.dropFirst(name.count + 1)
        }
        guard let run = value("run_id"), !run.isEmpty else {
            throw Problem("INFO names no run_id")
        }
        let evicts = value("maxmemory") != "0" && value("maxmemory_policy") != "noeviction"
        return (String(run.prefix(64)), evicts)
    }
}

/// Waits until one connection is established or fails.
@EventLoop private final class Attempt {
    weak var connection: RedisConnection?
    private var waiting: UnsafeContinuation<String?, Never>?
    private var result: String??

    /// Nil when the connection is established, else the reason.
    func outcome(_ begin: () -> Void) async -> String? {
        begin()
        return await withUnsafeContinuation { continuation in
            if let result { continuation.resume(returning: result) } else { waiting = continuation }
        }
    }

    func end(_ reason: String?) {
        guard result == nil else { return }
        result = .some(reason)
        waiting?.resume(returning: reason)
        waiting = nil
    }
}

/// Ends a connection that is not ready in time.
@EventLoop private final class TimeLimit {
    weak var connection: RedisConnection?
    var onPassing: (() -> Void)?
    private(set) var hasPassed = false
    let milliseconds: Int64
    private var timer: Timer?

    init(_ milliseconds: Int64) {
        self.milliseconds = milliseconds
        shorten(to: milliseconds)
    }

    func shorten(to milliseconds: Int64) {
        timer?.cancel()
        timer = EventLoop.schedule(afterMilliseconds: milliseconds) { [weak self] in
            guard let self else { return }
            hasPassed = true
            onPassing?()
            connection?.close()
        }
    }

    /// Throws when it has passed: a connection that is being closed still takes its last answers.
    func check() throws(Dialer.Problem) {
        if hasPassed { throw Dialer.Problem("no answer in time") }
    }

    func cancel() {
        timer?.cancel()
    }
}

extension RedisConnection {
    /// Sends a command of the handshake and waits; absent arguments are left out.
    fileprivate func ask(_ arguments: String?...) async throws(Dialer.Problem) -> RedisReply {
        try await ask(
            arguments.compactMap { $0.map { Array($0.utf8) } },
            as: arguments.first.flatMap(\.self) ?? "")
    }

    fileprivate func ask(
        _ arguments: [[UInt8]], as name: String
    ) async throws(Dialer.Problem) -> RedisReply {
        let result = await withUnsafeContinuation { continuation in
            send(arguments) { continuation.resume(returning: $0) }
        }
        switch result {
        case .success(let reply): return reply
        case .failure(let error): throw Dialer.Problem("\(name): \(error)")
        }
    }
}
