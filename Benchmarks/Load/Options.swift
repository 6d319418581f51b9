import Glibc
import NIOCore

/// What the command line asks for.
struct Options: Sendable {
    /// Why a command line is not understood.
    struct Problem: Error {
        let sentence: String
    }

    /// What a run of subscribers opens.
    enum Transport: String {
        case serverSentEvents = "events"
        case webSocket = "websocket"
    }

    /// Where calls go, and the first address of subscribers.
    var url: URL
    /// All that subscribers are spread over.
    var urls: [URL]
    var unixPath: String?
    var method: String
    var headers: [String]
    var body: [UInt8]
    var connections = 1
    var requests: Int?
    var seconds: Double = 120
    var rate: Double?
    var expectsStream = false
    var keepsAlive = true
    var ramp: Double = 0
    var timeout: Double = 30
    var subscribes: Transport?
    var stalled = 0

    static let help = """
        usage: load-generator --url URL (--requests N | --seconds S) [options]

          --url URL              http:// and a loopback address
          --unix PATH            connect to this socket; the URL gives host and path only
          --method M             default GET, or POST where there is a body
          --header 'Name: value' may repeat
          --body TEXT, --body-file PATH
          --connections N        calls open at once at most (default 1, at most 20000)
          --requests N           stop after that many calls, or 120 s
          --seconds S            start no call after that time (at most 120)
          --rate R               start R calls a second, on time whether answers come or not (open
                                 loop); a call's time then counts from the moment it was due
          --stream               an answer is complete only when it ends in "data: [DONE]"
          --no-keep-alive        a connection for each call; --keep-alive is the default
          --ramp-ms N            open the connections over that time
          --timeout-ms N         give a call up after that time (default 30000)

        With --subscribe events or --subscribe websocket the N connections are streams that stay open.
        --url may repeat, they are spread over all. A line says when all are open, and at the end of
        standard input, or after --seconds, another what came: `@` with 16 digits, a moment in
        microseconds since 1970, counts as one delivery. --stalled K of them read nothing.

        Prints one JSON object. Times are microseconds, right to within 0.4 percent; they are of
        calls that succeeded, and p50, p90 and p99 round up.
        """

    static func read(_ arguments: [String]) throws(Problem) -> Options {
        var values: [String: String] = [:]
        var headers: [String] = []
        var addresses: [String] = []
        var flags: Set<String> = []
        var rest = arguments[...]
        while let name = rest.popFirst() {
            switch name {
            case "--stream", "--keep-alive", "--no-keep-alive":
                flags.insert(name)
            case "--url", "--unix", "--method", "--header", "--body", "--body-file",
                "--connections", "--requests", "--seconds", "--rate", "--ramp-ms", "--timeout-ms",
                "--subscribe", "--stalled":
                guard let value = rest.popFirst() else {
                    throw Problem(sentence: "\(name) needs a value")
                }
                switch name {
                case "--header": headers.append(value)
                case "--url": addresses.append(value)
                default: values[name] = value
                }
            default:
                throw Problem(sentence: "unknown option \(name)")
            }
        }
        guard let first = addresses.first else { throw Problem(sentence: "--url is missing") }
        guard values["--requests"] != nil || values["--seconds"] != nil else {
            throw Problem(sentence: "--requests or --seconds is missing")
        }
        for header in headers where !isHeader(header) {
            throw Problem(sentence: "this is no header: \(header)")
        }
        let body = try body(values)
        var urls: [URL] = []
        for address in addresses { urls.append(try URL(address)) }
        var options = Options(
            url: try URL(first), urls: urls, unixPath: values["--unix"],
            method: values["--method"] ?? (body.isEmpty ? "GET" : "POST"), headers: headers,
            body: body)
        func number(_ name: String, _ range: ClosedRange<Double>) throws(Problem) -> Double? {
            guard let text = values[name] else { return nil }
            guard let value = Double(text), range.contains(value) else {
                throw Problem(
                    sentence: "\(name) is from \(range.lowerBound) to \(range.upperBound)")
            }
            return value
        }
        if let count = try number("--connections", 1...20_000) { options.connections = Int(count) }
        options.requests = try number("--requests", 1...50_000_000).map { Int($0) }
        if let seconds = try number("--seconds", 0.01...120) { options.seconds = seconds }
        options.rate = try number("--rate", 0.01...1_000_000)
        if let ramp = try number("--ramp-ms", 0...60_000) { options.ramp = ramp / 1000 }
        if let timeout = try number("--timeout-ms", 1...120_000) {
            options.timeout = timeout / 1000
        }
        if let kind = values["--subscribe"] {
            options.subscribes = Transport(rawValue: kind)
            guard options.subscribes != nil else {
                throw Problem(sentence: "--subscribe is events or websocket")
            }
        } else if urls.count > 1 {
            throw Problem(sentence: "only --subscribe takes several addresses")
        }
        if let count = try number("--stalled", 0...20_000) { options.stalled = Int(count) }
        options.expectsStream = flags.contains("--stream")
        options.keepsAlive = !flags.contains("--no-keep-alive")
        return options
    }

