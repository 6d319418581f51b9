import Formats
import NIOCore
import Testing

@testable import MockUpstream

@Suite("The steps of sending an answer")
struct PlaybackTests {
    private func play(_ answer: Answer, _ query: String, limit: Int = 100) throws -> [String] {
        var behaviour = Behaviour()
        try behaviour.read(query[...])
        var playback = Playback(answer, behaviour: behaviour, frame: Playback.Frame())
        var steps: [String] = []
        while steps.count < limit {
            switch playback.next() {
            case .pause(let milliseconds): steps.append("pause \(milliseconds)")
            case .send(let buffer): steps.append(String(buffer: buffer))
            case .cut: return steps + ["cut"]
            case .silence: return steps + ["silence"]
            case .done(let closing): return steps + [closing ? "done, closing" : "done"]
            }
        }
        return steps
    }

    private let answer = Answer(["a": 1])

    @Test("a plain answer is one write")
    func plain() throws {
        let steps = try play(answer, "")
        #expect(steps.count == 2)
        #expect(steps[0].hasPrefix("HTTP/1.1 200 OK\r\n"))
        #expect(steps[0].hasSuffix("Content-Length: 7\r\n\r\n{\"a\":1}"))
        #expect(steps[1] == "done")
    }

    @Test("pieces keep their length, with a pause between them")
    func pieces() throws {
        let steps = try play(answer, "chunks=3&chunk-delay-ms=7&close")
        #expect(
            steps.dropFirst()
                == ["{\"a", "pause 7", "\":", "pause 7", "1}", "done, closing"])
    }

    @Test("a mark says when its piece was sent, not when it was made")
    func marks() throws {
        var behaviour = Behaviour()
        try behaviour.read("chunks=2&chunk-delay-ms=7&marks")
        let words = ReplyWords(echoing: "hello", behaviour)
        let text = Array("[\(words.text)]".utf8)
        var playback = Playback(
            Answer(contentType: "text/plain", .pieces(SplitBody(text, pieces: 2), byteCount: nil)),
            behaviour: behaviour, frame: Playback.Frame(now: { 1_750_000_000_123_456 }))
        var sent = ""
        while true {
            switch playback.next() {
            case .send(let buffer): sent += String(buffer: buffer)
            case .done:
                #expect(sent.contains("[@1750000000123456"))
                return
            default: break
            }
        }
    }

    @Test("without a length the pieces are chunks")
    func chunked() throws {
        let steps = try play(answer, "chunks=2&no-content-length")
        #expect(
            steps.dropFirst()
                == ["4\r\n{\"a\"\r\n", "3\r\n:1}\r\n", "0\r\n\r\n", "done"])
    }

    @Test("a cut comes after that many pieces or bytes")
    func cuts() throws {
        #expect(try play(answer, "cut-after=0").count == 2)
        #expect(try play(answer, "chunks=7&cut-after=2").dropFirst() == ["{", "\"", "cut"])
        #expect(try play(answer, "cut-after-bytes=4").dropFirst() == ["{\"a\"", "cut"])
        #expect(try play(answer, "cut-after-bytes=0").last == "cut")
    }

    @Test("a hanging answer says nothing, an endless one does not end")
    func neverEnding() throws {
        #expect(try play(answer, "hang&head-delay-ms=5") == ["silence"])
        #expect(try play(answer, "head-delay-ms=5").first == "pause 5")
        let steps = try play(answer, "endless&bytes=4", limit: 50)
        #expect(steps.last == "4\r\n    \r\n")
    }

    @Test("the pieces of a streamed reply make up the plain one")
    func reply() throws {
        for chunks in [0, 1, 2, 3, 8, 20] {
            for bytes in [0, 1, 7, 100] {
                var behaviour = Behaviour()
                behaviour.chunks = chunks
                behaviour.bytes = bytes
                let words = ReplyWords(echoing: "some  words\nhere", behaviour)
                var pieces: [String] = []
                while let piece = words.piece(pieces.count) { pieces.append(piece) }
                #expect(pieces.count == chunks)
                #expect(pieces.joined() == words.text)
                guard chunks > 0 else { continue }
                #expect(words.text.utf8.count { $0 == UInt8(ascii: "x") } == bytes)
                #expect(words.text.filter { $0 != "x" }.hasPrefix("echo: some  words\nhere"))
            }
        }
    }

    @Test("addresses find their endpoint, with both faces and the wrong method")
    func routes() {
        func endpoint(_ method: String, _ path: String) -> Endpoint {
            Route(method: method, path: path[...]).endpoint
        }
        #expect(endpoint("POST", "/v1/chat/completions") == .chat)
        #expect(endpoint("GET", "/v1/chat/completions") == .wrongMethod)
        #expect(endpoint("GET", "/v1/models/a%2fb") == .model)
        #expect(endpoint("GET", "/v1/models/a/b") == .model)
        #expect(endpoint("POST", "/v1/responses") == .responses)
        #expect(endpoint("GET", "/v1/responses") == .responseSocket)
        #expect(endpoint("PUT", "/v1/responses") == .wrongMethod)
        #expect(endpoint("PUT", "/v1/echo/x//y") == .echo)
        #expect(endpoint("GET", "/v1/files/f/content") == .fileContent)
        #expect(endpoint("GET", "/v1/files/f") == .unknown)
        #expect(endpoint("POST", "/openai/deployments/d/embeddings") == .embeddings)
        #expect(endpoint("GET", "/openai/deployments/d/models") == .unknown)
        #expect(endpoint("GET", "/openai/v1/models") == .models)
        #expect(endpoint("GET", "/openai/models") == .models)
        #expect(endpoint("GET", "/mock/stats") == .stats)
        #expect(endpoint("GET", "/v1/mock/stats") == .unknown)
        for path in ["", "/", "*", "v1/models", "/v1", "/v1/", "/openai", "/openai/deployments"] {
            #expect(endpoint("GET", path) == .unknown)
        }
    }
}
