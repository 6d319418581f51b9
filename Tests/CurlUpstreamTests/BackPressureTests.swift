import CurlUpstream
import EventLoop
import Glibc
import ProxyGPT
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(5))) struct BackPressureTests {
    @Test func anEndlessAnswerStopsWhileNobodyReadsItAndGoesOnAfterwards() async throws {
        let written = Counter()
        let upstream = ScriptedUpstream { connection, _ in
            guard connection.readRequest() != nil else { return }
            connection.write("HTTP/1.1 200 OK\r\n\r\n")
            var number: UInt8 = 0
            while true {
                number &+= 1
                let piece = [UInt8](repeating: number, count: 65536)
                let count = connection.write(piece)
                written.add(count)
                if count < piece.count { return }
            }
        }
        try await onLoop {
            let reply = try await makeUpstream().start(get(upstream.url()))
            // At rest once a second brought nothing more.
            var atRest = -1
            while written.value != atRest, atRest < 16 * 1024 * 1024 {
                atRest = written.value
                await EventLoop.sleep(milliseconds: 1000)
            }
            // 256 KiB here, the rest in the kernel's buffers.
            #expect(atRest < 16 * 1024 * 1024)
            var gathered: [UInt8] = []
            var most = 0
            while gathered.count < 3 * atRest {
                guard let bytes = try await reply.next() else { break }
                most = max(most, bytes.count)
                gathered += bytes
            }
            let wrong = stride(from: 0, to: 3 * atRest - 65536, by: 65536).filter { start in
                let number = UInt8(truncatingIfNeeded: start / 65536 + 1)
                let piece = [UInt8](repeating: number, count: 65536)
                return memcmp(Array(gathered[start..<(start + 65536)]), piece, 65536) != 0
            }
            #expect(wrong.isEmpty)
            #expect(most <= 256 * 1024 + 64 * 1024)
            await reply.cancel()
        }
    }

    @Test func aPausedCallDoesNotHoldUpOthers() async throws {
        let upstream = ScriptedUpstream { connection, _ in
            guard let request = connection.readRequest() else { return }
            connection.write("HTTP/1.1 200 OK\r\n\r\n")
            let piece = [UInt8](repeating: 0, count: 65536)
            if request.line.contains("endless") {
                while connection.write(piece) == piece.count {}
            } else {
                connection.write("quick")
            }
        }
        let texts = try await onLoop {
            let client = makeUpstream()
            let paused = try await client.start(get(upstream.url("/endless")))
            var texts: [String] = []
            for _ in 0..<20 {
                let quick = try await client.start(get(upstream.url("/quick")))
                texts.append(await readAll(quick).text)
            }
            await paused.cancel()
            return texts
        }
        #expect(texts == Array(repeating: "quick", count: 20))
    }
}