    private static func isHeader(_ line: String) -> Bool {
        line.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F }
            && (line.firstIndex(of: ":") ?? line.startIndex) > line.startIndex
    }

    private static func body(_ values: [String: String]) throws(Problem) -> [UInt8] {
        guard let path = values["--body-file"] else { return Array((values["--body"] ?? "").utf8) }
        let descriptor = open(path, O_RDONLY)
        guard descriptor >= 0 else { throw Problem(sentence: "cannot open \(path)") }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var block = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = Glibc.read(descriptor, &block, block.count)
            guard count >= 0 else { throw Problem(sentence: "cannot read \(path)") }
            if count == 0 { return bytes }
            bytes += block[..<count]
        }
    }

    /// The request as it goes over the wire, the same for every call.
    func requestBytes(to url: URL) -> ByteBuffer {
        var lines = ["\(method) \(url.path) HTTP/1.1", "Host: \(url.authority)"] + headers
        if subscribes == .webSocket {
            lines += [
                "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            ]
        }
        if !body.isEmpty || method == "POST" { lines.append("Content-Length: \(body.count)") }
        if !keepsAlive { lines.append("Connection: close") }
        var buffer = ByteBuffer(string: lines.joined(separator: "\r\n") + "\r\n\r\n")
        buffer.writeBytes(body)
        return buffer
    }

    /// Where the calls go.
    func address() throws -> SocketAddress {
        if let unixPath { return try SocketAddress(unixDomainSocketPath: unixPath) }
        return try SocketAddress(ipAddress: url.host, port: url.port)
    }
}

/// An `http` address on this machine; others are refused, this tool is no weapon.
struct URL: Sendable {
    let host: String
    let port: Int
    let authority: String
    let path: String

    init(_ text: String) throws(Options.Problem) {
        let refusal = Options.Problem(
            sentence: "--url takes http://127.0.0.1, http://[::1] or http://localhost, not \(text)")
        guard text.hasPrefix("http://"), text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            throw refusal
        }
        let rest = text.dropFirst(7)
        let end = rest.firstIndex { $0 == "/" || $0 == "?" } ?? rest.endIndex
        authority = String(rest[..<end])
        path = rest[end...].hasPrefix("/") ? String(rest[end...]) : "/" + rest[end...]

        var name = rest[..<end]
        var digits: Substring?
        if let colon = name.lastIndex(of: ":"), !name.hasSuffix("]") {
            digits = name[colon...].dropFirst()
            name = name[..<colon]
        }
        guard let number = Int(digits ?? "80"), (1...65535).contains(number) else { throw refusal }
        port = number
        switch name {
        case "localhost": host = "127.0.0.1"
        case "[::1]": host = "::1"
        default:
            host = String(name)
            let parts = name.split(separator: ".", omittingEmptySubsequences: false)
            guard parts.count == 4, parts.first == "127", parts.allSatisfy({ UInt8($0) != nil })
            else { throw refusal }
        }
    }
}
