import CurlUpstream
import EventLoop
import ProxyGPT
import Testing

@Suite(.timeLimit(.minutes(5))) struct SecretTests {
    private static let key = "sk-canary-7f3a"

    @Test(arguments: [UpstreamAddress.KeyHeader.bearer, .apiKey])
    func theKeyTravelsInItsOneHeader(keyHeader: UpstreamAddress.KeyHeader) async throws {
        let requests = Mailbox<Connection.Request>()
        let upstream = ScriptedUpstream { connection, _ in
            guard let request = connection.readRequest() else { return }
            requests.post(request)
            connection.write("HTTP/1.1 200 OK\r\n\r\n")
        }
        _ = try await onLoop {
            let client = makeUpstream(key: Self.key) { $0.keyHeader = keyHeader }
            let foreign = [Header("authorization", "Bearer theirs"), Header("Api-Key", "theirs")]
            return await readAll(try await client.start(get(upstream.url(), foreign)))
        }
        let request = try await requests.take()
        let isBearer = keyHeader == .bearer
        #expect(request.values(of: "authorization") == (isBearer ? ["Bearer \(Self.key)"] : []))
        #expect(request.values(of: "api-key") == (isBearer ? [] : [Self.key]))
    }

    @Test func withoutAKeyNoneIsSent() async throws {
        let requests = Mailbox<Connection.Request>()
        let upstream = ScriptedUpstream { connection, _ in
            guard let request = connection.readRequest() else { return }
            requests.post(request)
            connection.write("HTTP/1.1 200 OK\r\n\r\n")
        }
        _ = try await onLoop {
            await readAll(try await makeUpstream().start(get(upstream.url())))
        }
        #expect(try await requests.take().values(of: "authorization").isEmpty)
    }

    @Test func nothingThatIsPrintedShowsTheKey() async throws {
        let upstream = ScriptedUpstream { connection, _ in
            guard connection.readRequest() != nil else { return }
            connection.write("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na")
        }
        let printed = try await onLoop {
            let client = makeUpstream(key: Self.key)
            let reply = try await client.start(post(upstream.url(), Pieces("x")))
            var text = ""
            dump(client, to: &text)
            dump(reply, to: &text)
            print(client, reply, String(reflecting: client), to: &text)
            let whole = await readAll(reply)
            print(whole, to: &text)
            let refused = await failing(get("http://127.0.0.1:1/"), with: client)
            print(refused ?? .cancelled, to: &text)
            return text
        }
        #expect(!printed.contains(Self.key))
        #expect(printed.contains("<redacted>"))
    }
}
