import CurlUpstream
import EventLoop
import ProxyGPT
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(5))) struct UploadTests {
    private static let size = 8 * 1024 * 1024
    private static let piece = 32 * 1024

    @Test(arguments: [true, false])
    func eightMiBGoThroughWithoutBeingHeld(lengthIsKnown: Bool) async throws {
        let mayRead = Semaphore()
        let checksum = Mailbox<(bytes: Int, sum: UInt64, head: String)>()
        let upstream = ScriptedUpstream { connection, _ in
            guard let head = connection.readHead() else { return }
            mayRead.wait()
            var count = 0
            var sum: UInt64 = 0
            var reader = ChunkReader(isChunked: !lengthIsKnown)
            while count < Self.size || !reader.isWhole, let bytes = connection.read() {
                for byte in reader.take(bytes) {
                    sum = sum &* 31 &+ UInt64(byte)
                    count += 1
                }
                if lengthIsKnown && count == Self.size { break }
            }
            checksum.post((count, sum, head))
            connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            connection.waitForEnd()
        }
        let body = Pieces(length: lengthIsKnown ? Int64(Self.size) : nil) { number in
            number < Self.size / Self.piece
                ? [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: Self.piece) : nil
        }
        let (askedEarly, text) = try await onLoop {
            let client = makeUpstream()
            let task = Task { @EventLoop in
                await readAll(try await client.start(post(upstream.url(), body))).text
            }
            // Nobody reads: what is asked for must come to rest long before the end.
            var last = -1
            await until {
                defer { last = body.asked }
                return body.asked > 2 && body.asked == last
            }
            await EventLoop.sleep(milliseconds: 50)
            let asked = body.asked
            mayRead.signal()
            return (asked, try await task.value)
        }
        var expected: UInt64 = 0
        for number in 0..<(Self.size / Self.piece) {
            for _ in 0..<Self.piece { expected = expected &* 31 &+ UInt64(number & 255) }
        }
        let seen = try await checksum.take()
        #expect(seen.bytes == Self.size)
        #expect(seen.sum == expected)
        #expect(text == "ok")
        // Loopback's socket buffers take up to some 4 MiB.
        #expect(askedEarly < Self.size / Self.piece)
        let head = seen.head.lowercased()
        #expect(head.contains("content-length: \(Self.size)") == lengthIsKnown)
        #expect(head.contains("transfer-encoding: chunked") == !lengthIsKnown)
        #expect(!head.contains("expect:"))
        #expect(!head.contains("content-type:"))
    }

    @Test func aPieceGoesOutBeforeTheNextOneIsThere() async throws {
        let next = Mailbox<Void>()
        let upstream = ScriptedUpstream { connection, _ in
            guard connection.readHead() != nil else { return }
            var count = 0
            while count < 100_000 {
                guard let bytes = connection.read() else { return }
                count += bytes.count
                if count % 10_000 == 0 { next.post(()) }
            }
            connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            connection.waitForEnd()
        }
        let body = Pieces(length: 100_000) { number in
            if number > 0 { try await next.take() }
            return number < 10 ? [UInt8](repeating: 1, count: 10_000) : nil
        }
        let whole = try await onLoop {
            await readAll(try await makeUpstream().start(post(upstream.url(), body)))
        }
        #expect(whole.text == "ok")
    }

    @Test(arguments: [
        "HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nearly",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly",
        "HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nearly\r\n0\r\n\r\n",
    ])
    func anEarlyAnswerIsDelivered(answer: String) async throws {
        let ended = Mailbox<Void>()
        let upstream = ScriptedUpstream { connection, _ in
            guard connection.readHead() != nil else { return }
            connection.write(answer)
            connection.waitForEnd()
            ended.post(())
        }
        let body = Pieces(length: 10_000_000) { number in
            if number == 0 { return [UInt8](repeating: 1, count: 1000) }
            try await Task.sleep(for: .seconds(30))
            return nil
        }
        let whole = try await onLoop {
            await readAll(try await makeUpstream().start(post(upstream.url(), body)))
        }
        #expect(whole.text == "early")
        #expect(whole.failure == nil)
        try await ended.take()
    }

    @Test func anUpstreamThatRefusesAndListensNoMoreIsHeard() async throws {
        let upstream = ScriptedUpstream { connection, _ in
            guard connection.readHead() != nil else { return }
            connection.write(
                "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno")
            connection.finishWriting()
            connection.waitForEnd()
        }
        let body = Pieces(length: 50_000_000) { _ in [UInt8](repeating: 1, count: 50_000) }
        let (status, whole) = try await onLoop {
            let reply = try await makeUpstream().start(post(upstream.url(), body))
            return (reply.head.status, await readAll(reply))
        }
        #expect(status == 413)
        #expect(whole.text == "no")
    }

    @Test(arguments: [Int64(5), 100_000, nil])
    func aBodyThatFailsEndsTheCall(length: Int64?) async throws {
        let upstream = ScriptedUpstream { connection, _ in connection.waitForEnd() }
        let body = Pieces(length: length) { number in
            if number == 1 { throw Pieces.Failed() }
            return [1, 2, 3]
        }
        let failure = try await onLoop {
            await failing(post(upstream.url(), body), with: makeUpstream())
        }
        #expect(failure == .cancelled)
    }

    @Test(arguments: [Int64(5), 100_000])
    func aBodyThatIsShorterThanItSaidEndsTheCall(length: Int64) async throws {
        let upstream = ScriptedUpstream { connection, _ in connection.waitForEnd() }
        let body = Pieces(length: length) { $0 == 0 ? [1, 2, 3] : nil }
        let failure = try await onLoop {
            await failing(post(upstream.url(), body), with: makeUpstream())
        }
        #expect(failure == .cancelled)
    }

    @Test func anEmptyBodyHasALength() async throws {
        let upstream = ScriptedUpstream { connection, _ in
            guard let request = connection.readRequest() else { return }
            let length = request.values(of: "content-length").joined()
            connection.write("HTTP/1.1 200 OK\r\n\r\n\(request.line) \(length)")
        }
        let whole = try await onLoop {
            let call = UpstreamCall(
                method: "DELETE", url: upstream.url(), headers: [],
                body: Pieces(length: 0) { _ in nil })
            return await readAll(try await makeUpstream().start(call))
        }
        #expect(whole.text == "DELETE /v1/x HTTP/1.1 0")
    }
}

/// Takes chunked coding off, or leaves bytes as they are.
private struct ChunkReader {
    let isChunked: Bool
    private(set) var isWhole: Bool
    private var left = 0
    private var line: [UInt8] = []

    init(isChunked: Bool) {
        self.isChunked = isChunked
        isWhole = !isChunked
    }

    mutating func take(_ bytes: [UInt8]) -> [UInt8] {
        guard isChunked else { return bytes }
        var data: [UInt8] = []
        var index = 0
        while index < bytes.count {
            if left > 0 {
                let count = min(left, bytes.count - index)
                data += bytes[index..<(index + count)]
                left -= count
                index += count
                continue
            }
            line.append(bytes[index])
            index += 1
            guard line.last == 10, line.count > 2 else { continue }
            let digits = String(decoding: line.dropLast(2).drop { $0 < 32 }, as: UTF8.self)
            left = Int(digits, radix: 16) ?? 0
            isWhole = left == 0
            line = []
        }
        return data
    }
}
