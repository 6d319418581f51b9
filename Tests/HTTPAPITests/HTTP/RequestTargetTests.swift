import Formats
@testable import Gateway
@testable import HTTPAPI
import ProxyGPT
import Testing

@Suite struct RequestTargetTests {
    @Test(
        "Path and query are split at the first question mark and otherwise left as they came",
        arguments: [
            ("/", "/", nil), ("/user/read", "/user/read", nil), ("/a?", "/a", ""),
            ("/a?b?c", "/a", "b?c"),
            ("/v1/files/", "/v1/files/", nil), ("/a%20b", "/a%20b", nil),
            ("/a/%C3%A9", "/a/%C3%A9", nil),
            ("/v1/models/org%2Fname", "/v1/models/org%2Fname", nil),
            ("/a?%zz&\\..//", "/a", "%zz&\\..//"),
            ("/...", "/...", nil), ("/.a/b.", "/.a/b.", nil), ("/a+b;c=d,e", "/a+b;c=d,e", nil),
            ("http://localhost:8080/a?b", "/a", "b"), ("HTTPS://host/a", "/a", nil),
            ("http://host", "/", nil),
            ("http://host?a", "/", "a"), ("/é", "/é", nil), ("/a%2Eb", "/a%2Eb", nil),
            ("/a\u{FFFD}?\u{FFFD}", "/a\u{FFFD}", "\u{FFFD}"), ("http://h?\u{301}", "/", "\u{301}"),
        ] as [(String, String, String?)])
    func splits(target: String, path: String, query: String?) throws {
        let read = try RequestTarget(target)
        #expect(read.path == path)
        #expect(read.query == query.map { Array($0.utf8) })
    }

    @Test(
        "A path that could mean two things is refused",
        arguments: [
            "", "a", "*", "?a", "ftp://host/a", "//", "//a", "/a//b", "/a//", "/.", "/..", "/a/..",
            "/a/../b",
            "/a/./b", "/%2e", "/%2E%2e/a", "/a/.%2e", "/a%2fb", "/a%2Fb", "/v1/models/a%2f..",
            "/v1/models/%2e%2fa",
            "/v1/models/a%2f.%2fb", "/v1/modelsx/a%2fb", "/%00", "/a%00b", "/a%0d%0ab", "/%7f",
            "/%1f", "/%", "/%2",
            "/%zz", "/%2g", "/a b", "/a\tb", "/a\u{0}b", "/a\u{7F}", "/a\\b", "/a#b",
            "/a?b#c", "#",
            "/\u{1}",
        ])
    func refuses(target: String) {
        let failure = #expect(throws: Failure.self) { try RequestTarget(target) }
        #expect(failure?.code == .invalidRequest)
    }

    @Test("Control bytes and spaces in the query are refused, wherever it goes")
    func refusesControlBytes() {
        for byte in Array(UInt8(0)...0x20) + [0x7F] {
            for path in ["/a?", "/v1/a?", "http://h/v1/a?"] {
                let target = Array(path.utf8) + [0xFF, byte, 0x61]
                #expect(throws: Failure.self) { try RequestTarget(bytes: target) }
            }
        }
    }

    @Test("A query below /v1/ may be no UTF-8, one of our own endpoints and a path may not")
    func keepsTheQuerysBytes() throws {
        let odd: [UInt8] = [0xFF, 0x26, 0xC3, 0x3D, 0x80]
        for path in ["/v1/a", "http://h/v1/a"] {
            let target = try RequestTarget(bytes: Array((path + "?").utf8) + odd)
            #expect(target.path == "/v1/a" && target.query == odd)
        }
        let own = #expect(throws: Failure.self) {
            try RequestTarget(bytes: Array("/user/read?id=".utf8) + odd)
        }
        #expect(own?.code == .invalidRequest && own?.message == "The query is not UTF-8.")
        for path in ["/v1/a", "/a", "/v1"] {
            let failure = #expect(throws: Failure.self) {
                try RequestTarget(bytes: Array(path.utf8) + [0xFF] + Array("b?c".utf8))
            }
            #expect(failure?.message.contains("UTF-8") == true)
        }
    }

    @Test("A text is found in a query of whatever bytes")
    func findsText() throws {
        let odd: [UInt8] = [0xFF, 0x3D, 0x80, 0x26]
        let target = try RequestTarget(
            bytes: Array("/v1/a?".utf8) + odd + Array("model=m%20x&b".utf8))
        #expect(target.queryText("model", limit: 200) == "m x")
        #expect(target.queryText("b", limit: 200) == nil)
        #expect(target.queryText("model", limit: 1) == nil)
        let raw = try RequestTarget(bytes: Array("/v1/a?model=".utf8) + [0xFF])
        #expect(raw.queryText("model", limit: 200) == nil)
    }

    @Test("A path has at most 4096 bytes")
    func limitsTheLength() throws {
        let longest = "/" + String(repeating: "a", count: 4095)
        #expect(try RequestTarget(longest + "?" + longest).path == longest)
        #expect(throws: Failure.self) { try RequestTarget(longest + "a") }
    }

    @Test("Percent-escapes decode to bytes, and plus to a space in forms alone")
    func decodes() {
        #expect(PercentEncoding.decode("a%41%c3%A9+".utf8) == Array("aAé+".utf8))
        #expect(PercentEncoding.decode("a+b%2B".utf8, plusIsSpace: true) == Array("a b+".utf8))
        #expect(PercentEncoding.decode("%ff".utf8) == [0xFF])
        for broken in ["%", "%a", "a%", "%g0", "%0g", "%%41", "%-1"] {
            #expect(PercentEncoding.decode(broken.utf8) == nil)
        }
    }
}
