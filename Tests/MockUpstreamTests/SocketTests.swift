import Testing

@testable import MockUpstream

@Suite struct SocketTests {
    @Test(
        "SHA-1 gives the digests that others give",
        arguments: [
            ("", "2jmj7l5rSw0yVb/vlWAYkK/YBwk="), ("abc", "qZk+NkcGgWq6PiVxeFDCbJzQ2J0="),
            (String(repeating: "a", count: 119), "7pcQZaqgF+BjKoymx3uzv4sd/FY="),
        ])
    func digests(text: String, digest: String) {
        #expect(base64(sha1(Array(text.utf8))) == digest)
    }

    @Test("The handshake's own example comes out")
    func accepts() {
        let text = "dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        #expect(base64(sha1(Array(text.utf8))) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    }

    @Test("Options are read from the query, those with nonsense refused")
    func readsOptions() throws {
        let behaviour = try SocketBehaviour(
            "model=x&close-code=4000&mock-close-reason=a%20b&close-after=2&ping&deaf=0")
        #expect(behaviour.closeCode == 4000 && behaviour.closeReason == "a b")
        #expect(behaviour.closeAfter == 2 && behaviour.pings && !behaviour.isDeaf)
        #expect(throws: Behaviour.BadOption(name: "close-code")) {
            try SocketBehaviour("close-code=x")
        }
    }
}
