import Formats
import Testing

@testable import Credentials

@Suite struct WebSocketKeyTests {
    @Test(
        "SHA-1 gives the digests that others give",
        arguments: [
            ("", "2jmj7l5rSw0yVb/vlWAYkK/YBwk="), ("abc", "qZk+NkcGgWq6PiVxeFDCbJzQ2J0="),
            (String(repeating: "a", count: 119), "7pcQZaqgF+BjKoymx3uzv4sd/FY="),
        ])
    func digests(text: String, digest: String) {
        #expect(base64(WebSocketKey.sha1(Array(text.utf8))) == digest)
    }

    @Test("The example of RFC 6455 is answered as there")
    func accepts() {
        #expect(
            WebSocketKey.answer(to: "dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    }
}
