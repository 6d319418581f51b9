import EventLoop
import Glibc
import ProxyGPT
import Testing

@testable import CurlUpstream

@Suite(.timeLimit(.minutes(5))) struct LimitTests {
    /// Accepts, says something, then nothing until the peer leaves.
    private func silent(after text: String) -> ScriptedUpstream {
        ScriptedUpstream { connection, _ in
            guard connection.readRequest() != nil else { return }
            connection.write(text)
            connection.waitForEnd()
        }
    }

    @Test func aConnectionThatDoesNotComeAboutIsAConnectTimeout() async throws {
        // Accepts, but never answers the TLS greeting.
        let upstream = ScriptedUpstream { connection, _ in connection.waitForEnd() }
        let failure = try await onLoop {
            let client = makeUpstream { $0.connectLimit = 200 }
            return await failing(get("https://127.0.0.1:\(upstream.port)/"), with: client)
        }
        #expect(failure == .connectTimeout)
    }

    @Test func aNameThatTakesTooLongIsAConnectTimeout() async throws {
        let release = Semaphore()
        let failure = try await onLoop {
            let names = NameCache { _ in
                release.wait()
                return .failed("late")
            }
            var configuration = CurlUpstream.Configuration(key: nil)
            configuration.connectLimit = 200
            let client = CurlUpstream(configuration, names: names)
            return await failing(get("http://slow.example/"), with: client)
        }
        release.signal()
        #expect(failure == .connectTimeout)
    }

    @Test(arguments: ["", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 200 OK\r\nA: 1\r\n"])
    func aHeadThatDoesNotComeIsAFirstByteTimeout(text: String) async throws {
        let upstream = silent(after: text)
        let failure = try await onLoop {
            let client = makeUpstream { $0.firstByteLimit = 200 }
            return await failing(get(upstream.url()), with: client)
        }
        #expect(failure == .firstByteTimeout)
    }

    @Test func silenceWithinTheAnswerIsAnIdleTimeoutAfterWhatHasCome() async throws {
        let upstream = silent(after: "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        let whole = try await onLoop {
            let client = makeUpstream { $0.idleLimit = 200 }
            return await readAll(try await client.start(get(upstream.url())))
        }
        #expect(whole.text == "abc")
        #expect(whole.failure == .idleTimeout)
    }

    @Test func aDrippingAnswerIsNotIdleButEndsWithTheCallTimeout() async throws {
        let upstream = ScriptedUpstream { connection, _ in
            guard connection.readRequest() != nil else { return }
            connection.write("HTTP/1.1 200 OK\r\n\r\n")
            while connection.write("x") == 1 { usleep(20_000) }
        }
        let whole = try await onLoop {
            let client = makeUpstream {
                $0.idleLimit = 60_000
                $0.callLimit = 10_000
            }
            return await readAll(try await client.start(get(upstream.url())))
        }
        #expect(whole.failure == .callTimeout)
        #expect(!whole.body.isEmpty)
    }

    @Test func timeInWhichNobodyReadsIsNotTheUpstreamsSilence() async throws {
        let upstream = ScriptedUpstream { connection, _ in
            guard connection.readRequest() != nil else { return }
            connection.write("HTTP/1.1 200 OK\r\nContent-Length: 4000000\r\n\r\n")
            connection.write([UInt8](repeating: 1, count: 4_000_000))
            connection.waitForEnd()
        }
        let whole = try await onLoop {
            let client = makeUpstream { $0.idleLimit = 8_000 }
            let reply = try await client.start(get(upstream.url()))
            // More than two idle limits pass while the transfer stands still.
            await EventLoop.sleep(milliseconds: 17_000)
            return await readAll(reply)
        }
        #expect(whole.body.count == 4_000_000)
        #expect(whole.failure == nil)
    }
}
