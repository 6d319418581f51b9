import CurlUpstream
import EventLoop
import ProxyGPT
import Testing

/// In each phase of a call the upstream must see at once that its caller has gone.
@Suite(.timeLimit(.minutes(5))) struct CancellationTests {
    private struct Ends {
        let upstream: ScriptedUpstream
        /// Posted when the request is there, and when the connection has ended.
        let arrived = Mailbox<Void>()
        let ended: Mailbox<Int64>

        init(answer: String) {
            let arrived = arrived
            let ended = Mailbox<Int64>()
            self.ended = ended
            upstream = ScriptedUpstream { connection, _ in
                guard connection.readHead() != nil else { return }
                connection.write(answer)
                arrived.post(())
                connection.waitForEnd()
                ended.post(monotonicMilliseconds())
            }
        }
    }

    private static let inBody = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"

    @Test func aCancelledTaskThatWaitsForTheHead() async throws {
        let ends = Ends(answer: "")
        let url = ends.upstream.url()
        let client = try await onLoop { makeUpstream() }
        let task = Task { @EventLoop in await failing(get(url), with: client) }
        try await ends.arrived.take()
        let start = monotonicMilliseconds()
        task.cancel()
        #expect(await task.value == .cancelled)
        #expect(try await ends.ended.take() - start < promptly)
    }

    @Test func aTaskThatWasCancelledBeforeItsCallMakesNone() async throws {
        let upstream = ScriptedUpstream(answering: Self.inBody)
        let url = upstream.url()
        let client = try await onLoop { makeUpstream() }
        let result = await Task { @EventLoop in
            withUnsafeCurrentTask { $0?.cancel() }
            return await failing(get(url), with: client)
        }.value
        #expect(result == .cancelled)
        #expect(upstream.connections == 0)
    }

    @Test func aCancelledTaskThatWaitsForTheBody() async throws {
        let ends = Ends(answer: Self.inBody)
        let url = ends.upstream.url()
        let client = try await onLoop { makeUpstream() }
        let waiting = Mailbox<Void>()
        let task = Task { @EventLoop in
            let reply = try await client.start(get(url))
            _ = try await reply.next()
            waiting.post(())
            let whole = await readAll(reply)
            return (whole.failure, reply.head.status)
        }
        try await waiting.take()
        let start = monotonicMilliseconds()
        task.cancel()
        #expect(try await task.value.0 == .cancelled)
        #expect(try await ends.ended.take() - start < promptly)
    }

    @Test func aReplyThatIsCancelled() async throws {
        let ends = Ends(answer: Self.inBody)
        let url = ends.upstream.url()
        let (start, whole) = try await onLoop {
            let reply = try await makeUpstream().start(get(url))
            let start = monotonicMilliseconds()
            await reply.cancel()
            await reply.cancel()
            return (start, await readAll(reply))
        }
        #expect(whole.failure == .cancelled)
        #expect(whole.body.isEmpty)
        #expect(try await ends.ended.take() - start < promptly)
    }

    @Test func aReplyThatIsDropped() async throws {
        let ends = Ends(answer: Self.inBody)
        let url = ends.upstream.url()
        let start = try await onLoop {
            _ = try await makeUpstream().start(get(url))
            return monotonicMilliseconds()
        }
        #expect(try await ends.ended.take() - start < promptly)
    }

    @Test func aReplyThatIsDroppedOffTheLoop() async throws {
        let ends = Ends(answer: Self.inBody)
        let url = ends.upstream.url()
        var reply: (any UpstreamReply)? = try await onLoop {
            try await makeUpstream().start(get(url))
        }
        #expect(reply?.head.status == 200)
        let start = monotonicMilliseconds()
        reply = nil
        #expect(try await ends.ended.take() - start < promptly)
    }

    @Test func aReplyOfWhichNothingIsReadThoughMuchHasCome() async throws {
        let ended = Mailbox<Int64>()
        let upstream = ScriptedUpstream { connection, _ in
            guard connection.readRequest() != nil else { return }
            connection.write("HTTP/1.1 200 OK\r\n\r\n")
            let piece = [UInt8](repeating: 1, count: 65536)
            while connection.write(piece) == piece.count {}
            ended.post(monotonicMilliseconds())
        }
        let start = try await onLoop {
            let reply = try await makeUpstream().start(get(upstream.url()))
            await EventLoop.sleep(milliseconds: 50)
            _ = reply.head
            return monotonicMilliseconds()
        }
        #expect(try await ended.take() - start < promptly)
    }

    @Test func aCancelledUpload() async throws {
        let ends = Ends(answer: "")
        let url = ends.upstream.url()
        let client = try await onLoop { makeUpstream() }
        let body = Pieces(length: 1_000_000) { number in
            if number == 0 { return [UInt8](repeating: 1, count: 1000) }
            try await Task.sleep(for: .seconds(30))
            return nil
        }
        let task = Task { @EventLoop in await failing(post(url, body), with: client) }
        try await ends.arrived.take()
        let start = monotonicMilliseconds()
        task.cancel()
        #expect(await task.value == .cancelled)
        #expect(try await ends.ended.take() - start < promptly)
    }
}
