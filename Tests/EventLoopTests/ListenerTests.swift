@testable import EventLoop
import Glibc
import Testing

@Suite struct ListenerTests {
    /// The kernel's own bound; what is above it is the operator's to allow.
    private var kernelLimit: Int {
        let descriptor = open("/proc/sys/net/core/somaxconn", O_RDONLY)
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 16)
        let count = read(descriptor, &bytes, bytes.count)
        let line = bytes.prefix(max(0, count)).prefix { $0 > 0x20 }
        return Int(String(decoding: line, as: UTF8.self)) ?? 128
    }

    /// How many connections a listener takes, of `count`, while nobody accepts.
    private func waiting(at path: String, of count: Int) throws -> Int {
        var clients: [Int32] = []
        defer { for client in clients { close(client) } }
        let address = try Sockets.UnixAddress(path: path)
        for _ in 0..<count {
            let client = Glibc.socket(
                AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue), 0)
            clients.append(client)
            guard address.withPointer({ connect(client, $0, $1) }) == 0 else {
                return clients.count - 1
            }
        }
        return count
    }

    @Test func `a listener holds a burst of connections, whichever process made it`() throws {
        var template = Array("/tmp/listener-XXXXXX".utf8CString)
        let directory = try #require(mkdtemp(&template).map { String(cString: $0) })
        let path = directory + "/socket"
        defer {
            unlink(path)
            rmdir(directory)
        }
        let count = min(600, kernelLimit)
        let own = try Sockets.listener(at: path)
        #expect(try waiting(at: path, of: count) == count)
        close(own)

        let other = try Sockets.listener(at: path)
        #expect(listen(other, 1) == 0)
        try Sockets.setBacklog(of: other)
        #expect(try waiting(at: path, of: count) == count)
        close(other)
    }

    @Test func `the name of a socket is found out, where it has one`() throws {
        let path = "/tmp/listener-name-\(getpid())"
        defer { unlink(path) }
        let socket = try DatagramSocket(at: path)
        #expect(try Sockets.ownAddress(of: socket.descriptor).path == path)
        let nameless = try DatagramSocket()
        #expect(try Sockets.ownAddress(of: nameless.descriptor).path == nil)
        withExtendedLifetime(nameless) {}
    }
}
