internal import CLinux
internal import Glibc

/// The system calls on sockets that the modules above need, none of which blocks.
package enum Sockets {
    /// The address of a unix socket.
    package struct UnixAddress: Sendable {
        fileprivate var raw = sockaddr_un()
        fileprivate var length = socklen_t(MemoryLayout<sockaddr_un>.size)

        fileprivate init() {}

        /// The address of a path; one that begins with `@` is abstract. Throws when it is too long.
        package init(path: String) throws(SystemError) {
            var name = Array(path.utf8)
            guard name.count < MemoryLayout.size(ofValue: raw.sun_path) else {
                throw SystemError("address \(path)", code: ENAMETOOLONG)
            }
            if name.first == UInt8(ascii: "@") { name[0] = 0 }
            raw.sun_family = sa_family_t(AF_UNIX)
            withUnsafeMutableBytes(of: &raw.sun_path) { $0.copyBytes(from: name) }
            length = socklen_t(MemoryLayout<sa_family_t>.size + name.count)
        }

        /// The path; nil for an abstract address, and for a socket without a name.
        package var path: String? {
            let start = MemoryLayout<sa_family_t>.size
            guard Int(length) > start, Int(length) <= MemoryLayout<sockaddr_un>.size else {
                return nil
            }
            let name = withUnsafeBytes(of: raw) { Array($0[start..<Int(length)]) }
            let bytes = name.prefix { $0 != 0 }
            return bytes.isEmpty ? nil : String(decoding: bytes, as: UTF8.self)
        }

        /// Removes a socket at the path, and nothing else.
        func removeSocket() {
            guard let path else { return }
            var status = stat()
            if lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFSOCK { unlink(path) }
        }

        func withPointer<T>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> T) -> T {
            withUnsafePointer(to: raw) { raw in
                raw.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, length) }
            }
        }
    }

    /// Connections that may wait in a listening socket: those of all clients that come back at once
    /// after a restart. The kernel caps it at net.core.somaxconn.
    private static let backlog: Int32 = 4096

    /// Opens a listening socket at `path`; replaces any socket there.
    package static func listener(at path: String) throws(SystemError) -> Int32 {
        let address = try UnixAddress(path: path)
        address.removeSocket()
        let descriptor = Glibc.socket(
            AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw SystemError("socket") }
        do throws(SystemError) {
            guard address.withPointer({ bind(descriptor, $0, $1) }) == 0 else {
                throw SystemError("bind \(path)")
            }
            try setBacklog(of: descriptor)
            return descriptor
        } catch {
            close(descriptor)
            throw error
        }
    }

    /// Lets a bound socket hold the connections of a burst, whichever process made it.
    package static func setBacklog(of listener: Int32) throws(SystemError) {
        guard listen(listener, backlog) == 0 else { throw SystemError("listen") }
    }

    /// Accepts a connection; -1 with errno set when there is none.
    package static func accept(from listener: Int32) -> Int32 {
        proxy_gpt_accept(listener)
    }

    package static func stopBlocking(_ descriptor: Int32) throws(SystemError) {
        let flags = fcntl(descriptor, F_GETFL, 0)
        guard flags >= 0, fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) == 0 else {
            throw SystemError("fcntl")
        }
    }

    /// Lets reads and writes on a blocking socket fail after this time.
    package static func limitBlocking(_ descriptor: Int32, seconds: Int) {
        var timeout = timeval(tv_sec: seconds, tv_usec: 0)
        let size = socklen_t(MemoryLayout<timeval>.size)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, size)
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &timeout, size)
    }

    /// Whether a read (or write) would not wait just now.
    package static func isReady(_ descriptor: Int32, for readiness: Readiness) -> Bool {
        let events = readiness.contains(.readable) ? POLLIN : POLLOUT
        var entry = pollfd(fd: descriptor, events: Int16(events), revents: 0)
        return poll(&entry, 1, 0) > 0
    }

    /// Copies the bytes that can be read without taking them away. 0 at the end, -1 when nothing is
    /// there.
    package static func peek(_ descriptor: Int32, into buffer: UnsafeMutableRawBufferPointer) -> Int
    {
        recv(descriptor, buffer.baseAddress, buffer.count, Int32(MSG_PEEK | MSG_DONTWAIT))
    }

    /// Writes as much as the socket takes at once, and returns how much that was; -1 when nothing.
    @discardableResult
    package static func send(_ bytes: [UInt8], to descriptor: Int32) -> Int {
        Glibc.send(
            descriptor, bytes, bytes.count, Int32(MSG_DONTWAIT | MSG_NOSIGNAL))
    }

    /// The address that a unix socket is bound to.
    package static func ownAddress(of socket: Int32) throws(SystemError) -> UnixAddress {
        var address = UnixAddress()
        var length = socklen_t(MemoryLayout<sockaddr_un>.size)
        let result = withUnsafeMutablePointer(to: &address.raw) { raw in
            raw.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                getsockname(socket, $0, &length)
            }
        }
        guard result == 0 else { throw SystemError("getsockname") }
        return address
    }

    /// Sends a descriptor to a datagram socket; false when its queue is full.
    package static func pass(
        _ descriptor: Int32, through socket: Int32, to address: UnixAddress
    ) -> Bool {
        var raw = address.raw
        var mark: UInt8 = 1
        return proxy_gpt_send_descriptor(socket, &raw, &mark, 1, descriptor) == 1
    }

    /// Takes a descriptor that was passed; nil when none waits.
    package static func receiveDescriptor(from socket: Int32) -> Int32? {
        var mark: UInt8 = 0
        var descriptor: Int32 = -1
        while proxy_gpt_receive_descriptor(socket, &mark, 1, &descriptor) >= 0 {
            if descriptor >= 0 { return descriptor }
        }
        return nil
    }
}
