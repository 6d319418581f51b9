// A real redis-server on a unix socket in a directory of its own.
//
// It runs below a shell that ends it when the test process is gone, however that went: the shell
// reads from a socket whose other end is held here.

internal import Glibc
internal import Logging
internal import ProxyGPT
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import EventLoop
@testable internal import RedisStorage

enum Loop {
    /// The loop that all tests of the process share.
    static let started: Void = {
        // As in the programs, see `Signals.block`.
        signal(SIGPIPE, SIG_IGN)
        EventLoop.startOnOwnThread()
    }()
}

final class RedisServer: Sendable {
    private struct Running {
        let guardian: pid_t
        let lifeline: Int32
    }

    let directory: String
    private let options: [String]
    private let running = Mutex<Running?>(nil)

    var socket: String { directory + "/redis.sock" }

    /// - Parameter options: beyond those that make it small and forgetful.
    init(_ options: [String] = []) async throws {
        _ = Loop.started
        var template = Array("/tmp/redis-storage-XXXXXX".utf8CString)
        guard let path = mkdtemp(&template) else { throw SystemError("mkdtemp") }
        directory = String(cString: path)
        self.options = options
        try await start()
    }

    deinit {
        kill()
        for name in ["redis.sock", "pid", "dump.rdb"] { unlink(directory + "/" + name) }
        rmdir(directory)
    }

    func start() async throws {
        unlink(directory + "/pid")
        var ends: [Int32] = [0, 0]
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        guard socketpair(AF_UNIX, kind, 0, &ends) == 0 else { throw SystemError("socketpair") }
        let guardian = try startProcess(
            [
                "/bin/sh", "-c",
                """
                # A group that loses its parent while the server is paused is sent SIGHUP.
                trap '' HUP
                directory=$1; shift
                redis-server "$@" < /dev/null > /dev/null &
                echo $! > $directory/new && mv $directory/new $directory/pid
                read nothing; kill -9 $!; wait
                """,
                "sh", directory, "--port", "0", "--unixsocket", socket, "--dir", directory,
                "--save", "", "--appendonly", "no", "--databases", "4",
            ] + options, input: ends[0])
        close(ends[0])
        running.withLock { $0 = Running(guardian: guardian, lifeline: ends[1]) }
        try await eventually { access(self.directory + "/pid", F_OK) == 0 && self.accepts }
    }

    private var accepts: Bool {
        guard let address = try? Sockets.UnixAddress(path: socket) else { return false }
        let descriptor = Glibc.socket(
            AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        defer { close(descriptor) }
        return address.withPointer { connect(descriptor, $0, $1) == 0 }
    }

    private var pid: pid_t {
        guard let file = fopen(directory + "/pid", "re") else { return 0 }
        defer { fclose(file) }
        var buffer = [CChar](repeating: 0, count: 32)
        return fgets(&buffer, 32, file) == nil ? 0 : atoi(buffer)
    }

    /// Ends the server at once.
    func kill() {
        guard let ended = running.withLock({ $0.take() }) else { return }
        close(ended.lifeline)
        waitpid(ended.guardian, nil, 0)
        unlink(socket)
    }

    /// Lets the server answer nothing until `resume`.
    func pause() {
        let pid = pid
        if pid > 0 { Glibc.kill(pid, SIGSTOP) }
    }

    func resume() {
        let pid = pid
        if pid > 0 { Glibc.kill(pid, SIGCONT) }
    }

    func address(_ credentials: String = "", database: Int = 0) throws -> RedisAddress {
        try RedisAddress("unix://\(credentials)\(socket)?db=\(database)")
    }

    /// Sends a command on a connection of its own.
    @discardableResult
    func ask(_ arguments: String..., credentials: String = "", database: Int = 0) async throws
        -> RedisReply
    {
        let client = try await client(address(credentials, database: database))
        defer { EventLoop.spawn { client.stop() } }
        return try await client.ask(arguments.map { Array($0.utf8) })
    }

    /// A client that has tried once.
    func client(_ address: RedisAddress? = nil, budget: Int64 = 10_000) async throws -> RedisClient
    {
        let client = RedisClient(
            try address ?? self.address(), prefix: "test:",
            tuning: RedisClient.Tuning(budget: budget, connectTimeout: 10_000), identifiers: ids,
            logger: silent)
        await client.start()
        await client.firstTry()
        return client
    }
}

/// A server on a unix socket that sends one answer to every client.
final class Stranger: Sendable {
    let path: String
    private let listener: Int32

    init(_ greeting: String) throws {
        path = "/tmp/redis-stranger-\(getpid())-\(ids.next())"
        listener = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        let isBound = try Sockets.UnixAddress(path: path).withPointer {
            bind(listener, $0, $1) == 0
        }
        guard isBound, listen(listener, 16) == 0 else { throw SystemError("bind") }
        startThread(name: "stranger") { [listener] in
            while case let peer = Sockets.accept(from: listener), peer >= 0 {
                Sockets.send(Array(greeting.utf8), to: peer)
                // Until the peer closes: it has got everything.
                var buffer = [UInt8](repeating: 0, count: 4096)
                while recv(peer, &buffer, buffer.count, 0) > 0 {}
                Glibc.close(peer)
            }
            // Here, or another's socket could have the number while this one is asked.
            Glibc.close(listener)
        }
    }

    func close() {
        shutdown(listener, Int32(SHUT_RDWR))
        unlink(path)
    }
}
