import Testing

@testable import MockUpstream

@Suite struct SocketTests {
    @Test("Options are read from the query, and invalid ones are refused")
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
