import ProxyGPT
import TestSupport
import Testing

@Suite struct BodyRedactionTests {
    private func redacted(_ text: String, makesSecrets: Bool = false) -> String {
        let bytes = BodyRedaction.redacted(Array(text.utf8), makesSecrets: makesSecrets)
        return String(decoding: bytes, as: UTF8.self)
    }

    @Test(
        "Texts of members that are secrets are blanked",
        arguments: [
            (#"{"password":"geheim-1"}"#, #"{"password":"***"}"#),
            (#"{"a":1,"api_key" : "geheim-1" ,"b":"x"}"#, #"{"a":1,"api_key" : "***" ,"b":"x"}"#),
            (#"{"Authorization":"geheim-1","token":"t"}"#, #"{"Authorization":"***","token":"*"}"#),
            (#"{"client-secret":"geheim-1"}"#, #"{"client-secret":"***"}"#),
            (#"{"api\u005fkey":"geheim-1"}"#, #"{"api\u005fkey":"***"}"#),
            (#"{"password":"geh\"eim\\"}, "x":"geheim"#, #"{"password":"***"}, "x":"geheim"#),
            (#"{"password":"","x":"y"}"#, #"{"password":"","x":"y"}"#),
            (
                #"{"password":["geheim-1","geheim-2"],"x":"y"}"#,
                #"{"password":["***","***"],"x":"y"}"#
            ),
            (
                #"{"token":5,"max_tokens":6,"password":null}"#,
                #"{"token":5,"max_tokens":6,"password":null}"#
            ),
            (
                #"{"role":"user","content":"password token api_key"}"#,
                #"{"role":"user","content":"password token api_key"}"#
            ),
            (#"["password","geheim"]"#, #"["password","geheim"]"#),
            ("{\"password\"\n:\r\n\t\"geheim\"}", "{\"password\"\n:\r\n\t\"***\"}"),
        ])
    func blanksMembers(body: String, expected: String) {
        #expect(redacted(body) == expected)
    }

    @Test("All texts below headers are blanked, their names stay")
    func blanksHeaders() {
        let body = #"{"headers":{"X-A":"geheim","b":["c",{"d":"e]}"}],"n":1},"x":"y"}"#
        let expected = #"{"headers":{"X-A":"***","b":["*",{"d":"***"}],"n":1},"x":"y"}"#
        #expect(redacted(body) == expected)
    }

    @Test("Members are found in the strings of JSON, however deep")
    func blanksEscapedMembers() {
        var body = #"{"headers":{"X":"geheim-1"},"password":"geheim \" \\ 2","x":"y\n"}"#
        for _ in 0..<4 {
            let blanked = redacted(body)
            #expect(!blanked.contains("geheim") && blanked.contains("x"), "\(blanked)")
            let escaped = body.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"")
            body = #"{"arguments":"\#(escaped)","after":"z"}"#
            #expect(redacted(body).contains(#""after":"z""#))
        }
        let pretty = #"{"a":"{\n  \"password\": \n\t\"geheim\"\n}"}"#
        #expect(redacted(pretty) == #"{"a":"{\n  \"password\": \n\t\"***\"\n}"}"#)
        // A quote that stands alone in a text does not turn the rest inside out.
        let uneven = #"{"content":"5\" and {\"password\":\"geheim\"}","password":"geheim"}"#
        #expect(!redacted(uneven).contains("geheim"))
        let open = #"{"a":"{\"password\":","password":"geheim","b":"x"}"#
        #expect(redacted(open) == #"{"a":"{\"password\":","password":"***","b":"x"}"#)
    }

    @Test("A value is a secret beside or below a client secret, and where the path makes them")
    func blanksValues() {
        let below = #"{"client_secret":{"value":"geheim","expires_at":1},"id":"x"}"#
        #expect(
            redacted(below) == #"{"client_secret":{"value":"***","expires_at":1},"id":"x"}"#)
        let beside = #"{"value":"geheim","client_secret":"geheim"}"#
        #expect(redacted(beside) == #"{"value":"***","client_secret":"***"}"#)
        let plain = #"{"value":"geheim","session":{"id":"x"}}"#
        #expect(redacted(plain) == plain)
        let made = #"{"value":"***","session":{"id":"x"}}"#
        #expect(redacted(plain, makesSecrets: true) == made)
    }

    @Test("Events are searched as JSON is")
    func blanksEvents() {
        let body =
            "event: a\ndata: {\"token\":\"geheim\"}\n\ndata: {\"x\":\"{\\\"password\\\":\\\"geheim\\\"}\"}\n\n"
        #expect(redacted(body) == body.replacing("geheim", with: "***"))
    }

    @Test(
        "Everything shaped like a token is blanked, wherever it stands",
        arguments: [
            ("key sk-abc_DEF-1, and", "key sk-***, and"), ("(ek_12345)", "(ek_***)"),
            ("pgpt_AbC-d_e.", "pgpt***."), ("Bearer abc.def~+/==;", "Bearer ***;"),
            (#"{"t":"a\nsk-abcd"}"#, #"{"t":"a\nsk-***"}"#),
            (#"{"t":"a\\nsk-abcd"}"#, #"{"t":"a\\nsk-***"}"#),
            (#"\u0073k\u002dabc\u0064 x"#, #"\u0073k\u002d*** x"#),
            ("a=sk%2Dabcd&b=Bearer+xyz&c=%20sk-abcd", "a=sk%2D***&b=Bearer+***&c=%20sk-***"),
            ("BEARER\tabcdefgh", "BEARER\t***"), ("sk-", "sk-"), ("x sk-a", "x sk-*"),
            (
                "task-force, week_1, the bearer of it, desk-bound",
                "task-force, week_1, the bearer of it, desk-bound"
            ),
            ("bearer of", "bearer **"),
        ])
    func blanksShapes(body: String, expected: String) {
        #expect(redacted(body) == expected)
    }

    @Test(
        "Fields of forms are blanked",
        arguments: [
            ("user=a&password=geheim%201&x=y", "user=a&password=***&x=y"),
            ("api%5Fkey=geheim", "api%5Fkey=***"), ("token=", "token="),
            ("&&a&token=geheim", "&&a&token=***"),
            ("session[client_secret]=geheim&value=geheim", "session[client_secret]=***&value=***"),
            ("headers%5BX-A%5D=geheim&headers.b=geheim", "headers%5BX-A%5D=***&headers.b=***"),
            ("value=x&a=b", "value=x&a=b"), ("passwords=x", "passwords=x"),
            ("a sentence with password=x", "a sentence with password=x"),
        ])
    func blanksFields(body: String, expected: String) {
        #expect(redacted(body) == expected)
    }

    @Test("Fields of several parts are blanked, files and other fields stay")
    func blanksParts() {
        func body(_ secret: String) -> String {
            [
                "--x-1", "Content-Disposition: form-data; name=\"model\"", "", "whisper", "--x-1",
                "content-disposition: form-data; filename=\"name=token\"; name=\"file\"",
                "Content-Type: text/plain", "", "line\r\n--x\r\nmore", "--x-1",
                "Content-Type: text/plain", "CONTENT-DISPOSITION:form-data;name=api_key",
                "X-A: b", "", secret, "--x-1",
                "Content-Disposition: form-data; name=\"headers[X-A]\"", "", secret, "--x-1--", "",
            ].joined(separator: "\r\n")
        }
        #expect(redacted(body("geheim\r\n--x\r\n-----BEGIN geheim")) == body("***"))
        let lines = body("geheim").replacing("\r\n", with: "\n")
        #expect(redacted(lines) == body("***").replacing("\r\n", with: "\n"))
    }

    @Test("Wherever a body is cut, nothing of a secret is left")
    func blanksAcrossTheCut() {
        let nested = #"{"headers":{"A":"GEHEIM"},"password":"GEHEIM"}"#
        let escaped = nested.replacing("\"", with: "\\\"")
        let bodies = [
            #"{"a":"b","password":"GEHEIM","headers":{"x":["GEHEIM"]},"c":"d"}"#,
            #"{"a":"\#(escaped)","token":"GEHEIM"}"#,
            "data: {\"client_secret\":{\"value\":\"GEHEIM\"}}\n\n", "a=b&password=GEHEIM&c=d",
            "--x\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\nGEHEIM\r\n--x--\r\n",
            "see sk-GEHEIM and Bearer GEHEIM and ek_GEHEIM", "x pgpt_GEHEIM",
            #"{"a":"sk\u002dGEHEIM"}"#,
        ]
        for body in bodies {
            #expect(!redacted(body).contains("GEH"), "\(body)")
            for count in 0..<body.utf8.count {
                let cut = String(decoding: body.utf8.prefix(count), as: UTF8.self)
                let result = redacted(cut)
                #expect(!result.contains("G"), "\(cut) became \(result)")
                #expect(result.utf8.count <= cut.utf8.count)
            }
        }
    }

    @Test("Bytes of any kind go in, no more of them come out, and what is blanked stays so")
    func takesAnything() {
        var generator = SeededGenerator(seed: 3)
        let words = [
            "\"", "\\", "\"password\":", "\"value\":\"", "{", "}", "[", "]", ":", "\n", "\r\n", " ",
            "sk-", "Bearer ", "\\u00", "%2", "\"headers\":{", "--", "--x\r\n", "=", "&", "token=",
            "Content-Disposition: form-data; name=", "client_secret", "a", "\u{301}", "\u{0}",
        ].map { Array($0.utf8) }
        for _ in 0..<20_000 {
            var body: [UInt8] = []
            for _ in 0..<generator.below(30) {
                body += words[generator.below(words.count)]
                if generator.below(8) == 0 { body.append(generator.byte()) }
            }
            let result = BodyRedaction.redacted(body, makesSecrets: generator.below(2) == 0)
            #expect(result.count <= body.count)
        }
    }

    @Test("Bodies that are made to be slow take no longer than others", .timeLimit(.minutes(1)))
    func takesItsTime() {
        let words = [
            "\"", "\\", "\\\"", "\":", "\"headers\":{", "\"headers\":[\"", "\"value\":\"",
            "\"value\":\\\"",
            "\"password\":\\\\\\\"", "s", "s\\", "sk", "Bearer", "Bearer ", " ", "\n", "=", "&",
            "a=&",
            "%", "content-disposition:", "content-disposition: name=token\n\n",
            "content-disposition: name=x\n", "--\r\n", "\u{301}\u{323}", "{", "[", "\"\"", "\" ",
        ]
        let clock = ContinuousClock()
        for word in words {
            let body = Array(String(repeating: word, count: 1 << 18 / word.utf8.count).utf8)
            let time = clock.measure { _ = BodyRedaction.redacted(body) }
            // Far more than the 16 KiB that there can be; what is quadratic takes minutes.
            #expect(time < .seconds(20), "\(word) took \(time)")
        }
    }
}
