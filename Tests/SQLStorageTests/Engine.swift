internal import EventLoop
internal import Glibc
internal import ProxyGPT
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

/// The databases that the store is tested on.
enum Engine: String, CaseIterable, Sendable, CustomTestStringConvertible {
    case sqlite = "SQLite"
    case postgreSQL = "PostgreSQL"

    var testDescription: String { rawValue }
}

/// A PostgreSQL server of the tests' own, which ends with this process.
final class Cluster: Sendable {
    /// The server that most tests share, each with a database of its own.
    static let shared = Result { try Cluster() }

    let directory: String
    /// Input and output of the script that keeps the server.
    private let keeper: Int32
    private let databases = Atomic(0)
    private let slots = Slots(8)

    init(_ settings: String...) throws {
        var ends: [Int32] = [0, 0]
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        guard socketpair(AF_UNIX, kind, 0, &ends) == 0 else { throw SystemError("socketpair") }
        defer { close(ends[1]) }
        let tests = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(2)
        let script = tests.joined(separator: "/") + "/postgres-cluster"
        // By way of a shell that ends at once: the library of the tests waits for all children of the
        // process, and one that it does not know would hold it up.
        let command = "exec 3<&0; \"$0\" \"$@\" <&3 3<&- &"
        let arguments = ["/bin/sh", "-c", command, script] + settings
        let child = try startProcess(arguments, input: ends[1], output: ends[1], speaks: true)
        while waitpid(child, nil, 0) < 0 && errno == EINTR {}
        keeper = ends[0]
        directory = try Self.line(from: keeper)
    }

    deinit {
        close(keeper)
    }

    private static func line(from descriptor: Int32) throws -> String {
        var line: [UInt8] = []
        var byte: UInt8 = 0
        while read(descriptor, &byte, 1) == 1, byte != UInt8(ascii: "\n") { line.append(byte) }
        guard byte == UInt8(ascii: "\n") else { throw SystemError("postgres-cluster") }
        return String(decoding: line, as: UTF8.self)
    }

    /// `stop`, `start` or `restart`; returns when it is done.
    func command(_ word: String) async throws {
        let keeper = keeper
        try await Self.helper.run {
            _ = write(keeper, word + "\n", word.utf8.count + 1)
            _ = try Self.line(from: keeper)
        }
    }

    private static let helper = ThreadPool(name: "cluster", threads: 2, capacity: 1000)

    func address(of database: String, user: String = "gptio") -> Secret {
        Secret("postgresql://\(user)@/\(database)?host=\(directory)")
    }

    /// A new database that `gptio` has the specification's privileges on, and no more.
    /// - Parameter template: the database that it is a copy of, in which nobody is.
    func makeDatabase(copying template: String? = nil) async throws -> String {
        try await makeUser()
        let name = "d\(databases.add(1, ordering: .relaxed).newValue)"
        try await run("CREATE DATABASE \(name) TEMPLATE \(template ?? "template1")")
        try await run("GRANT ALL PRIVILEGES ON DATABASE \(name) TO gptio")
        if template == nil { try await run("GRANT ALL ON SCHEMA public TO gptio", in: name) }
        return name
    }

    /// Makes `gptio`, if it is not there yet.
    func makeUser() async throws {
        if asked.exchange(true, ordering: .sequentiallyConsistent) {
            await isReady.wait()
            return
        }
        defer { isReady.open() }
        try await run("CREATE USER gptio WITH ENCRYPTED PASSWORD 'foobar'")
    }

    private let asked = Atomic(false)
    private let isReady = Gate()

    /// Runs a statement as the server's superuser, outside of any transaction.
    @discardableResult
    func run(_ statement: String, in database: String = "postgres") async throws -> [Row] {
        // Of a standby too.
        let address = Secret(
            address(of: database, user: "postgres").revealed + "&target_session_attrs=any")
        let handle = try await Self.helper.run { try PostgresHandle.connect(address) }
        return try await Self.run(statement, on: handle)
    }

    @EventLoop private static func run(
        _ statement: String, on handle: PostgresHandle
    ) async throws -> [Row] {
        let connection = try PostgresConnection(handle)
        defer { connection.close() }
        let late = DatabaseError(.connection, "no answer in time", during: statement)
        let timer = EventLoop.schedule(afterMilliseconds: 120_000) { connection.giveUp(late) }
        defer { timer.cancel() }
        return try await connection.run([PostgresStatement(statement)], within: 120_000)
            .first?.rows ?? []
    }

    /// Waits until few enough tests use the server.
    func enter() async { await slots.take() }

    func leave() { slots.giveBack() }
}

/// A number of permits.
private final class Slots: Sendable {
    private struct State {
        var free: Int
        var waiting: [CheckedContinuation<Void, Never>] = []
    }

    private let state: Mutex<State>

    init(_ count: Int) {
        state = Mutex(State(free: count))
    }

    func take() async {
        await withCheckedContinuation { continuation in
            let isFree = state.withLock { state in
                if state.free > 0 {
                    state.free -= 1
                    return true
                }
                state.waiting.append(continuation)
                return false
            }
            if isFree { continuation.resume() }
        }
    }

    func giveBack() {
        let next = state.withLock { state -> CheckedContinuation<Void, Never>? in
            if state.waiting.isEmpty {
                state.free += 1
                return nil
            }
            return state.waiting.removeFirst()
        }
        next?.resume()
    }
}
