internal import EventLoop
internal import FastCGI
internal import HTTPAPI
internal import ProxyGPT

/// One FastCGI request seen as the API sees a request, its body and its answer.
@EventLoop final class FastCGIExchange: ResponseWriter, BodySource {
    nonisolated let length: Int64?
    private let fastCGI: FastCGIRequest

    init(_ fastCGI: FastCGIRequest) {
        self.fastCGI = fastCGI
        length = fastCGI.parameters.first { $0.name == "CONTENT_LENGTH" }.flatMap {
            Int64($0.value)
        }
    }

    /// The request in the API's words. Headers are the parameters that begin with `HTTP_`
    /// (RFC 3875, section 4.1.18).
    var request: Request {
        var headers: [Header] = []
        var values: [String: String] = [:]
        for parameter in fastCGI.parameters {
            if parameter.name.hasPrefix("HTTP_") {
                headers.append(Header(Self.headerName(parameter.name), parameter.value))
            } else if !parameter.value.isEmpty {
                values[parameter.name] = parameter.value
            }
        }
        if let type = values["CONTENT_TYPE"] { headers.append(Header("Content-Type", type)) }
        return Request(
            id: values["REQUEST_ID"] ?? "", method: values["REQUEST_METHOD"] ?? "",
            target: values["REQUEST_URI"] ?? "", headers: headers,
            clientAddress: values["REMOTE_ADDR"] ?? "", scheme: values["REQUEST_SCHEME"] ?? "http",
            contentLength: length, body: self, isRefused: fastCGI.isRefused)
    }

    private static func headerName(_ parameter: String) -> String {
        var isFirst = true
        let name = parameter.utf8.dropFirst("HTTP_".utf8.count).map { byte -> UInt8 in
            defer { isFirst = byte == UInt8(ascii: "_") }
            if byte == UInt8(ascii: "_") { return UInt8(ascii: "-") }
            return isFirst ? byte : lowerCase(byte)
        }
        return String(decoding: name, as: UTF8.self)
    }

    // MARK: - Body

    @EventLoop func next() async throws -> [UInt8]? {
        try await fastCGI.readBody()
    }

    // MARK: - Answer

    @EventLoop func begin(status: Int, headers: [Header]) async throws(ClientGone) {
        var head = Array("Status: \(status)\r\n".utf8)
        for header in headers {
            head.append(contentsOf: header.name.utf8)
            head.append(contentsOf: ": ".utf8)
            head.append(contentsOf: header.value.utf8)
            head.append(contentsOf: "\r\n".utf8)
        }
        head.append(contentsOf: "\r\n".utf8)
        try await write(head, flush: false)
    }

    @EventLoop func write(_ bytes: [UInt8], flush: Bool) async throws(ClientGone) {
        do {
            try await fastCGI.write(bytes, flush: flush)
        } catch {
            throw ClientGone()
        }
    }

    @EventLoop func finish() async {
        await fastCGI.finish()
    }

    @EventLoop func abort() async {
        fastCGI.abort()
    }
}
