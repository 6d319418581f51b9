@testable internal import Credentials
import Formats
@testable internal import Gateway
internal import ProxyGPT

// What a client sends beside the bytes of its sockets: targets, parameters, headers.

extension Entry {
    static let parameters = [
        Entry(
            "query", limit: headLimit,
            seeds: [
                "username=a&password=b+c", "id=%C3%A9&a=1&a=2&flag=true&n=-5&list=1,2", "a=%zz",
                "before=018f0000-0000-7000-8000-000000000000&limit=20", "_=1&a=&=b&&=",
            ]
        ) { bytes in
            read(try? Turns.turn { () throws(Failure) in try Parameters(names, query: bytes) })
        },
        Entry(
            "form",
            seeds: ["username=a&password=b+c", "list=a%2Cb&list=c,d&flag=0", "a=&b=&c=&d=&e=&f="]
        ) { read($0, "application/x-www-form-urlencoded") },
        Entry(
            "json-parameters",
            seeds: [
                #"{"username":"a","password":"b","id":1}"#, #"{"list":["a","b",3],"flag":true}"#,
                #"{"id":null,"n":-9223372036854775808,"text":"\ud83e\udd80"}"#,
            ]
        ) { read($0, "application/json") },
    ]

    private static let names = ["username", "password", "id", "text", "list", "flag", "n", "a"]

    /// Long bodies are read off the loop, what they hold is looked at on it.
    private static func read(_ body: [UInt8], _ type: String) {
        func parameters() -> Parameters? {
            try? Parameters(names, body: body, contentType: type)
        }
        read(body.count > API.longestOnLoop ? parameters() : Turns.turn { parameters() })
    }

    private static func read(_ parameters: Parameters?) {
        guard let parameters else { return }
        Turns.turn { for name in names { _ = try? parameters.text(name) } }
        Turns.turn { for name in names { _ = try? parameters.list(name) } }
        Turns.turn { for name in names { _ = try? parameters.line(name, limit: 200) } }
        Turns.turn {
            for name in names {
                _ = try? parameters.integer(name)
                _ = try? parameters.boolean(name)
            }
            _ = try? parameters.page()
        }
    }

    static let heads = [
        Entry(
            "target", limit: headLimit,
            seeds: [
                "/v1/chat/completions?a=b", "/user/read?id=%20", "/v1/models/a%2Fb", "/a/%2e%2e/b",
                "http://host/a", "/v1/files/f/content", "/chat/read?id=\u{301}", "/a?b#c",
            ]
        ) { bytes in
            guard let target = try? RequestTarget(bytes: Array(bytes)) else { return }
            require(target.path.utf8.first == UInt8(ascii: "/"), "a path begins with a slash")
            require(
                (target.path.utf8 + (target.query ?? [])).allSatisfy {
                    $0 > 0x20 && $0 != 0x7F
                },
                "a target has no control bytes")
        },
        Entry(
            "authorization", limit: headLimit,
            seeds: [
                "Bearer pgpt_abc", "Basic YXNpbTpwZ3B0X3g=", "Digest x", "bearer \u{301}", "Bearer",
            ]
        ) { bytes in
            let header = text(bytes)
            let found = PresentedCredential.find(
                authorization: [header], cookies: [], cookieName: "sess")
            require(found.count == 1, "a header that is there is a credential or malformed")
            require(
                (found.first?.token ?? "").utf8.count <= bytes.count * 3,
                "a token comes from there")
        },
        Entry(
            "cookie", limit: headLimit,
            seeds: [
                "sess=pgpt_abc; a=b", "a=b; sess=\"x\"; c", "sess=\u{301}", ";;; sess = a",
                "sess=pgpt_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA; __Host-sess=\"x\"",
            ]
        ) { bytes in
            let found = PresentedCredential.find(
                authorization: [], cookies: [text(bytes)], cookieName: "sess")
            require(found.count <= PresentedCredential.cookieLimit, "few cookies are tried")
            for credential in found {
                require(
                    (credential.token ?? "").utf8.count <= bytes.count * 3,
                    "a token comes from there")
            }
        },
        Entry(
            "request-headers", limit: headLimit,
            seeds: [
                "Host: a\nOrigin: http://a\nSec-Fetch-Site: same-origin",
                "Upgrade: websocket\nConnection: keep-alive, Upgrade\nSec-WebSocket-Version: 13\n"
                    + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                "Origin: https://app.example\nAccess-Control-Request-Method: POST",
                "Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.pgpt_x, b",
                "X-Stainless-OS: Linux\nCookie: sess=a\nOrigin: null\nHost: [::1]:8080",
            ]
        ) { readHeaders($0) },
    ]

    private static let crossSites: [CrossSite] = {
        let own = try? Settings(values: ["API_URL": "http://localhost:9090/"], requiresKey: false)
        let named = try? Settings(
            values: [
                "API_URL": "http://localhost:9090/", "CORS_ORIGINS": "https://app.example",
                "PUBLIC_ORIGINS": "https://a.example",
            ], requiresKey: false)
        return [own, named].compactMap { $0 }.map { CrossSite($0) }
    }()

    private static func readHeaders(_ bytes: [UInt8]) {
        // As many as the product looks at.
        let headers = lines(bytes).prefix(1100).map { line in
            let name = line.prefix { $0 != UInt8(ascii: ":") }
            return Header(text(name), text(line.dropFirst(name.count + 1).drop { $0 == 0x20 }))
        }
        let request = Request(
            id: "r", method: "GET", target: "/", headers: headers, clientAddress: "192.0.2.1",
            scheme: "http", contentLength: nil, body: WholeBody([]))
        guard (try? request.checkHead()) != nil else { return }
        _ = try? request.transport()
        _ = try? Subprotocols(request.values(of: "Sec-WebSocket-Protocol"))
        require(crossSites.count == 2, "the settings are good")
        for crossSite in crossSites {
            _ = try? crossSite.checkOrigin(of: request)
            _ = crossSite.headers(for: request)
            _ = crossSite.preflight(request)
        }
        for header in ForwardedHeaders.request(headers, .none) {
            require(!equalIgnoringCase(header.name, "Cookie"), "no cookie goes upstream")
            require(!equalIgnoringCase(header.name, "Authorization"), "no credential goes upstream")
        }
    }
}
