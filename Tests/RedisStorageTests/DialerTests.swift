internal import EventLoop
internal import Glibc
internal import ProxyGPT
internal import TestSupport
internal import Testing

@testable internal import RedisStorage

/// Which of a name's addresses is taken.
@Suite struct DialerTests {
    /// An address whose port takes no more connections and refuses none either.
    private final class Swallower {
        private var descriptors: [Int32] = []

        init(_ address: String, port: UInt16) throws {
            var name = sockaddr_in()
            name.sin_family = sa_family_t(AF_INET)
            name.sin_port = port.bigEndian
            name.sin_addr.s_addr = inet_addr(address)
            for index in 0..<4 {
                let type = SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue
                let descriptor = socket(AF_INET, Int32(type), 0)
                descriptors.append(descriptor)
                let code = withUnsafePointer(to: &name) { pointer in
                    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                        let length = socklen_t(MemoryLayout<sockaddr_in>.size)
                        // The first one listens, and the others fill its queue.
                        return index == 0
                            ? bind(descriptor, $0, length) : connect(descriptor, $0, length)
                    }
                }
                if index == 0, code != 0 || listen(descriptor, 0) != 0 {
                    throw SystemError("bind")
                }
            }
        }

        deinit {
            for descriptor in descriptors { close(descriptor) }
        }
    }

    @Test func `an address that swallows packets does not hide the next one`() async throws {
        let port = freePort()
        let server = try await RedisServer(["--port", "\(port)", "--bind", "127.0.0.1"])
        let swallower = try Swallower("127.0.0.2", port: port)
        let dialer = Dialer(
            try RedisAddress("redis://somewhere:\(port)"),
            names: NameLookUp { _ in ["127.0.0.2", "127.0.0.1"] })
        // Half of it passes with the first; a busy machine has the rest.
        let connection = try await dialer.open(connectTimeout: 20_000) { _, _ in }
        #expect(await connection.isOpen)
        await connection.close()
        withExtendedLifetime((server, swallower)) {}
    }

    @Test func `a connection that is announced is established, however long the loop's turns are`()
        async throws
    {
        let server = try await RedisServer()
        let path = server.socket
        // In a process of its own: all tests of this one share its loop.
        await #expect(processExitsWith: .success) { [path = path as String] in
            _ = Loop.started
            let dialer = Dialer(try RedisAddress("unix://\(path)"))
            let isOpen = await Self.open(with: dialer)
            #expect(isOpen == [true, true])
        }
    }

    @Test func `a caller that waits for a connection gets it, though the loop turned meanwhile`()
        async throws
    {
        let server = try await RedisServer()
        let path = server.socket
        await #expect(processExitsWith: .success) { [path = path as String] in
            _ = Loop.started
            // Ends the process where a wait does not end.
            alarm(60)
            // This task prefers no executor: on its way into a function of the loop's it is a new job,
            // and comes behind these, which are a turn's worth.
            let hog = EventLoop.spawn {
                while !Task.isCancelled {
                    usleep(2000)
                    await Task.yield()
                }
            }
            for _ in 0..<50 {
                let dialer = Dialer(try RedisAddress("unix://\(path)"))
                let connection = try await dialer.open(connectTimeout: 20_000) { _, _ in }
                await connection.close()
            }
            hog.cancel()
        }
        withExtendedLifetime(server) {}
    }

    /// Opens two connections while many a turn takes longer than the last answer may, and says of each
    /// whether it stands.
    @EventLoop private static func open(with dialer: Dialer) async -> [Bool] {
        let hog = EventLoop.spawn {
            var generator = SeededGenerator(seed: 1)
            while !Task.isCancelled {
                if Bool.random(using: &generator) { usleep(30_000) }
                await EventLoop.nextTurn()
            }
        }
        defer { hog.cancel() }
        var isOpen: [Bool] = []
        for _ in 0..<1000 where isOpen.count < 2 {
            let opened = try? await dialer.open(
                connectTimeout: 20_000, budget: 20, probe: "test:probe", scripts: []
            ) { _, _ in }
            guard let connection = opened?.connection else { continue }
            await EventLoop.nextTurn()
            isOpen.append(connection.isOpen)
            connection.close()
        }
        return isOpen
    }
}
