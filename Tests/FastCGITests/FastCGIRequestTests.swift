import EventLoop
import FastCGI
import Glibc
import Synchronization
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(5))) struct FastCGIRequestTests {
    private let pool: Pool

    init() throws {
        pool = try Pool()
    }

    private func start(
        _ serve: @escaping @EventLoop (FastCGIRequest) async -> Void
    ) async throws -> FastCGIServer {
        let pool = pool
        return try await onLoop { try pool.serve(serve) }
    }

    private static let noise = (0..<1 << 20).map {
        UInt8(truncatingIfNeeded: $0 &* 2_654_435_761 >> 7)
    }

    @Test("Parameters arrive whole, empty and long ones too")
    func readsParameters() async throws {
        let long = String(repeating: "é", count: 10_000)
        let server = try await start { request in
            // libfcgi adds FCGI_ROLE.
            let names = request.parameters.map(\.name).filter { $0 != "FCGI_ROLE" }
            await request.answer(
                "\(names) \(request.parameter("EMPTY") ?? "-") \(request.parameter("LONG") == long)"
            )
        }
        let answer = try await pool.connect().call(["A": "x=y", "EMPTY": "", "LONG": long])
        #expect(answer == .whole(Array(#"["A", "EMPTY", "LONG"]  true"#.utf8)))
        await server.drain(milliseconds: 1000)
    }

    @Test("A value that is no UTF-8 is kept as it came")
    func keepsOtherBytes() async throws {
        let raw: [UInt8] = [0x61, 0xE9, 0xFF]
        let server = try await start { request in
            let parameter = request.parameters.first { $0.name == "RAW" }
            let text = request.parameters.first { $0.name == "TEXT" }
            await request.answer(
                "\(parameter?.rawValue ?? []) \(parameter?.value ?? "") \(text?.rawValue == nil)")
        }
        let client = try pool.connect()
        let answer = try await FastCGIClient.onThread {
            let parameters: [UInt8] =
                [3, 3] + Array("RAW".utf8) + raw + [4, 2] + Array("TEXTé".utf8)
            client.send(Record.begin() + Record.make(4, parameters) + Record.make(4, []))
            client.send(Record.body([]))
            return client.answer()
        }
        #expect(answer == .whole(Array("[97, 233, 255] a\u{FFFD}\u{FFFD} true".utf8)))
        await server.drain(milliseconds: 1000)
    }

    @Test("One connection carries one request after another")
    func keepsTheConnection() async throws {
        let server = try await start { await $0.answer("n = \($0.parameter("N") ?? "-")") }
        let client = try pool.connect()
        for number in 1...50 {
            #expect(
                try await client.call(["N": "\(number)"]) == .whole(Array("n = \(number)".utf8)))
        }
        await server.drain(milliseconds: 1000)
    }

    @Test("A connection that the web server does not keep is closed after its answer")
    func closesTheConnection() async throws {
        let server = try await start { await $0.answer("once") }
        let client = try pool.connect()
        let answers = try await FastCGIClient.onThread {
            client.send(Record.head(["A": "1"], keepsConnection: false) + Record.body([]))
            return [client.answer(), client.answer()]
        }
        #expect(answers == [.whole(Array("once".utf8)), .cut([], garbage: [])])
        await server.drain(milliseconds: 1000)
    }

    @Test(
        "A body of a mebibyte arrives in whatever pieces it was sent",
        arguments: [1000, 8184, 8192, 65_535])
    func readsLargeBodies(pieces: Int) async throws {
        let server = try await start { request in
            do throws(PeerGone) {
                var body: [UInt8] = []
                while let bytes = try await request.readBody() {
                    if bytes.isEmpty || bytes.count > 64 * 1024 { return request.abort() }
                    body += bytes
                }
                await request.answer(body == Self.noise ? "equal" : "\(body.count) bytes")
            } catch {
                request.abort()
            }
        }
        let client = try pool.connect()
        for _ in 0..<2 {
            let answer = try await FastCGIClient.onThread {
                client.send(Record.head(["A": "1"]) + Record.body(Self.noise, pieces: pieces))
                return client.answer()
            }
            #expect(answer == .whole(Array("equal".utf8)))
        }
        await server.drain(milliseconds: 1000)
    }

    @Test("A request may come byte by byte, its body's record headers split anywhere")
    func readsSplitRecords() async throws {
        let server = try await start { await $0.echo() }
        let client = try pool.connect()
        let body = Array("first, second and third".utf8)
        let bytes = Record.head(["A": "1"]) + Record.body(body, pieces: 7)
        let headLength = Record.head(["A": "1"]).count
        for split in headLength - 2..<bytes.count {
            let answer = try await FastCGIClient.onThread {
                client.send(Array(bytes[..<split]))
                sched_yield()
                client.send(Array(bytes[split...]))
                return client.answer()
            }
            #expect(answer == .whole(body), "split at \(split)")
        }
        let slowly = try await FastCGIClient.onThread {
            for byte in bytes { client.send([byte]) }
            return client.answer()
        }
        #expect(slowly == .whole(body))
        await server.drain(milliseconds: 1000)
    }

    @Test("A piece of the body is there before the rest was sent")
    func readsAsItArrives() async throws {
        let server = try await start { await $0.echo() }
        let client = try pool.connect()
        let answer = try await FastCGIClient.onThread {
            // Each answer is awaited before more is sent: a reader of the whole body hangs here.
            client.send(Record.head(["A": "1"]))
            var header = [UInt8](repeating: 0, count: 16)
            for piece in ["abc", "def", "ghi"] {
                client.send(Record.make(5, Array(piece.utf8)))
                guard recv(client.descriptor, &header, 16, Int32(MSG_WAITALL)) == 16,
                    header[8..<11].elementsEqual(piece.utf8)
                else { return Answer.timeout }
            }
            client.send(Record.make(5, []))
            return client.answer()
        }
        #expect(answer == .whole([]))
        await server.drain(milliseconds: 1000)
    }

    @Test("An answer of a mebibyte waits for a slow reader, and the loop for nobody")
    func waitsForSlowReaders() async throws {
        let isWriting = Gate()
        let server = try await start { request in
            guard request.parameter("N") == nil else { return await request.answer("quick") }
            isWriting.open()
            try? await request.write(Self.noise, flush: true)
            await request.finish()
        }
        let slow = try pool.connect()
        try await FastCGIClient.onThread { slow.send(Record.request(["SLOW": "1"])) }
        await isWriting.wait()
        // Nobody reads there, and still others are served.
        let quick = try pool.connect()
        for _ in 0..<20 { #expect(try await quick.call(["N": "1"]) == .whole(Array("quick".utf8))) }
        #expect(try await onLoop { server.inFlight } == 1)
        let answer = try await FastCGIClient.onThread { slow.answer() }
        #expect(answer == .whole(Self.noise))
        await server.drain(milliseconds: 1000)
    }

    @Test("An abort sends what there is, then eight bytes that are no record, and hangs up")
    func aborts() async throws {
        let server = try await start { request in
            try? await request.write(Array("half an ans".utf8), flush: false)
            request.abort()
            request.abort()
            await request.finish()
        }
        let answer = try await pool.connect().call()
        #expect(
            answer == .cut(Array("half an ans".utf8), garbage: [UInt8](repeating: 0xFF, count: 8)))
        await server.drain(milliseconds: 1000)
    }

    @Test("A request that was never ended is aborted")
    func abortsTheForgotten() async throws {
        let server = try await start { _ in }
        let answer = try await pool.connect().call()
        #expect(answer == .cut([], garbage: [UInt8](repeating: 0xFF, count: 8)))
        await server.drain(milliseconds: 1000)
    }

    @Test("A web server that leaves cancels the request's task")
    func cancelsOnLeave() async throws {
        let (begun, ended) = (Gate(), Gate())
        let server = try await start { request in
            begun.open()
            await EventLoop.sleep(milliseconds: 60_000)
            #expect(Task.isCancelled)
            await #expect(throws: PeerGone.self) { try await request.write([1], flush: true) }
            await request.finish()
            ended.open()
        }
        let client = try pool.connect()
        client.send(Record.request(["A": "1"]))
        await begun.wait()
        client.hangUp()
        await ended.wait()
        await server.drain(milliseconds: 1000)
        #expect(try await onLoop { server.inFlight } == 0)
    }

    @Test("A task that waits for the body, or for a reader, is woken when the web server leaves")
    func wakesOnLeave() async throws {
        for phase in ["body", "answer"] {
            let (begun, ended) = (Gate(), Gate())
            let server = try await start { request in
                begun.open()
                if phase == "body" {
                    while let bytes = try? await request.readBody() { _ = bytes }
                } else {
                    while (try? await request.write(Self.noise, flush: true)) != nil {}
                }
                ended.open()
            }
            let client = try pool.connect()
            client.send(Record.head(["A": "1"]) + (phase == "body" ? [] : Record.body([])))
            await begun.wait()
            // By now it waits, or will find out at once.
            try await onLoop {}
            client.hangUp()
            await ended.wait()
            await server.drain(milliseconds: 1000)
            #expect(try await onLoop { server.inFlight } == 0)
        }
    }

    @Test("A body that the request did not read does not disturb the next one")
    func discardsTheRest() async throws {
        let server = try await start { await $0.answer("unread") }
        let client = try pool.connect()
        for _ in 0..<3 {
            let answer = try await FastCGIClient.onThread {
                client.send(Record.request(["A": "1"], body: Array(Self.noise.prefix(200_000))))
                return client.answer()
            }
            #expect(answer == .whole(Array("unread".utf8)))
        }
        await server.drain(milliseconds: 1000)
    }
}
