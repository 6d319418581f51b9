internal import Glibc
internal import Testing

@testable internal import EventLoop

@Suite struct DatagramTests {
    private func withPath(_ body: (String) throws -> Void) throws {
        var template = Array("/tmp/datagrams-XXXXXX".utf8CString)
        guard let directory = mkdtemp(&template).map({ String(cString: $0) }) else {
            throw SystemError("mkdtemp")
        }
        defer {
            unlink(directory + "/socket")
            rmdir(directory)
        }
        try body(directory + "/socket")
    }

    @Test func `a datagram arrives, and draining takes all that wait`() throws {
        try withPath { path in
            let receiver = try DatagramSocket(at: path)
            let sender = try DatagramSocket()
            let address = try Sockets.UnixAddress(path: path)
            for _ in 0..<3 { #expect(sender.send([1], to: address)) }
            #expect(Sockets.isReady(receiver.descriptor, for: .readable))
            receiver.drain()
            #expect(!Sockets.isReady(receiver.descriptor, for: .readable))
        }
    }

    @Test func `a name that begins with @ is no file`() throws {
        let name = "@datagrams-\(getpid())"
        let receiver = try DatagramSocket(at: name)
        let sender = try DatagramSocket()
        #expect(sender.send(Array("READY=1".utf8), to: try Sockets.UnixAddress(path: name)))
        var buffer = [UInt8](repeating: 0, count: 64)
        let count = recv(receiver.descriptor, &buffer, 64, Int32(MSG_DONTWAIT))
        #expect(String(decoding: buffer.prefix(max(0, count)), as: UTF8.self) == "READY=1")
        #expect(access(name, F_OK) != 0)
        let nobody = try Sockets.UnixAddress(path: "@nobody-\(getpid())")
        #expect(!sender.send([1], to: nobody, mayWait: true))
    }

    @Test func `sending without a receiver, or into a full queue, fails at once`() throws {
        try withPath { path in
            let sender = try DatagramSocket()
            let address = try Sockets.UnixAddress(path: path)
            #expect(!sender.send([1], to: address))
            let receiver = try DatagramSocket(at: path)
            var sent = 0
            while sent < 100_000, sender.send([1], to: address) { sent += 1 }
            #expect(sent > 0 && sent < 100_000)
            withExtendedLifetime(receiver) {}
        }
    }

    @Test func `a socket replaces a forgotten one, but nothing else`() throws {
        try withPath { path in
            _ = try DatagramSocket(at: path)
            let receiver = try DatagramSocket(at: path)
            let sender = try DatagramSocket()
            #expect(sender.send([1], to: try Sockets.UnixAddress(path: path)))
            withExtendedLifetime(receiver) {}
            unlink(path)
            close(creat(path, 0o600))
            #expect(throws: SystemError.self) { try DatagramSocket(at: path) }
        }
    }

    @Test func `a path that no address can hold is refused`() {
        let path = "/" + String(repeating: "x", count: 200)
        #expect(throws: SystemError.self) { try Sockets.UnixAddress(path: path) }
    }
}
