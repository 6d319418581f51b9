// Unix datagram sockets: one message, no connection, and a receiver need not exist (unix(7)).

internal import CLinux
internal import Glibc

/// A unix datagram socket that stays open, to send from or to receive at.
package final class DatagramSocket: Sendable {
    package let descriptor: Int32

    /// A socket without an address, to send from.
    package init() throws(SystemError) {
        descriptor = Glibc.socket(
            AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw SystemError("socket") }
    }

    /// A socket that receives at `path`; replaces any socket there.
    package convenience init(at path: String) throws(SystemError) {
        let address = try Sockets.UnixAddress(path: path)
        address.removeSocket()
        try self.init()
        let result = address.withPointer { bind(descriptor, $0, $1) }
        guard result == 0 else { throw SystemError("bind \(path)") }
    }

    /// Whether a process receives at `path`: a name can outlive its socket.
    package static func isBound(at path: String) -> Bool {
        guard let address = try? Sockets.UnixAddress(path: path),
            let probe = try? DatagramSocket()
        else { return false }
        return address.withPointer { connect(probe.descriptor, $0, $1) } == 0
    }

    /// Takes over a socket that another process has bound.
    package init(adopting descriptor: Int32) {
        self.descriptor = descriptor
    }

    deinit {
        close(descriptor)
    }

    /// Sends a datagram; false when there is no receiver or, unless it may wait, when the
    /// receiver's queue is full.
    @discardableResult
    package func send(
        _ bytes: [UInt8], to address: Sockets.UnixAddress, mayWait: Bool = false
    ) -> Bool {
        let flags = Int32(mayWait ? MSG_NOSIGNAL : MSG_DONTWAIT | MSG_NOSIGNAL)
        return address.withPointer { sendto(descriptor, bytes, bytes.count, flags, $0, $1) }
            == bytes.count
    }

    /// Takes all datagrams that wait, and discards them.
    package func drain() {
        var byte: UInt8 = 0
        while recv(descriptor, &byte, 1, Int32(MSG_DONTWAIT)) >= 0 {}
    }
}
