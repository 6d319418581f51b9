internal import EventLoop
internal import FastCGI
internal import Formats
internal import Gateway
internal import HTTPAPI
internal import ProxyGPT

/// Presents one FastCGI request to the API as its request, body and answer.
@EventLoop final class FastCGIExchange: ResponseWriter, BodySource {
    nonisolated let length: Int64?
    private let fastCGI: FastCGIRequest

    init(_ fastCGI: FastCGIRequest) {
        self.fastCGI = fastCGI
        length = fastCGI.parameters.first { $0.name == "CONTENT_LENGTH" }.flatMap {
            $0.value.utf8.decimalNumber
        }
    }

    /// Takes the request in the API's form; called once. Headers are the parameters that begin with
    /// `HTTP_` (RFC 3875, section 4.1.18).
    func takeRequest() -> Request {
        var headers: [Header] = []
        headers.reserveCapacity(fastCGI.parameters.count)
        var id = ""
        var method = ""
        var target = ""
        var rawTarget: [UInt8]?
        var address = ""
        var scheme = "http"
        var serverName = ""
        var isOperators = false
        var asksAdmission = false
        for parameter in fastCGI.takeParameters() {
            let value = parameter.value
            switch parameter.name {
            case "REQUEST_ID": id = value
            case "REQUEST_METHOD": method = value
            case "REQUEST_URI": (target, rawTarget) = (value, parameter.rawValue)
            case "REMOTE_ADDR": address = value
            case "REQUEST_SCHEME": scheme = value
            case "SERVER_NAME": serverName = value
            case "OPERATOR": isOperators = value == "yes"
            case "AUTH_ONLY": asksAdmission = value == "yes"
            case "CONTENT_TYPE":
                if !value.isEmpty { headers.append(Self.header("Content-Type", parameter)) }
            // nginx sends these twice.
            case "HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH": break
            default:
                if let name = Self.headerName(parameter.name) {
                    headers.append(Self.header(name, parameter))
                }
            }
        }
        return Request(
            id: id, method: method, target: target, rawTarget: rawTarget, headers: headers,
            clientAddress: address, scheme: scheme, serverName: serverName, contentLength: length,
            body: self, isRefused: fastCGI.isRefused, isOperators: isOperators,
            asksAdmission: asksAdmission)
    }

    private static func header(_ name: String, _ parameter: FastCGIParameter) -> Header {
        parameter.rawValue.map { Header(name, bytes: $0) } ?? Header(name, parameter.value)
    }

    /// `HTTP_USER_AGENT` is `User-Agent`; nil for a parameter that is no header.
    private static func headerName(_ parameter: String) -> String? {
        let prefix = "HTTP_"
        guard parameter.hasPrefix(prefix) else { return nil }
        let bytes = parameter.utf8.dropFirst(prefix.utf8.count)
        return String(unsafeUninitializedCapacity: bytes.count) { name in
            var isFirst = true
            for (index, byte) in bytes.enumerated() {
                let isDash = byte == UInt8(ascii: "_")
                name[index] = isDash ? UInt8(ascii: "-") : isFirst ? byte : lowerCase(byte)
                isFirst = isDash
            }
            return bytes.count
        }
    }

    // MARK: - Body

    @EventLoop func next() async throws -> [UInt8]? {
        do {
            return try await fastCGI.readBody()
        } catch {
            throw ClientGone()
        }
    }

    // MARK: - Answer

    @EventLoop func begin(status: Int, headers: [Header]) async throws(ClientGone) {
        var lines: [UInt8] = []
        lines.reserveCapacity(1024)
        for header in headers {
            lines.append(contentsOf: header.name.utf8)
            lines.append(contentsOf: ": ".utf8)
            header.appendValue(to: &lines)
            lines.append(contentsOf: "\r\n".utf8)
        }
        lines.append(contentsOf: "\r\n".utf8)
        let status = "\(status) \(Self.reason(status))\r\n"
        // A length that is no multiple of 8 makes libfcgi pad the record, and nginx, which then has
        // bytes behind the head, waits for more before it lets the head go.
        var head = Array("Status: ".utf8)
        while (head.count + status.utf8.count + lines.count) % 8 != 0 { head.append(0x20) }
        head.append(contentsOf: status.utf8)
        head.append(contentsOf: lines)
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

    @EventLoop func isStopped() async -> Bool {
        fastCGI.isStopped
    }

    /// The customary reason phrase of a status (RFC 9110, section 15); nginx repeats the phrase it
    /// is given.
    private nonisolated static func reason(_ status: Int) -> String {
        switch status {
        case 200: "OK"
        case 201: "Created"
        case 202: "Accepted"
        case 204: "No Content"
        case 206: "Partial Content"
        case 301: "Moved Permanently"
        case 302: "Found"
        case 304: "Not Modified"
        case 307: "Temporary Redirect"
        case 308: "Permanent Redirect"
        case 400: "Bad Request"
        case 401: "Unauthorized"
        case 403: "Forbidden"
        case 404: "Not Found"
        case 405: "Method Not Allowed"
        case 408: "Request Timeout"
        case 409: "Conflict"
        case 413: "Content Too Large"
        case 415: "Unsupported Media Type"
        case 422: "Unprocessable Content"
        case 429: "Too Many Requests"
        case 500: "Internal Server Error"
        case 502: "Bad Gateway"
        case 503: "Service Unavailable"
        case 504: "Gateway Timeout"
        default: status < 400 ? "Success" : "Error"
        }
    }
}
