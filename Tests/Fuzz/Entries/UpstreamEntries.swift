@testable internal import CurlUpstream
import Formats
@testable internal import Gateway
internal import ProxyGPT

// JSON and what comes from the upstream.

extension Entry {
    private static let objects = [
        #"{"id":"r","model":"m","usage":{"prompt_tokens":3,"completion_tokens":4},"x":[1,-2.5e+3,null]}"#,
        #"{"response":{"model":"m","usage":{"input_tokens":1}},"a":"\"\\\/\b\u00e9\ud83e\udd80"}"#,
        #"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}"#,
        #"{"choices":[{"message":{"content":[{"type":"text","text":"b"}],"refusal":null}}]}"#,
        #"{"error":{"message":"no","type":"t","code":null}}"#,
        #"{"message":{"content":"a"},"done":true}"#,
        #" [ { } , [ ] , "é" , 0 , { "" : [ [ [ 1 ] ] ] } ] "#, #"{"a":"\ud83e"}"#,
    ]
    private static let events =
        objects.map { "event: x\r\ndata: \($0)\r\n\r\n" } + [
            "data: [DONE]\n\n", ": heartbeat\n\n", "data\ndata:\ndata: a\nid: 1\nretry: 5\n\n",
            "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: [DONE] \n\n",
        ]

    static let json = [
        Entry("json", limit: headLimit, seeds: objects) { bytes in
            let parsed = Turns.turn { try? JSONValue(parsing: bytes) }
            guard let value = parsed else { return }
            let encoded = Turns.turn { value.encoded }
            guard let again = try? JSONValue(parsing: encoded) else {
                return require(false, "what is written can be read")
            }
            require(again.encoded == encoded, "what is read is written the same")
        },
        Entry("json-fields", seeds: objects + events) { bytes in
            for type in ["application/json", "text/event-stream"] {
                var (whole, split) = (ReplyMeter(contentType: type), ReplyMeter(contentType: type))
                for slice in slices(bytes) { Turns.turn { whole.feed(slice) } }
                for piece in pieces(bytes) { split.feed(piece) }
                Turns.turn { whole.finish() }
                split.finish()
                require(whole.usage == split.usage, "usage does not depend on the pieces")
                require(same(whole.model, split.model), "the model does not depend on the pieces")
            }
        },
    ]

    private static func same(_ one: String?, _ other: String?) -> Bool {
        switch (one, other) {
        case (nil, nil): true
        case (let one?, let other?): one.utf8.elementsEqual(other.utf8)
        default: false
        }
    }

    static let upstream = [
        Entry("replies", seeds: objects + events) { bytes in
            // As the product reads them.
            let whole = reply(slices(bytes, of: 16 * 1024)) { try Turns.turn($0) }
            let split = reply(pieces(bytes)) { try $0() }
            // A failure may be seen before words that came with it.
            require(whole.failed == split.failed, "failure does not depend on the pieces")
            if !whole.failed {
                require(same(whole.text, split.text), "a reply does not depend on the pieces")
            }
        },
        Entry(
            "mask",
            seeds: [
                "key sk-canary-0123456789 end", "sk-canary-012345", "1aaaaaaaaaaaaaaab",
                "abcabc1abcabc1abcabc1", "Incorrect API key provided: sk-cana***********6789",
            ]
        ) { bytes in
            for key in ["sk-canary-0123456789", "1aaaaaaaaaaaaaaab", "abcabc1abcabc1abcabc1"] {
                var (whole, split) = (KeyMask(key: Secret(key)), KeyMask(key: Secret(key)))
                var plain: [UInt8] = []
                for slice in slices(bytes) { plain += Turns.turn { whole.feed(slice) } }
                plain += whole.finish()
                var masked: [UInt8] = []
                for piece in pieces(bytes) { masked += split.feed(piece) }
                masked += split.finish()
                require(plain == masked, "what is masked does not depend on the pieces")
                require(plain.count == bytes.count, "the mask keeps the length")
                if bytes.count < 4096 {
                    require(!text(plain).contains(key), "no key is left")
                }
            }
        },
        Entry(
            "answer-head", limit: 128 * 1024,
            seeds: [
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nA: b\r\n c\r\n\r\n",
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/2 404\r\ncontent-type: a\r\n\r\nTrailer: x\r\n",
                "HTTP/1.1 200\nTransfer-Encoding: chunked\nContent-Length: 99999999999999999999\n\n",
                "HTTP/1.1 200 OK\r\nConnection: close, X-A\r\nX-A: sk-canary\r\n\u{FF}: b\r\n\r\n",
            ]
        ) { bytes in
            var head = AnswerHead()
            // libcurl reads 16 KiB at a time.
            for slice in slices(bytes, of: 16 * 1024) {
                let lines = lines(slice)
                let isBroken = Turns.turn {
                    lines.contains { line in
                        if case .broken = line.withUnsafeBytes({ head.take($0) }) {
                            true
                        } else {
                            false
                        }
                    }
                }
                if isBroken { return }
            }
            require((head.bodyLength ?? 0) >= 0, "no body is shorter than nothing")
        },
    ]

    private static func reply(
        _ pieces: [[UInt8]], _ step: (() throws -> Void) throws -> Void
    ) -> (text: String, failed: Bool) {
        var reader = ReplyReader()
        do {
            for piece in pieces { try step { _ = try reader.feed(piece) } }
            try step { _ = try reader.finish() }
            return (reader.reply, false)
        } catch {
            return (reader.reply, true)
        }
    }
}
