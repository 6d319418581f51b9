import EventLoop
import ProxyGPT
import Synchronization
import Testing

@testable import CurlUpstream

@Suite(.timeLimit(.minutes(5))) struct ReuseTests {
    private static let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    @Test func callsInSuccessionShareAConnection() async throws {
        let upstream = ScriptedUpstream(answering: Self.answer)
        let texts = try await onLoop {
            let client = makeUpstream()
            var texts: [String] = []
            for number in 0..<20 {
                let call = number % 2 == 0 ? get(upstream.url()) : post(upstream.url(), Pieces("x"))
                texts.append(await readAll(try await client.start(call)).text)
            }
            return texts
        }
        #expect(texts == Array(repeating: "ok", count: 20))
        #expect(upstream.connections == 1)
    }

    @Test func twoHundredCallsAtOnceAllSucceedAndTheirConnectionsServeAgain() async throws {
        let upstream = ScriptedUpstream { connection, _ in
            while let request = connection.readRequest() {
                let text = String(decoding: request.body, as: UTF8.self)
                let length = text.utf8.count
                connection.write("HTTP/1.1 200 OK\r\nContent-Length: \(length)\r\n\r\n\(text)")
            }
        }
        let right = try await onLoop {
            let client = makeUpstream()
            var right = 0
            for _ in 0..<5 {
                let calls = (0..<200).map { number in
                    Task { @EventLoop in
                        let call = post(upstream.url(), Pieces("call \(number)"))
                        return await readAll(try await client.start(call)).text == "call \(number)"
                    }
                }
                for call in calls where try await call.value { right += 1 }
            }
            return right
        }
        #expect(right == 1000)
        #expect(upstream.connections <= 200)
    }

    @Test(arguments: ["GET", "POST"])
    func aConnectionThatWasClosedWhileIdleHarmsNoCall(method: String) async throws {
        let closed = Mailbox<Void>()
        let upstream = ScriptedUpstream { connection, number in
            guard connection.readRequest() != nil else { return }
            connection.write(Self.answer)
            guard number == 0 else { return connection.waitForEnd() }
            connection.reset()
            closed.post(())
        }
        let texts = try await onLoop {
            let client = makeUpstream()
            let call = {
                UpstreamCall(
                    method: method, url: upstream.url(), headers: [],
                    body: method == "POST" ? Pieces("x") : nil)
            }
            let first = await readAll(try await client.start(call())).text
            try await closed.take()
            return [first, await readAll(try await client.start(call())).text]
        }
        #expect(texts == ["ok", "ok"])
        #expect(upstream.connections == 2)
    }

    /// Answers the first request of the first connection, and closes it on the second request.
    private func closing(_ seen: Mailbox<String>) -> ScriptedUpstream {
        ScriptedUpstream { connection, number in
            while let request = connection.readRequest() {
                seen.post(request.line)
                if number == 0 && request.line.contains("/second") { return }
                connection.write(Self.answer)
            }
        }
    }

    @Test func aSafeCallIsRepeatedWhenItsKeptConnectionDies() async throws {
        let seen = Mailbox<String>()
        let upstream = closing(seen)
        let text = try await onLoop {
            let client = makeUpstream()
            _ = await readAll(try await client.start(get(upstream.url("/first"))))
            return await readAll(try await client.start(get(upstream.url("/second")))).text
        }
        #expect(text == "ok")
        #expect(upstream.connections == 2)
    }

    @Test(arguments: ["POST small", "POST empty", "POST large", "DELETE", "PATCH small"])
    func anyOtherCallIsNeverRunTwice(kind: String) async throws {
        let seen = Mailbox<String>()
        let upstream = closing(seen)
        let parts = kind.split(separator: " ").map(String.init)
        let failure = try await onLoop {
            let client = makeUpstream()
            _ = await readAll(try await client.start(get(upstream.url("/first"))))
            let body: Pieces? =
                switch parts.last {
                case "small": Pieces("x")
                case "large":
                    Pieces(length: 100_000) {
                        $0 < 10 ? [UInt8](repeating: 1, count: 10_000) : nil
                    }
                default: nil
                }
            let call = UpstreamCall(
                method: parts[0], url: upstream.url("/second"),
                headers: [Header("Idempotency-Key", "k")], body: body)
            return await failing(call, with: client)
        }
        #expect(failure?.isCut == true)
        #expect(try await seen.take().contains("/first"))
        #expect(try await seen.take().contains("/second"))
        // Whatever came after it would be the second run.
        _ = try await onLoop {
            await readAll(try await makeUpstream().start(get(upstream.url("/after"))))
        }
        #expect(try await seen.take().contains("/after"))
    }

    @Test func anUpstreamThatIsDroppedClosesItsKeptConnections() async throws {
        let ended = Mailbox<Int64>()
        let upstream = ScriptedUpstream { connection, _ in
            while connection.readRequest() != nil { connection.write(Self.answer) }
            ended.post(monotonicMilliseconds())
        }
        var client: CurlUpstream? = try await onLoop { makeUpstream() }
        if let client {
            let text = try await onLoop {
                await readAll(try await client.start(get(upstream.url()))).text
            }
            #expect(text == "ok")
        }
        let start = monotonicMilliseconds()
        client = nil
        #expect(try await ended.take() - start < promptly)
    }

    @Test func aCutCallsConnectionIsNotUsedAgain() async throws {
        let upstream = ScriptedUpstream { connection, _ in
            while connection.readRequest() != nil {
                connection.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
            }
        }
        try await onLoop {
            let client = makeUpstream()
            for _ in 0..<3 {
                let reply = try await client.start(get(upstream.url()))
                #expect(try await reply.next() == Array("abc".utf8))
                await reply.cancel()
            }
        }
        #expect(upstream.connections == 3)
    }
}
