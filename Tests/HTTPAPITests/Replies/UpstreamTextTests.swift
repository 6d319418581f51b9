@testable import Gateway
import ProxyGPT
import Testing

@testable import HTTPAPI

@Suite struct UpstreamTextTests {
    private let words = UpstreamText(KeyMask(key: Secret("sk-canary-0123456789abcdef")))

    @Test(arguments: [
        ("in organization org-AbC123 on tokens", "in organization org-*** on tokens"),
        ("org_1, `proj_x-y_z`.", "org_***, `proj_***`."),
        ("Incorrect key: sk-proj-****wxyz.", "Incorrect key: sk-***."),
        ("key_0a1b2c3d4e and key-id-97531864", "key_*** and key-***"),
        (
            "key_name, key-value, a forg-e, an org- and proj_",
            "key_name, key-value, a forg-e, an org- and proj_"
        ),
        ("project-id proj-management", "project-id proj-management"),
        ("proj-9a8b7c6d5e", "proj-***"), ("org-a org-b", "org-*** org-***"),
        ("it quotes sk-canary-0123456789abcdef", "it quotes **************************"),
        ("a\tb\u{1B}[0m\nc", "a b [0m c"),
    ])
    func `ids of the account and the key are masked, and a text is one line`(
        text: String, shown: String
    ) {
        #expect(words.shown(text) == shown)
    }

    @Test func `a long text is cut between characters`() {
        let long = "a" + String(repeating: "é", count: 2000)
        #expect(words.shown(long) == "a" + String(repeating: "é", count: 499))
        #expect(words.shown(nil) == nil && words.shown("") == nil && words.shown("\n \t") == nil)
    }

    @Test func `a code is a word`() {
        #expect(words.code("rate_limit_exceeded") == "rate_limit_exceeded")
        #expect(words.code("429") == "429" && words.code("a.b-C") == "a.b-C")
        for text in [
            "", "a b", "é", "a\n", String(repeating: "a", count: 65), "org-123",
            "sk-canary-0123456789abcdef",
        ] {
            #expect(words.code(text) == nil, "\(text)")
        }
        #expect(words.code(nil) == nil)
    }

    @Test(arguments: [
        ("Retry-After", "3", 3), ("retry-after", "0", 0), ("Retry-After", "2.2", 3),
        ("Retry-After", "2.0", 2), ("retry-after-ms", "1500", 2), ("retry-after-ms", "0.5", 1),
        ("retry-after-ms", "2000", 2), ("Retry-After", "Sun, 01 Feb 2026 00:01:00 GMT", 60),
        ("Retry-After", "Sun, 06 Nov 1994 08:49:37 GMT", 0), ("Retry-After", "soon", nil),
        ("Retry-After", "-1", nil), ("Retry-After", "99999999999999999999", nil),
        ("Retry-After", "", nil), ("Retry-After", ".", nil), ("X", "3", nil),
    ])
    func `the wait that an upstream asks for is read in whole seconds`(
        name: String, value: String, seconds: Int?
    ) {
        let head = UpstreamHead(status: 429, headers: [Header(name, value)])
        // 2026-02-01T00:00:00Z
        #expect(head.retryAfter(now: Timestamp(milliseconds: 1_769_904_000_000)) == seconds)
    }
}
