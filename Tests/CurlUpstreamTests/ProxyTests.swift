import CurlUpstream
import EventLoop
import ProxyGPT
import Testing

/// Calls that go through an HTTP proxy.
@Suite(.timeLimit(.minutes(5))) struct ProxyTests {
    private static let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    private static let credential = "Basic bWU6cEBzcw=="

    private func proxy(_ server: ScriptedUpstream) throws -> UpstreamProxy {
        try UpstreamProxy("http://me:p%40ss@127.0.0.1:\(server.port)")
    }

    /// A proxy that answers CONNECT and passes bytes on both ways.
    private func tunnel(to port: UInt16, _ heads: Mailbox<Connection.Request>) -> ScriptedUpstream {
        ScriptedUpstream { connection, _ in
            guard let head = connection.readHead() else { return }
            heads.post(Connection.Request(head: head, body: []))
            let other = Connection(to: port)
            connection.write("HTTP/1.1 200 Connection established\r\nX-Of-Proxy: 1\r\n\r\n")
            startThread(name: "tunnel") {
                while let bytes = other.read() { connection.write(bytes) }
                connection.finishWriting()
            }
            while let bytes = connection.read() { other.write(bytes) }
            other.finishWriting()
        }
    }

    @Test(.enabled(if: SecureFront.isAvailable))
    func callsOverTLSGoThroughATunnelThatIsKept() async throws {
        let heads = Mailbox<Connection.Request>()
        let requests = Mailbox<Connection.Request>()
        let upstream = ScriptedUpstream { connection, _ in
            guard let request = connection.readRequest() else { return }
            requests.post(request)
            connection.write(Self.answer)
        }
        let front = try SecureFront(before: upstream)
        let server = tunnel(to: front.port, heads)
        let rules = UpstreamProxyRules(secure: try proxy(server))
        try await onLoop {
            let client = makeUpstream(key: "sk-canary") {
                $0.certificateFile = front.certificate
                $0.proxies = rules
            }
            for _ in 0..<3 {
                let reply = try await client.start(post(front.url("/x?y"), Pieces("body")))
                #expect(reply.head.value(of: "X-Of-Proxy") == nil)
                #expect(await readAll(reply).text == "ok")
            }
        }
        #expect(server.connections == 1)
        let head = try await heads.take()
        #expect(head.line == "CONNECT localhost:\(front.port) HTTP/1.1")
        #expect(head.values(of: "Proxy-Authorization") == [Self.credential])
        #expect(!head.head.contains("canary"))
        let request = try await requests.take()
        #expect(request.line == "POST /x?y HTTP/1.1")
        #expect(request.values(of: "Authorization") == ["Bearer sk-canary"])
        #expect(request.values(of: "Proxy-Authorization") == [])
    }

    @Test func callsWithoutTLSNameTheWholeAddressAndTheProxyLooksTheNameUp() async throws {
        let requests = Mailbox<Connection.Request>()
        let server = ScriptedUpstream { connection, _ in
            while let request = connection.readRequest() {
                requests.post(request)
                connection.write(Self.answer)
            }
        }
        let rules = UpstreamProxyRules(plain: try proxy(server))
        try await onLoop {
            let client = makeUpstream(key: "sk-canary") { $0.proxies = rules }
            for path in ["/v1/a%2Fb//c?x=%20", "/v1/d"] {
                let call = post("http://nowhere.invalid:81" + path, Pieces("body"))
                let reply = try await client.start(call)
                #expect(await readAll(reply).text == "ok")
            }
        }
        #expect(server.connections == 1)
        let request = try await requests.take()
        #expect(
            request.line == "POST http://nowhere.invalid:81/v1/a%2Fb//c?x=%20 HTTP/1.1")
        #expect(request.values(of: "Host") == ["nowhere.invalid:81"])
        #expect(request.values(of: "Proxy-Authorization") == [Self.credential])
        #expect(request.values(of: "Authorization") == ["Bearer sk-canary"])
        #expect(request.body == Array("body".utf8))
    }

    @Test func exceptionsAreReachedDirectly() async throws {
        let upstream = ScriptedUpstream(answering: Self.answer)
        let server = ScriptedUpstream(answering: "HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n")
        let rules = UpstreamProxyRules(plain: try proxy(server), exceptions: "127.0.0.0/8")
        let text = try await onLoop {
            let client = makeUpstream { $0.proxies = rules }
            return await readAll(try await client.start(get(upstream.url()))).text
        }
        #expect(text == "ok")
        #expect(server.connections == 0)
    }

    @Test(arguments: ["https", "http"])
    func aProxyThatRefusesIsUnreachableAndItsPasswordIsNotNamed(scheme: String) async throws {
        let server = ScriptedUpstream(
            answering: "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n")
        let rules = UpstreamProxyRules(secure: try proxy(server), plain: try proxy(server))
        let failure = try await onLoop {
            let client = makeUpstream { $0.proxies = rules }
            return await failing(get("\(scheme)://nowhere.invalid/v1/x"), with: client)
        }
        let cause = try #require(failure?.cause)
        #expect(cause.contains("proxy") || cause.contains("407"))
        #expect(!cause.contains("p@ss") && !cause.contains("p%40ss"))
    }

    @Test func aProxyThatIsNotThereIsUnreachable() async throws {
        // Port 1 of loopback is nobody's.
        let rules = UpstreamProxyRules(plain: try UpstreamProxy("http://me:p%40ss@127.0.0.1:1"))
        let failure = try await onLoop {
            let client = makeUpstream { $0.proxies = rules }
            return await failing(get("http://nowhere.invalid/v1/x"), with: client)
        }
        #expect(failure?.cause?.contains("connect") == true)
    }
}
