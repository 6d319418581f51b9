// A FastCGI client as a web server is one: blocking, over a unix socket, on a thread of its own.
//
// Written from the FastCGI specification and not from libfcgi, so that both ends can be wrong in
// their own way only.

import EventLoop
import Glibc

/// Makes the records of a request.
enum Record {
    static func make(_ type: UInt8, _ content: [UInt8], id: Int = 1, padding: Int = 0) -> [UInt8] {
        let high = UInt8(content.count >> 8), low = UInt8(content.count & 255)
        return [1, type, UInt8(id >> 8), UInt8(id & 255), high, low, UInt8(padding), 0] + content
            + [UInt8](repeating: 0xAA, count: padding)
    }

    static func begin(id: Int = 1, keepsConnection: Bool = true) -> [UInt8] {
        make(1, [0, 1, keepsConnection ? 1 : 0, 0, 0, 0, 0, 0], id: id)
    }

    static func parameters(_ parameters: [String: String], id: Int = 1, padding: Int = 0) -> [UInt8]
    {
        func length(_ count: Int) -> [UInt8] {
            if count < 128 { return [UInt8(count)] }
            return [
                UInt8(count >> 24) | 0x80, UInt8(count >> 16 & 255), UInt8(count >> 8 & 255),
                UInt8(count & 255),
            ]
        }
        let content = parameters.sorted { $0.key < $1.key }.flatMap { name, value in
            length(name.utf8.count) + length(value.utf8.count) + Array(name.utf8)
                + Array(value.utf8)
        }
        return make(4, content, id: id, padding: padding)
    }

    /// A whole head: the beginning and all parameters.
    static func head(
        _ parameters: [String: String], padding: Int = 0, keepsConnection: Bool = true
    ) -> [UInt8] {
        begin(keepsConnection: keepsConnection)
            + (parameters.isEmpty ? [] : self.parameters(parameters, padding: padding))
            + make(4, [])
    }

    static func body(_ bytes: [UInt8], pieces: Int = 0xFFFF) -> [UInt8] {
        var result: [UInt8] = []
        var rest = bytes[...]
        while !rest.isEmpty {
            result += make(5, Array(rest.prefix(pieces)), padding: rest.count % 8)
            rest = rest.dropFirst(pieces)
        }
        return result + make(5, [])
    }

    static func request(_ parameters: [String: String] = [:], body: [UInt8] = []) -> [UInt8] {
        head(parameters) + self.body(body)
    }
}

/// What came back.
enum Answer: Equatable, Sendable {
    /// END_REQUEST came after this output.
    case whole([UInt8])
    /// The connection ended after this output, with these bytes that are no record.
    case cut([UInt8], garbage: [UInt8])
    case timeout
}

/// One connection to the server. Its calls block: use `onThread`.
final class FastCGIClient: Sendable {
    let descriptor: Int32
    private static let threads = ThreadPool(name: "client", threads: 16, capacity: 1000)

    /// Connects to a listening socket's path.
    init(path: String) throws {
        descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        var address = unixAddress(path)
        let result = withUnsafePointer(to: &address) { address in
            address.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard result == 0 else { throw SystemError("connect") }
        Sockets.limitBlocking(descriptor, seconds: 120)
    }

    deinit {
        close(descriptor)
    }

    /// Runs blocking calls off the tests' own threads.
    static func onThread<T: Sendable>(_ body: @escaping @Sendable () throws -> T) async throws -> T
    {
        try await threads.run(body)
    }

    func send(_ bytes: [UInt8]) {
        var start = 0
        while start < bytes.count {
            let count = bytes.withUnsafeBytes { bytes in
                Glibc.send(
                    descriptor, bytes.baseAddress?.advanced(by: start), bytes.count - start,
                    Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { return }
            start += count
        }
    }

    func hangUp() {
        shutdown(descriptor, Int32(SHUT_RDWR))
    }

    private func read(_ count: Int) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: count)
        var have = 0
        while have < count {
            let more = bytes.withUnsafeMutableBytes { bytes in
                recv(descriptor, bytes.baseAddress?.advanced(by: have), count - have, 0)
            }
            // A unix socket that is closed with something unread resets instead of ending.
            if more < 0 && errno != ECONNRESET { return nil }
            if more <= 0 { break }
            have += more
        }
        return Array(bytes.prefix(have))
    }

    /// Reads until the request's end or the connection's.
    func answer() -> Answer {
        var output: [UInt8] = []
        while true {
            guard let header = read(8) else { return .timeout }
            guard header.count == 8, header[0] == 1 else { return .cut(output, garbage: header) }
            let length = Int(header[4]) << 8 | Int(header[5])
            guard let content = read(length + Int(header[6])) else { return .timeout }
            switch header[1] {
            case 3: return .whole(output)
            case 6: output += content.prefix(length)
            default: return .cut(output, garbage: header)
            }
        }
    }

    /// Sends a request and reads its answer.
    func call(_ parameters: [String: String] = [:], body: [UInt8] = []) async throws -> Answer {
        try await Self.onThread {
            self.send(Record.request(parameters, body: body))
            return self.answer()
        }
    }
}

func unixAddress(_ path: String) -> sockaddr_un {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) {
        $0.copyBytes(from: Array(path.utf8).prefix($0.count - 1))
    }
    return address
}
