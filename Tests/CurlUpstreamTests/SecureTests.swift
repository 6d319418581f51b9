import EventLoop
import Glibc
import ProxyGPT
import Testing

@testable import CurlUpstream

/// Calls over TLS to an upstream that offers HTTP/2, and is spoken to in HTTP/1.1.
@Suite(.timeLimit(.minutes(5)), .enabled(if: SecureFront.isAvailable)) struct SecureTests {
    private static let quick = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    @EventLoop private func client(_ front: SecureFront) -> CurlUpstream {
        makeUpstream { $0.certificateFile = front.certificate }
    }

    @Test func callsSpeakHTTP1AndShareNoConnectionAtOnce() async throws {
        let arrived = Counter()
        let all = Semaphore()
        // Nobody is answered before all have arrived.
        let upstream = ScriptedUpstream { connection, _ in
            guard let request = connection.readRequest() else { return }
            if arrived.add(1) == 100 { for _ in 0..<100 { all.signal() } }
            all.wait()
            let protocolOfCall = request.values(of: "x-protocol").first ?? ""
            connection.write("HTTP/1.1 200 OK\r\n\r\n\(protocolOfCall)")
        }
        let front = try SecureFront(before: upstream)
        let (answers, connections) = try await onLoop {
            let client = client(front)
            let calls = (0..<100).map { number in
                Task { @EventLoop in
                    let call = number % 2 == 0 ? get(front.url("/x")) : post(front.url("/x"), nil)
                    let reply = try await client.start(call)
                    return (await readAll(reply).text, reply.head.value(of: "x-connection"))
                }
            }
            var answers: [String] = []
            var connections: Set<String?> = []
            for call in calls {
                let (answer, connection) = try await call.value
                answers.append(answer)
                connections.insert(connection)
            }
            return (answers, connections)
        }
        #expect(answers == Array(repeating: "HTTP/1.1", count: 100))
        #expect(connections.count == 100)
    }

    @Test func aCertificateThatNobodyKnowsIsRefusedByName() async throws {
        let front = try SecureFront(before: ScriptedUpstream(answering: Self.quick))
        let (unknown, misnamed) = try await onLoop {
            let unknown = await failing(post(front.url("/"), nil), with: makeUpstream())
            return (unknown, await failing(post(front.misnamed("/"), nil), with: client(front)))
        }
        #expect(unknown?.cause?.contains("certificate") == true)
        #expect(misnamed?.cause?.contains("127.0.0.1") == true)
    }

    @Test(arguments: [true, false])
    func aLargeUploadGoesThrough(lengthIsKnown: Bool) async throws {
        let size = 4 * 1024 * 1024
        let upstream = ScriptedUpstream { connection, _ in
            guard let request = connection.readRequest() else { return }
            // Chunks are counted with their framing.
            connection.write("HTTP/1.1 200 OK\r\n\r\n\(request.body.count >= size)")
        }
        let front = try SecureFront(before: upstream)
        let whole = try await onLoop {
            let body = Pieces(length: lengthIsKnown ? Int64(size) : nil) { number in
                // Now and then a piece takes its time.
                if number % 16 == 0 { await Task.yield() }
                return number < 64 ? [UInt8](repeating: 1, count: size / 64) : nil
            }
            return await readAll(try await client(front).start(post(front.url("/x"), body)))
        }
        #expect(whole.text == "true")
        #expect(whole.failure == nil)
    }

    @Test(arguments: [true, false])
    func anAnswerOf100MegabytesToAPostIsWholeThoughItIsReadSlowly(hasLength: Bool) async throws {
        let piece = 64 * 1024
        let count = 1600
        let upstream = ScriptedUpstream { connection, _ in
            guard connection.readRequest() != nil else { return }
            let length = hasLength ? "Content-Length: \(piece * count)\r\n" : ""
            connection.write("HTTP/1.1 200 OK\r\n\(length)\r\n")
            for number in 0..<count {
                connection.write(
                    [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: piece))
            }
        }
        let front = try SecureFront(before: upstream)
        try await onLoop {
            let reply = try await client(front).start(post(front.url("/x"), Pieces("x")))
            var read = 0
            var isRight = true
            var turns = 0
            while let bytes = try await reply.next() {
                turns += 1
                // Meanwhile more comes than is kept unread, and the transfer stands still.
                if turns % 32 == 0 { await EventLoop.sleep(milliseconds: 5) }
                isRight =
                    isRight && bytes.first == UInt8(truncatingIfNeeded: read / piece)
                    && bytes.last == UInt8(truncatingIfNeeded: (read + bytes.count - 1) / piece)
                read += bytes.count
            }
            #expect(read == piece * count)
            #expect(isRight)
        }
    }

    @Test func aThousandCancellationsBesideSilentCallsAreSeenAtOnce() async throws {
        let arrived = Mailbox<Void>()
        let ended = Mailbox<Int64>()
        let upstream = ScriptedUpstream { connection, _ in
            guard let request = connection.readRequest() else { return }
            connection.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
            if request.line.contains("/silent") { return connection.waitForEnd() }
            arrived.post(())
            connection.waitForEnd()
            ended.post(monotonicMilliseconds())
        }
        let front = try SecureFront(before: upstream)
        let delays = try await onLoop {
            let client = client(front)
            var silent: [any UpstreamReply] = []
            for _ in 0..<4 {
                silent.append(try await client.start(post(front.url("/silent"), Pieces("x"))))
            }
            var delays: [Int64] = []
            for number in 0..<1000 {
                let reply = try await client.start(post(front.url("/left"), Pieces("x")))
                try await arrived.take()
                if number % 2 == 0 { _ = try await reply.next() }
                let start = monotonicMilliseconds()
                await reply.cancel()
                delays.append(try await ended.take() - start)
            }
            for reply in silent { await reply.cancel() }
            return delays.sorted()
        }
        print("upstream saw 1,000 cancellations after \(delays[500]) ms, at most \(delays[999]) ms")
        #expect(delays[500] <= 100)
        #expect(delays[999] < promptly)
    }

    @Test func aFrontThatClosesAfterAThousandRequestsFailsNoCall() async throws {
        let front = try SecureFront(before: ScriptedUpstream(answering: Self.quick))
        let (answers, failures) = try await onLoop {
            let client = client(front)
            let callers = (0..<16).map { _ in
                Task { @EventLoop in
                    var answers: Set<String> = []
                    var failures: [UpstreamFailure] = []
                    for _ in 0..<SecureTests.callsOfEach {
                        do throws(UpstreamFailure) {
                            let reply = try await client.start(
                                post(front.url("/who"), Pieces("x")))
                            let whole = await readAll(reply)
                            answers.insert(whole.text)
                            if let failure = whole.failure { failures.append(failure) }
                        } catch {
                            failures.append(error)
                        }
                    }
                    return (answers, failures)
                }
            }
            var answers: Set<String> = []
            var failures: [UpstreamFailure] = []
            for caller in callers {
                let (more, failed) = await caller.value
                answers.formUnion(more)
                failures += failed
            }
            return (answers, failures)
        }
        #expect(failures == [])
        #expect(answers.allSatisfy { $0.hasPrefix("HTTP/1.1 ") })
        // Each has served a thousand calls at most.
        #expect(answers.count >= 16 * SecureTests.callsOfEach / 1000)
    }

    private static let callsOfEach = 940

    @Test(arguments: ["POST", "GET"])
    func aConnectionThatWasClosedWhileIdleHarmsNoCall(method: String) async throws {
        let front = try SecureFront(before: ScriptedUpstream(answering: Self.quick))
        try await onLoop {
            let client = client(front)
            let observer = makeUpstream()
            let call = {
                UpstreamCall(
                    method: method, url: front.hasty("/who"), headers: [],
                    body: method == "POST" ? Pieces("x") : nil)
            }
            for _ in 0..<5 {
                let whole = await readAll(try await client.start(call()))
                #expect(whole.text.hasPrefix("HTTP/1.1"))
                // Until the observer's own is the only connection.
                var status = ""
                while !status.hasPrefix("Active connections: 1 ") {
                    status = await readAll(try await observer.start(get(front.statusURL))).text
                }
            }
        }
    }

    @Test func aCallThatIsCutOrCancelledLeavesTheOthersAlone() async throws {
        let upstream = ScriptedUpstream { connection, _ in
            guard let request = connection.readRequest() else { return }
            if request.line.contains("/cut") {
                connection.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbefore")
            } else if request.line.contains("/open") {
                connection.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
                connection.waitForEnd()
            } else {
                connection.write(Self.quick)
            }
        }
        let front = try SecureFront(before: upstream)
        try await onLoop {
            let client = client(front)
            let other = try await client.start(post(front.url("/open"), nil))
            #expect(try await other.next() == Array("abc".utf8))
            let cut = await readAll(try await client.start(post(front.url("/cut"), nil)))
            #expect(cut.text == "before")
            #expect(cut.failure?.isCut == true)
            await (try await client.start(post(front.url("/open"), nil))).cancel()
            #expect(await readAll(try await client.start(post(front.url("/x"), nil))).text == "ok")
            await other.cancel()
        }
    }
}
