import EventLoop
import FastCGI
import Glibc
import Synchronization

/// A listening and a handover socket in a directory of their own, and the servers on them.
final class Pool: Sendable {
    private let directory: String
    private let listener: Int32
    private let handover: Int32

    var path: String { directory + "/worker.sock" }

    init() throws {
        var template = Array("/tmp/fastcgi-tests-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw SystemError("mkdtemp") }
        directory = String(
            decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        listener = try Self.bound(directory + "/worker.sock", SOCK_STREAM)
        listen(listener, 128)
        handover = try Self.bound(directory + "/handover.sock", SOCK_DGRAM)
    }

    deinit {
        close(listener)
        close(handover)
        unlink(directory + "/worker.sock")
        unlink(directory + "/handover.sock")
        rmdir(directory)
    }

    private static func bound(_ path: String, _ type: __socket_type) throws -> Int32 {
        let descriptor = socket(AF_UNIX, Int32(type.rawValue | SOCK_CLOEXEC.rawValue), 0)
        var address = unixAddress(path)
        let result = withUnsafePointer(to: &address) { address in
            address.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard result == 0 else { throw SystemError("bind") }
        return descriptor
    }

    /// Starts one more server of the pool, as another process would with sockets of its own.
    @EventLoop func serve(
        maxInFlight: Int = 100, handsOver: Bool = false,
        _ serve: @escaping @EventLoop (FastCGIRequest) async -> Void
    ) throws -> FastCGIServer {
        let server = try FastCGIServer(
            .init(
                listener: dup(listener), handover: handsOver ? dup(handover) : nil,
                maxInFlight: maxInFlight),
            serve: serve)
        try server.start()
        return server
    }

    func connect() throws -> FastCGIClient {
        try FastCGIClient(path: path)
    }
}

/// Runs `body` on the loop, which lives as long as the test process.
func onLoop<T: Sendable>(_ body: @escaping @EventLoop () async throws -> T) async throws -> T {
    EventLoop.startOnOwnThread()
    return try await Task { @EventLoop in try await body() }.value
}

extension FastCGIRequest {
    func parameter(_ name: String) -> String? {
        parameters.first { $0.name == name }?.value
    }

    /// Answers with the body as it came.
    @EventLoop func echo() async {
        do throws(PeerGone) {
            while let bytes = try await readBody() { try await write(bytes, flush: true) }
            await finish()
        } catch {
            abort()
        }
    }

    @EventLoop func answer(_ text: String) async {
        try? await write(Array(text.utf8), flush: false)
        await finish()
    }
}
