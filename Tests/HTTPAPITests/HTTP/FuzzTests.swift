import Formats
@testable import Gateway
@testable import HTTPAPI
import Credentials
import ProxyGPT
import TestSupport
import Testing

/// How many inputs each parser gets. Their seeds are constant: what fails once fails again.
private enum Cases {
    static let json = 40_000
    static let fields = 20_000
    static let parameters = 30_000
    static let targets = 30_000
    static let credentials = 25_000
    static let addresses = 20_000
    static let usernames = 20_000
    static let hashes = 15_000
    static let masks = 20_000
    static let blocks = 5_000
    static let replies = 20_000

    static let all =
        json + fields + parameters + targets + credentials + addresses + usernames + hashes + masks
        + blocks + replies
}

/// Everything that reads what strangers send, fed with what nobody would: nothing may trap, and
/// where there is a second opinion it is heard.
@Suite(.ownThread) struct FuzzTests {
    private static let objects = [
        #"{"model":"gpt-4","usage":{"prompt_tokens":3,"completion_tokens":4},"x":[1,-2.5e+3,true,null]}"#,
        #"{"response":{"model":"m","usage":{"input_tokens":1}},"a":"\"\\\/\b\u00e9\ud83e\udd80"}"#,
        #" [ { } , [ ] , "é" , 0 , { "" : [ [ [ 1 ] ] ] } ] "#,
        #"{"username":"a","password":"b","id":1}"#,
    ]
    private static let words = [
        "{", "}", "[", "]", ",", ":", "\"", "\\", "\\u", "\\ud83e", "\\udd80", "null", "true",
        "1e9", "-0", ".5", "usage",
        "model", "\"usage\":", "\"model\":\"", "response", " ", "\n", "é", "\u{FEFF}",
        "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    ]

    @Test("More than two hundred thousand inputs are tried")
    func triesEnough() {
        #expect(Cases.all >= 200_000)
    }

    @Test("The JSON parser takes what the recognizer takes, and writes what it can read")
    func json() {
        var mutations = Mutations(Self.objects, words: Self.words, seed: 1)
        var accepted = 0
        for _ in 0..<Cases.json {
            let bytes = mutations.next()
            let value = try? JSONValue(parsing: bytes)
            let second = JSONRecognizer.accepts(bytes, depthLimit: JSONValue.depthLimit)
            guard (value != nil) == second else {
                Issue.record(
                    "the recognizer says \(second): \(String(decoding: bytes, as: UTF8.self))")
                return
            }
            guard let value else { continue }
            accepted += 1
            let encoded = value.encoded
            #expect((try? JSONValue(parsing: encoded))?.encoded == encoded)
        }
        #expect(accepted > Cases.json / 50)
    }

    @Test("The scanner finds the same in pieces as in one, and what the parser finds")
    func fields() {
        let events = Self.objects.map { "event: x\r\ndata: \($0)\r\n\r\n" }
        var mutations = Mutations(
            Self.objects + events, words: Self.words + ["data:", "\r", "\n\n"], seed: 2)
        var compared = 0
        for index in 0..<Cases.fields {
            let bytes = mutations.next()
            let type = index % 2 == 0 ? "application/json" : "text/event-stream"
            var (whole, split) = (ReplyMeter(contentType: type), ReplyMeter(contentType: type))
            whole.feed(bytes)
            for piece in mutations.pieces(bytes) { split.feed(piece) }
            whole.finish()
            split.finish()
            #expect(whole.usage == split.usage && whole.model == split.model)
            guard case .object(let members) = try? JSONValue(parsing: bytes) else { continue }
            // The scanner takes names as they are written, and `response` members as well.
            if bytes.contains(UInt8(ascii: "\\"))
                || members.contains(where: { $0.name == "response" })
            {
                continue
            }
            var scanner = JSONFieldScanner(wanted: ["model"])
            scanner.feed(bytes)
            let found = scanner.found["model"].flatMap { try? JSONValue(parsing: $0) }
            #expect(found?.encoded == members.last { $0.name == "model" }?.value.encoded)
            compared += 1
        }
        #expect(compared > 100)
    }

    @Test("A reply is the same in pieces as in one, whatever the upstream sends")
    func replies() {
        let delta =
            #"{"choices":[{"index":0,"delta":{"content":"h\u00e9\ud83e"}}],"usage":{"prompt_tokens":3}}"#
        let seeds = [
            ": x\n\ndata: \(delta)\n\ndata: \(delta)\r\n\r\ndata: [DONE]\n\n",
            "event: error\ndata: {\"message\":\"hot\"}\n\n",
            #"{"choices":[{"message":{"content":[{"type":"text","text":"a"},"b"],"refusal":null}}]}"#,
            #"{"message":{"content":"a"},"done":false}"# + "\n" + #"{"response":"b","done":true}"#,
            #"{"error":{"message":"hot","code":429,"type":"t"},"detail":[{"msg":"x"}]}"#,
        ]
        var mutations = Mutations(
            seeds,
            words: Self.words + [
                "data:", "event: error", "\r", "\n\n", "[DONE]", "\"choices\":[", "\"content\":\"",
                "\"delta\":{", "\"index\":1", "\"finish_reason\":\"stop\"", "\u{301}", delta,
            ], seed: 21)
        var complete = 0
        for _ in 0..<Cases.replies {
            let bytes = mutations.next()
            let whole = Self.read([bytes])
            let split = Self.read(mutations.pieces(bytes))
            guard whole == split else {
                Issue.record("\(String(decoding: bytes, as: UTF8.self)): \(whole), \(split)")
                return
            }
            if whole.problem == nil { complete += 1 }
            _ = ReplyReader.error(in: bytes)
        }
        #expect(complete > Cases.replies / 50)
    }

    private struct Reading: Equatable {
        let reply: [UInt8]
        let usage: Usage?
        let problem: ReplyReader.Problem?
    }

    private static func read(_ pieces: [[UInt8]]) -> Reading {
        var reader = ReplyReader()
        var problem: ReplyReader.Problem?
        do throws(ReplyReader.Problem) {
            for piece in pieces { _ = try reader.feed(piece) }
            _ = try reader.finish()
        } catch {
            problem = error
        }
        return Reading(reply: Array(reader.reply.utf8), usage: reader.usage, problem: problem)
    }

    @Test("Parameters never trap, and what was encoded as a form comes back")
    func parameters() throws {
        let forms = [
            "username=a&password=b+c", "id=%C3%A9&a=1&a=2&flag=true&n=-5&list=1,2", "a=%zz",
        ]
        var mutations = Mutations(
            forms + Self.objects, words: Self.words + ["&", "=", "%", "%00", "%ff", "+"], seed: 3)
        for index in 0..<Cases.parameters {
            let (query, body) = (Array(mutations.nextText().utf8), mutations.next())
            let type = [nil, "application/json", "application/x-www-form-urlencoded"][index % 3]
            let names = ["username", "id", "a", "flag", "n", "list", "model", ""]
            if let read = try? Parameters(names, query: query, body: body, contentType: type) {
                for name in names {
                    _ = try? read.text(name)
                    _ = try? read.integer(name)
                    _ = try? read.boolean(name)
                    _ = try? read.list(name)
                }
            }
            let text = mutations.nextText()
            let escaped = body.map { "%" + ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
            #expect(PercentEncoding.decode(escaped.utf8) == body)
            let form =
                "t=" + text.utf8.map { "%" + ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
            let read = try Parameters(["t"], query: Array(form.utf8))
            if text.utf8.contains(0) {
                #expect(throws: Failure.self) { try read.text("t") }
            } else {
                #expect(try read.text("t") == text)
            }
        }
    }

    @Test("A target that is taken is what came, and no decoding of it leads elsewhere")
    func targets() {
        var mutations = Mutations(
            [
                "/v1/chat/completions?a=b", "/user/read?id=%20", "/v1/models/a%2Fb",
                "http://host/a", "/v1/files/f/content",
            ],
            words: [
                "/", "//", ".", "..", "/../", "%2e", "%2F", "%00", "%", "?", "#", "\\", " ",
                "http://", "é", "\u{FFFD}",
            ],
            seed: 4)
        var accepted = 0
        for _ in 0..<Cases.targets {
            let text = mutations.nextText()
            guard let target = try? RequestTarget(text) else { continue }
            accepted += 1
            let whole =
                target.path + (target.query.map { "?" + String(decoding: $0, as: UTF8.self) } ?? "")
            #expect(whole == text || text.lowercased().hasPrefix("http") || text.isEmpty)
            #expect(whole.utf8.allSatisfy { $0 > 0x20 && $0 != 0x7F && $0 != UInt8(ascii: "#") })
            let decoded = PercentEncoding.decode(target.path.utf8) ?? []
            #expect(!decoded.isEmpty && decoded.allSatisfy { $0 >= 0x20 })
            let segments = decoded.split(
                separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
            #expect(
                !segments.contains { $0.elementsEqual(".".utf8) || $0.elementsEqual("..".utf8) })
        }
        #expect(accepted > Cases.targets / 20)
    }

    @Test("A mutated credential is one, none or malformed, and never longer than what came")
    func credentials() {
        var mutations = Mutations(
            [
                "Bearer pgpt_abc", "Basic YXNpbTpwZ3B0X3g=", "sess=pgpt_abc; a=b",
                "a=b; sess=\"x\"; c", "Digest x",
                "sess=pgpt_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA; __Host-sess=\"x\"",
            ],
            words: [
                "Bearer ", "Basic ", "sess=", ";", "=", "==", " ", "\"", "\u{0}", "\u{FFFD}",
                "\u{301}", ":",
            ], seed: 5)
        for _ in 0..<Cases.credentials {
            let (header, cookie) = (mutations.nextText(), mutations.nextText())
            let both = PresentedCredential.find(
                authorization: [header], cookies: [cookie], cookieName: "sess")
            let alone = PresentedCredential.find(
                authorization: [header], cookies: [], cookieName: "sess")
            #expect(both.last == alone.last && alone.count == 1)
            #expect((alone.last?.token ?? "").utf8.count <= header.utf8.count)
            let cookies = PresentedCredential.find(
                authorization: [], cookies: [cookie], cookieName: "sess")
            #expect(cookies.count <= PresentedCredential.cookieLimit)
            for case .cookie(let token) in cookies {
                #expect(cookie.contains("sess=") && cookie.contains(token) && !token.isEmpty)
            }
            if let bytes = decodeBase64(header) { #expect(decodeBase64(base64URL(bytes)) == bytes) }
        }
    }

    @Test("An address that is taken keeps its host, whatever path is asked for")
    func addresses() {
        var mutations = Mutations(
            [
                "http://localhost:9090", "https://h.example/team/v1", "http://[::1]:80/",
                "https://r.openai.azure.com/openai/deployments/d/completions?api-version=1",
                "https://r.openai.azure.com/",
            ],
            words: [
                "http://", "/", ":", "@", "?", "#", "[", "]", "/v1", ".openai.azure.com",
                "api-version=", "..", "é",
            ], seed: 6)
        for _ in 0..<Cases.addresses {
            let text = mutations.nextText()
            guard let address = try? UpstreamAddress(text) else { continue }
            let (path, query) = ("/v1/" + mutations.nextText(), Array(mutations.nextText().utf8))
            guard let bytes = try? address.url(path: path, query: query) else { continue }
            let url = String(decoding: bytes, as: UTF8.self)
            let host = text.drop { $0 != "/" }.dropFirst(2).prefix { $0 != "/" && $0 != "?" }
                .lowercased()
            #expect(url.hasPrefix("http://\(host)/") || url.hasPrefix("https://\(host)/"))
            #expect(!host.contains("@"))
        }
    }

    @Test("A user name that is taken is taken again as it stands, and folds to one form")
    func usernames() {
        var mutations = Mutations(
            [
                "asim", "Élodie", "Ольга", "straße", "user@example.org", "ŒUVRE", "e\u{301}\u{327}",
                "ΑΣ",
            ],
            words: [
                "\u{301}", "\u{345}", "İ", "ı", "ß", "ﬀ", "ǰ", "ΐ", "\u{200B}", " ", ":", "🦀",
                "\u{1F1E9}", "K", "ͅ", "ǆ",
            ],
            seed: 7)
        for _ in 0..<Cases.usernames {
            let text = mutations.nextText()
            let folded = Username.folded(text)
            // What grows over the limit when it is folded is nobody's name.
            #expect(
                Username.folded(folded).utf8.elementsEqual(folded.utf8)
                    || folded.utf8.count > Username.limit, "\(text.debugDescription)")
            guard let name = try? Username(text) else { continue }
            #expect(name.folded.utf8.elementsEqual(folded.utf8))
            #expect(name.text.utf8.count <= 254 && !name.text.isEmpty)
            #expect((try? Username(name.text))?.text.utf8.elementsEqual(name.text.utf8) == true)
        }
    }

    @Test("An encoded hash that is taken encodes to one that is taken")
    func hashes() throws {
        let cheap = PasswordHash.Cost(logarithm: 1, blockSize: 1, parallelism: 1)
        let seeds = try (0..<4).map { try PasswordHash(of: "password \($0)", cost: cheap).encoded }
        var mutations = Mutations(
            seeds,
            words: [
                "$", "scrypt", "ln=", ",", "r=", "p=", "=", "-1", "99999999999999999999", "A", "é",
            ], seed: 8)
        for _ in 0..<Cases.hashes {
            guard let hash = PasswordHash(encoded: mutations.nextText()) else { continue }
            #expect(PasswordHash(encoded: hash.encoded) == hash)
            #expect(
                hash.cost.logarithm <= 22 && hash.cost.blockSize <= 32
                    && hash.cost.parallelism <= 16)
        }
    }

    @Test("The key mask keeps every length, and masks what a plain search masks")
    func masks() {
        let keys = [
            "sk-canary-0123456789", "Aaaaaaaaaaaaaaab", "1bcabcabcabcabca", "1234567890123456",
        ]
        for (index, key) in keys.enumerated() {
            let mask = KeyMask(key: Secret(key))
            let key = Array(key.utf8)
            let parts = (1..<key.count).map { String(decoding: key[..<$0], as: UTF8.self) }
            var mutations = Mutations(
                ["key \(String(decoding: key, as: UTF8.self)) end"] + parts, words: parts + keys,
                seed: 9 + UInt64(index))
            for _ in 0..<Cases.masks / keys.count {
                let bytes = mutations.next()
                var mask = mask
                var result: [UInt8] = []
                for piece in mutations.pieces(bytes) { result += mask.feed(piece) }
                result += mask.finish()
                let plain = Self.plainlyMasked(bytes, key, run: KeyMask.runLength)
                guard result == plain else {
                    Issue.record(
                        "\(String(decoding: bytes, as: UTF8.self)) became \(String(decoding: result, as: UTF8.self))"
                    )
                    return
                }
            }
        }
    }

    private static func plainlyMasked(_ bytes: [UInt8], _ key: [UInt8], run: Int) -> [UInt8] {
        let runs = (0...key.count - run).map { key[$0..<$0 + run] }
        var result = bytes
        for start in bytes.indices where runs.contains(where: { bytes[start...].starts(with: $0) })
        {
            for index in start..<start + run { result[index] = UInt8(ascii: "*") }
        }
        return result
    }

    @Test("An address of whatever shape has a block")
    func blocks() {
        var mutations = Mutations(
            ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"], words: [":", "::", "."], seed: 20)
        for _ in 0..<Cases.blocks {
            let address = mutations.nextText()
            let block = LoginThrottle(foldedName: "a", clientAddress: address).block
            #expect(block.utf8.count <= max(address.utf8.count, 0) + 16)
        }
    }
}
