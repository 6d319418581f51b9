import EventLoop
import FastCGI
import Glibc
import Synchronization
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(5))) struct FastCGIServerTests {
    private let pool: Pool

    init() throws {
        pool = try Pool()
    }

    @Test("Garbage is hung up on, silence is borne, and neither holds up anybody else")
    func survivesBadPeers() async throws {
        let pool = pool
        let server = try await onLoop { try pool.serve { await $0.echo() } }
        let head = Record.head(["A": "1"])
        var silent: [FastCGIClient] = []
        for length in [0, 1, 7, 8, 15, 16, 20, head.count - 1] {
            let client = try pool.connect()
            client.send(Array(head.prefix(length)))
            silent.append(client)
        }
        // Silent in the middle of a body as well, between two records.
        let waiting = try pool.connect()
        waiting.send(head + Record.make(5, Array("abc".utf8)))
        silent.append(waiting)
        for garbage in [Array("GET / HTTP/1.1\r\n\r\n".utf8), [0xFF], Record.make(9, [], id: 0)] {
            let client = try pool.connect()
            let answer = try await FastCGIClient.onThread {
                client.send(garbage)
                return client.answer()
            }
            #expect(answer == .cut([], garbage: []))
        }
        let client = try pool.connect()
        for _ in 0..<100 {
            #expect(try await client.call(body: [1, 2, 3]) == .whole([1, 2, 3]))
        }
        // A silent one that goes on after all is served: libfcgi, had it been asked to wait for it,
        // would have given it up.
        let last = silent[6]
        last.send(Array(head.dropFirst(20)) + Record.body([7]))
        #expect(try await FastCGIClient.onThread { last.answer() } == .whole([7]))
        for client in silent { client.hangUp() }
        await server.drain(milliseconds: 5000)
    }

    @Test("Parameters that contradict themselves are hung up on")
    func survivesBadParameters() async throws {
        let pool = pool
        let server = try await onLoop { try pool.serve { await $0.answer("taken") } }
        for content in [[0xFF, 0xFF, 0xFF, 0xFF], [5, 5, 65], [0x80, 0, 0, 5, 1]] as [[UInt8]] {
            let client = try pool.connect()
            let answer = try await FastCGIClient.onThread {
                client.send(
                    Record.begin() + Record.make(4, content) + Record.make(4, []) + Record.body([]))
                return client.answer()
            }
            #expect(answer == .cut([], garbage: []))
        }
        #expect(try await pool.connect().call() == .whole(Array("taken".utf8)))
        await server.drain(milliseconds: 1000)
    }

    @Test("A head of more than 160 KiB is refused, and one of 60 KiB is served")
    func limitsTheHead() async throws {
        let pool = pool
        let server = try await onLoop { try pool.serve { await $0.answer("taken") } }
        let text = String(repeating: "x", count: 60_000)
        #expect(try await pool.connect().call(["A": text]) == .whole(Array("taken".utf8)))
        let client = try pool.connect()
        let answer = try await FastCGIClient.onThread {
            client.send(Record.begin())
            for _ in 0..<6 { client.send(Record.parameters(["A": text])) }
            return client.answer()
        }
        guard case .cut([], _) = answer else {
            Issue.record("\(answer)")
            return
        }
        await server.drain(milliseconds: 1000)
    }

    @Test("A full worker refuses what no sibling takes, and takes again when it has room")
    func refusesWhenFull() async throws {
        let pool = pool
        let (begun, release) = (Gate(), Gate())
        let server = try await onLoop {
            try pool.serve(maxInFlight: 1) { request in
                if request.isRefused { return await request.answer("refused") }
                if request.parameter("WAIT") != nil {
                    begun.open()
                    await release.wait()
                }
                await request.answer("served")
            }
        }
        let kept = try pool.connect()
        #expect(try await kept.call() == .whole(Array("served".utf8)))
        let first = try pool.connect()
        async let held = first.call(["WAIT": "1"])
        await begun.wait()
        // New connections and kept ones alike.
        for client in [try pool.connect(), try pool.connect(), kept] {
            #expect(try await client.call() == .whole(Array("refused".utf8)))
        }
        release.open()
        #expect(try await held == .whole(Array("served".utf8)))
        for client in [kept, try pool.connect()] {
            #expect(try await client.call() == .whole(Array("served".utf8)))
        }
        await server.drain(milliseconds: 1000)
    }

    @Test("A full worker's kept connections are served by a sibling that has room")
    func passesOnWhenFull() async throws {
        let pool = pool
        let (begun, release) = (Gate(), Gate())
        let full = try await onLoop {
            try pool.serve(maxInFlight: 1, handsOver: true) { request in
                if request.parameter("WAIT") != nil {
                    begun.open()
                    await release.wait()
                }
                await request.answer(request.isRefused ? "refused" : "first")
            }
        }
        let kept = try pool.connect()
        #expect(try await kept.call() == .whole(Array("first".utf8)))
        let busy = try pool.connect()
        async let held = busy.call(["WAIT": "1"])
        await begun.wait()
        let sibling = try await onLoop {
            try pool.serve(handsOver: true) { await $0.answer("second") }
        }
        let passedOn = try await kept.call()
        #expect(passedOn == .whole(Array("second".utf8)), "\(passedOn)")
        #expect(try await pool.connect().call() == .whole(Array("second".utf8)))
        release.open()
        #expect(try await held == .whole(Array("first".utf8)))
        await full.drain(milliseconds: 1000)
        await sibling.drain(milliseconds: 1000)
    }

    @Test("A drain waits for what is running and hands idle connections to a sibling")
    func handsOver() async throws {
        let pool = pool
        let (begun, release, isDrained) = (Gate(), Gate(), Gate())
        let old = try await onLoop {
            try pool.serve(handsOver: true) { request in
                if request.parameter("WAIT") != nil {
                    begun.open()
                    await release.wait()
                }
                await request.answer("old")
            }
        }
        var idle: [FastCGIClient] = []
        for _ in 0..<5 {
            let client = try pool.connect()
            #expect(try await client.call() == .whole(Array("old".utf8)))
            idle.append(client)
        }
        // One that has sent half a head is idle, too.
        let head = Record.head(["A": "1"])
        let halfway = try pool.connect()
        #expect(try await halfway.call() == .whole(Array("old".utf8)))
        halfway.send(Array(head.prefix(11)))
        let busy = try pool.connect()
        async let held = busy.call(["WAIT": "1"])
        await begun.wait()
        let new = try await onLoop { try pool.serve(handsOver: true) { await $0.answer("new") } }
        let drain = Task { @EventLoop in
            await old.drain(milliseconds: 30_000)
            isDrained.open()
            return monotonicMilliseconds()
        }
        // Behind it in the loop's queue: the drain has begun.
        try await onLoop {}
        for client in idle {
            let answer = try await client.call()
            #expect(answer == .whole(Array("new".utf8)), "\(answer)")
        }
        halfway.send(Array(head.dropFirst(11)) + Record.body([]))
        #expect(try await FastCGIClient.onThread { halfway.answer() } == .whole(Array("new".utf8)))
        #expect(try await onLoop { old.inFlight } == 1)
        let released = monotonicMilliseconds()
        release.open()
        #expect(try await held == .whole(Array("old".utf8)))
        await isDrained.wait()
        #expect(await drain.value >= released)
        // The connection that was in use is handed over after its answer.
        #expect(try await busy.call() == .whole(Array("new".utf8)))
        await new.drain(milliseconds: 1000)
    }

    @Test("More idle connections than the handover socket holds are all handed over")
    func handsOverMany() async throws {
        let pool = pool
        let old = try await onLoop { try pool.serve(handsOver: true) { await $0.answer("old") } }
        let clients = try (0..<60).map { _ in try pool.connect() }
        for client in clients { #expect(try await client.call() == .whole(Array("old".utf8))) }
        // Nobody takes them yet: the socket fills up.
        let drain = Task { @EventLoop in await old.drain(milliseconds: 30_000) }
        try await onLoop {}
        let new = try await onLoop { try pool.serve(handsOver: true) { await $0.answer("new") } }
        await drain.value
        for client in clients { #expect(try await client.call() == .whole(Array("new".utf8))) }
        await new.drain(milliseconds: 1000)
    }

    @Test("Without siblings a drain closes idle connections, and aborts what outlasts it")
    func limitsTheDrain() async throws {
        let pool = pool
        let begun = Gate()
        let server = try await onLoop {
            try pool.serve { request in
                if request.parameter("WAIT") != nil {
                    begun.open()
                    await EventLoop.sleep(milliseconds: 60_000)
                }
                await request.answer("served")
            }
        }
        let idle = try pool.connect()
        #expect(try await idle.call() == .whole(Array("served".utf8)))
        let busy = try pool.connect()
        async let held = busy.call(["WAIT": "1"])
        await begun.wait()
        await server.drain(milliseconds: 50)
        #expect(try await held == .cut([], garbage: [UInt8](repeating: 0xFF, count: 8)))
        #expect(try await FastCGIClient.onThread { idle.answer() } == .cut([], garbage: []))
        #expect(try await onLoop { server.inFlight } == 0)
    }

    @Test("A handover socket that is not a bound socket is refused at start")
    func refusesWrongSockets() async throws {
        try await onLoop {
            let file = open("/dev/null", O_RDWR)
            defer { close(file) }
            #expect(throws: SystemError.self) {
                try FastCGIServer(.init(listener: 0, handover: file, maxInFlight: 1)) { _ in }
            }
        }
    }
}
