import CurlUpstream
import EventLoop
import Glibc
import ProxyGPT
import Testing

@Suite(.timeLimit(.minutes(5)), .enabled(if: SecureFront.isAvailable)) struct SecureTests {
    private static let quick = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    /// Makes calls all at once and returns what they were answered.
    private func crowd(_ count: Int, _ url: String, _ certificate: String) async throws -> [String]
    {
        try await onLoop {
            let client = makeUpstream { $0.certificateFile = certificate }
            let calls = (0..<count).map { _ in
                Task { @EventLoop in
                    await readAll(try await client.start(post(url, nil))).text
                }
            }
            var answers: [String] = []
            for call in calls { answers.append(try await call.value) }
            return answers
        }
    }

    @Test func aHundredCallsShareOneConnectionOverHTTP2() async throws {
        let front = try SecureFront(before: ScriptedUpstream(answering: Self.quick))
        let answers = try await crowd(100, front.shared("/who"), front.certificate)
        #expect(answers.count == 100)
        #expect(Set(answers).count == 1)
        #expect(answers.first?.hasPrefix("HTTP/2.0 ") == true)
    }

    @Test func aCrowdOfFirstCallsOpensFewConnectionsOverHTTP2() async throws {
        // Nobody is answered before all have arrived.
        let arrived = Counter()
        let all = Semaphore()
        let upstream = ScriptedUpstream { connection, _ in
            guard connection.readRequest() != nil else { return }
            if arrived.add(1) == 400 { for _ in 0..<400 { all.signal() } }
            all.wait()
            connection.write(Self.quick)
        }
        let front = try SecureFront(before: upstream)
        let connections = try await onLoop {
            let client = makeUpstream { $0.certificateFile = front.certificate }
            let calls = (0..<400).map { _ in
                Task { @EventLoop in
                    let reply = try await client.start(post(front.shared("/x"), Pieces("x")))
                    #expect(await readAll(reply).text == "ok")
                    return reply.head.value(of: "x-connection")
                }
            }
            var connections: Set<String?> = []
            for call in calls { connections.insert(try await call.value) }
            return connections
        }
        #expect(!connections.contains(nil))
        // libcurl puts a hundred on each.
        #expect((4...10).contains(connections.count))
    }

    @Test func aHundredCallsWorkWhereOnlyHTTP1IsOffered() async throws {
        let front = try SecureFront(before: ScriptedUpstream(answering: Self.quick))
        let answers = try await crowd(100, front.separate("/x"), front.certificate)
        #expect(answers.count == 100)
        #expect(Set(answers) == ["ok"])
    }

    @Test func aCertificateThatNobodyKnowsIsRefusedByName() async throws {
        let front = try SecureFront(before: ScriptedUpstream(answering: Self.quick))
        let (unknown, misnamed) = try await onLoop {
            let unknown = await failing(post(front.shared("/"), nil), with: makeUpstream())
            let client = makeUpstream { $0.certificateFile = front.certificate }
            return (unknown, await failing(post(front.misnamed("/"), nil), with: client))
        }
        #expect(unknown?.cause?.contains("certificate") == true)
        #expect(misnamed?.cause?.contains("127.0.0.1") == true)
    }

    @Test(arguments: [true, false])
    func aLargeUploadGoesThroughHTTP2(lengthIsKnown: Bool) async throws {
        let size = 4 * 1024 * 1024
        let upstream = ScriptedUpstream { connection, _ in
            guard let request = connection.readRequest() else { return }
            // Chunks are counted with their framing.
            connection.write("HTTP/1.1 200 OK\r\n\r\n\(request.body.count >= size)")
        }
        let front = try SecureFront(before: upstream)
        let whole = try await onLoop {
            let client = makeUpstream { $0.certificateFile = front.certificate }
            let body = Pieces(length: lengthIsKnown ? Int64(size) : nil) { number in
                // Now and then a piece takes its time.
                if number % 16 == 0 { await Task.yield() }
                return number < 64 ? [UInt8](repeating: 1, count: size / 64) : nil
            }
            return await readAll(try await client.start(post(front.shared("/x"), body)))
        }
        #expect(whole.text == "true")
        #expect(whole.failure == nil)
    }

    @Test func aStreamThatIsCutOrCancelledLeavesTheOthersAlone() async throws {
        let ended = Mailbox<Int64>()
        let upstream = ScriptedUpstream { connection, _ in
            guard let request = connection.readRequest() else { return }
            if request.line.contains("/cut") {
                connection.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbefore")
            } else if request.line.contains("/slow") {
                connection.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
                connection.waitForEnd()
            } else if request.line.contains("/open") {
                connection.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
                connection.waitForEnd()
                ended.post(monotonicMilliseconds())
            } else {
                connection.write(Self.quick)
            }
        }
        let front = try SecureFront(before: upstream)
        let start = try await onLoop {
            let client = makeUpstream { $0.certificateFile = front.certificate }
            let who = { try await client.start(post(front.shared("/who"), nil)) }
            #expect(await readAll(try await who()).text.hasPrefix("HTTP/2.0 "))
            let cut = await readAll(try await client.start(post(front.shared("/cut"), nil)))
            #expect(cut.text == "before")
            #expect(cut.failure?.isCut == true)
            // Another call is on the connection, which therefore goes on.
            let other = try await client.start(post(front.shared("/slow"), nil))
            let open = try await client.start(post(front.shared("/open"), nil))
            let start = monotonicMilliseconds()
            await open.cancel()
            #expect(await readAll(try await who()).text.hasPrefix("HTTP/2.0 "))
            await other.cancel()
            return start
        }
        #expect(try await ended.take() - start < promptly)
    }

    @Test func anAnswerThatNobodyReadsDoesNotStallTheOthersOfItsConnection() async throws {
        let ended = Mailbox<Bool>()
        let upstream = ScriptedUpstream { connection, _ in
            guard let request = connection.readRequest() else { return }
            guard request.line.contains("/endless") else {
                connection.write(Self.quick)
                return
            }
            connection.write("HTTP/1.1 200 OK\r\n\r\n")
            let piece = [UInt8](repeating: 1, count: 65536)
            while connection.write(piece) == piece.count {}
            ended.post(true)
        }
        let front = try SecureFront(before: upstream)
        let (bytes, failure) = try await onLoop {
            let client = makeUpstream { $0.certificateFile = front.certificate }
            let unread = try await client.start(post(front.shared("/endless"), nil))
            for _ in 0..<100 {
                let quick = try await client.start(post(front.shared("/quick"), nil))
                #expect(await readAll(quick).text == "ok")
            }
            // Cut, since nobody reads it.
            _ = try await ended.take()
            let whole = await readAll(unread)
            return (whole.body.count, whole.failure)
        }
        #expect(bytes >= 32 * 1024 * 1024)
        #expect(bytes < 33 * 1024 * 1024)
        #expect(failure == .cut("more than 32 MiB of the answer were not read"))
    }
}
