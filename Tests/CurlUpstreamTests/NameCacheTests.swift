import EventLoop
import Synchronization
import Testing

@testable import CurlUpstream

@Suite(.timeLimit(.minutes(5))) struct NameCacheTests {
    @Test func manyQuestionsAtOnceAreOneLookUp() async throws {
        let lookUps = Mailbox<String>()
        let answers = try await onLoop {
            let names = NameCache { name in
                lookUps.post(name)
                return .addresses(["192.0.2.1", "2001:db8::1"])
            }
            var answers: [NameCache.Answer] = []
            for _ in 0..<50 { names.resolve("a.example") { answers.append($0) } }
            await until { answers.count == 50 }
            names.resolve("a.example") { answers.append($0) }
            names.resolve("b.example") { answers.append($0) }
            await until { answers.count == 52 }
            return answers
        }
        #expect(answers == Array(repeating: .addresses(["192.0.2.1", "2001:db8::1"]), count: 52))
        #expect(try await lookUps.take() == "a.example")
        #expect(try await lookUps.take() == "b.example")
    }

    @Test func aFailureIsToldAndNotKept() async throws {
        let answers = try await onLoop {
            let count = Mutex(0)
            let names = NameCache { _ in
                count.withLock { count in
                    defer { count += 1 }
                    return count == 0 ? .failed("no such name") : .addresses(["192.0.2.1"])
                }
            }
            var answers: [NameCache.Answer] = []
            names.resolve("a.example") { answers.append($0) }
            await until { answers.count == 1 }
            names.resolve("a.example") { answers.append($0) }
            await until { answers.count == 2 }
            return answers
        }
        #expect(answers == [.failed("no such name"), .addresses(["192.0.2.1"])])
    }

    @Test(arguments: ["127.0.0.1", "::1", "localhost", "LOCALHOST", "a.localhost"])
    func libcurlKnowsSomeAddressesItself(host: String) {
        #expect(NameCache.needsNoLookUp(host))
    }

    @Test(arguments: ["api.openai.com", "localhost.example", "127.0.0.1.example"])
    func otherNamesAreLookedUp(host: String) {
        #expect(!NameCache.needsNoLookUp(host))
    }

    @Test func theSystemKnowsTheLocalHost() {
        guard case .addresses(let addresses) = NameCache.systemLookUp("localhost") else {
            Issue.record("localhost has no address")
            return
        }
        #expect(addresses.contains("127.0.0.1") || addresses.contains("::1"))
    }

    @Test func aCallGoesToTheAddressThatWasFound() async throws {
        let upstream = ScriptedUpstream { connection, _ in
            while let request = connection.readRequest() {
                let host = request.values(of: "host").joined()
                let length = host.utf8.count
                connection.write("HTTP/1.1 200 OK\r\nContent-Length: \(length)\r\n\r\n\(host)")
            }
        }
        let port = upstream.port
        let texts = try await onLoop {
            let names = NameCache { _ in .addresses(["127.0.0.1"]) }
            let client = CurlUpstream(CurlUpstream.Configuration(key: nil), names: names)
            var texts: [String] = []
            for _ in 0..<2 {
                let reply = try await client.start(get("http://model.example:\(port)/v1/x"))
                texts.append(await readAll(reply).text)
            }
            return texts
        }
        #expect(texts == Array(repeating: "model.example:\(port)", count: 2))
    }
}
