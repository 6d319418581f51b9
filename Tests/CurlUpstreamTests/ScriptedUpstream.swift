import EventLoop
import Glibc
import Synchronization

/// An upstream on loopback that does byte by byte what a test tells it: one thread for each
/// connection, which runs the script from accept to close.
final class ScriptedUpstream: Sendable {
    let port: UInt16
    private let listener: Int32
    private let accepted = Mutex(0)

    /// - Parameter script: runs for each connection, told how many there were before it.
    init(_ script: @escaping @Sendable (Connection, Int) -> Void) {
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                _ = bind(listener, $0, length)
                _ = listen(listener, 1024)
                _ = getsockname(listener, $0, &length)
            }
        }
        self.listener = listener
        port = UInt16(bigEndian: address.sin_port)
        startThread(name: "accepting") { [weak self] in
            while true {
                let descriptor = Sockets.accept(from: listener)
                guard descriptor >= 0 else { break }
                let number = self?.accepted.withLock { count in
                    defer { count += 1 }
                    return count
                }
                guard let number else { break }
                startThread(name: "connection") { script(Connection(descriptor), number) }
            }
            close(listener)
        }
    }

    /// One that answers every request alike and keeps its connections.
    convenience init(answering text: String) {
        self.init { connection, _ in
            while connection.readRequest() != nil { connection.write(text) }
        }
    }

    deinit {
        shutdown(listener, Int32(SHUT_RDWR))
    }

    /// How many connections there have been.
    var connections: Int { accepted.withLock { $0 } }

    func url(_ path: String = "/v1/x") -> [UInt8] {
        Array("http://127.0.0.1:\(port)\(path)".utf8)
    }
}

/// One connection of a `ScriptedUpstream`. Its calls block, at most two minutes: no test waits for that.
final class Connection: Sendable {
    struct Request {
        let head: String
        let body: [UInt8]

        var line: String { String(head.prefix { $0 != "\r\n" }) }

        func values(of name: String) -> [String] {
            head.split(separator: "\r\n").dropFirst().compactMap { line in
                let parts = line.split(separator: ":", maxSplits: 1)
                guard parts.count == 2, parts[0].lowercased() == name.lowercased() else {
                    return nil
                }
                return String(parts[1].drop { $0 == " " })
            }
        }
    }

    private let descriptor: Int32
    private let kept = Mutex<[UInt8]>([])

    init(_ descriptor: Int32) {
        self.descriptor = descriptor
        Sockets.limitBlocking(descriptor, seconds: 120)
        var one: Int32 = 1
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one, 4)
    }

    /// Connects to a port of the loopback.
    convenience init(to port: UInt16) {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        address.sin_port = port.bigEndian
        withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                _ = connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        self.init(descriptor)
    }

    deinit {
        Glibc.close(descriptor)
    }

    /// Reads some bytes; nil at the end of the connection, in whichever way it ended.
    func read(atMost count: Int = 65536) -> [UInt8]? {
        let early = kept.withLock { kept in
            defer { kept = [] }
            return kept
        }
        if !early.isEmpty { return early }
        var buffer = [UInt8](repeating: 0, count: count)
        let length = recv(descriptor, &buffer, count, 0)
        return length > 0 ? Array(buffer.prefix(length)) : nil
    }

    /// Reads a head up to its empty line; nil at the end of the connection.
    func readHead() -> String? {
        var bytes: [UInt8] = []
        while true {
            guard let more = read() else { return nil }
            let from = max(0, bytes.count - 3)
            bytes += more
            if let end = endOfHead(bytes, from: from) {
                kept.withLock { $0 = Array(bytes[end...]) }
                return String(decoding: bytes[..<(end - 4)], as: UTF8.self)
            }
        }
    }

    private func endOfHead(_ bytes: [UInt8], from: Int) -> Int? {
        guard bytes.count >= 4 else { return nil }
        for index in from...(bytes.count - 4)
        where bytes[index..<(index + 4)].elementsEqual([13, 10, 13, 10]) {
            return index + 4
        }
        return nil
    }

    /// Reads a whole request whose length its head tells, or that is chunked (kept as it came).
    func readRequest() -> Request? {
        guard let head = readHead() else { return nil }
        let bare = Request(head: head, body: [])
        var body: [UInt8] = []
        if let text = bare.values(of: "content-length").first, let length = Int(text) {
            while body.count < length {
                guard let more = read() else { return nil }
                body += more
            }
        } else if bare.values(of: "transfer-encoding").first == "chunked" {
            while !body.suffix(5).elementsEqual("0\r\n\r\n".utf8) {
                guard let more = read() else { return nil }
                body += more
            }
        }
        return Request(head: head, body: body)
    }

    /// Returns the bytes written, fewer when the peer has gone.
    @discardableResult
    func write(_ bytes: [UInt8]) -> Int {
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes {
                send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { break }
            sent += count
        }
        return sent
    }

    @discardableResult
    func write(_ text: String) -> Int { write(Array(text.utf8)) }

    /// Writes what the peer's buffers take at once; -1 when they are full.
    func writeWithoutWaiting(_ bytes: [UInt8]) -> Int {
        Sockets.send(bytes, to: descriptor)
    }

    /// Closes this side's half.
    func finishWriting() {
        shutdown(descriptor, Int32(SHUT_WR))
    }

    /// Waits until the peer has closed or reset the connection.
    func waitForEnd() {
        while read() != nil {}
    }

    /// Ends the connection by a reset instead of a close.
    func reset() {
        var option = linger(l_onoff: 1, l_linger: 0)
        setsockopt(
            descriptor, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
        var address = sockaddr()
        address.sa_family = sa_family_t(AF_UNSPEC)
        connect(descriptor, &address, socklen_t(MemoryLayout<sockaddr>.size))
    }
}
