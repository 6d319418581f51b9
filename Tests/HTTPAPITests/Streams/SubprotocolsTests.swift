@testable import Gateway
@testable import Streaming
import ProxyGPT
import Testing

@Suite struct SubprotocolsTests {
    @Test("What is offered leaves as it came, in order")
    func passes() throws {
        #expect(try Subprotocols([]).passed == [])
        let offered = try Subprotocols(["realtime, openai-beta.realtime-v1", "x"])
        #expect(offered.passed == ["realtime", "openai-beta.realtime-v1", "x"])
        #expect(offered.token == nil)
    }

    @Test("A credential is taken out, whatever the case of its prefix")
    func takesTheCredential() throws {
        for prefix in ["openai-insecure-api-key.", "OpenAI-Insecure-API-Key."] {
            let offered = try Subprotocols(["realtime", prefix + "pgpt_abc"])
            #expect(offered.passed == ["realtime"] && offered.token == "pgpt_abc")
        }
        // Two could mean two callers; an empty one means none.
        let two = "openai-insecure-api-key.a, openai-insecure-api-key.b"
        #expect(try Subprotocols([two]).token == "")
        #expect(try Subprotocols(["openai-insecure-api-key."]).token == "")
    }

    @Test("A token of ours does not leave in another's clothes, nor does an account's name")
    func strips() throws {
        let offered = ["a.pgpt_abc", "openai-organization.o", "OpenAI-Project.p", "realtime"]
        #expect(try Subprotocols(offered).passed == ["realtime"])
    }

    @Test("What is no list of names is refused", arguments: ["", "a,,b", "a b", "a/b", "ä", "a,a"])
    func refuses(value: String) throws {
        #expect(throws: Failure.self) { try Subprotocols([value]) }
    }

    @Test("A comma is a byte, and a list has an end")
    func isBytes() throws {
        #expect(throws: Failure.self) { try Subprotocols(["realtime,\u{301}\u{323}x"]) }
        #expect(throws: Failure.self) { try Subprotocols([String(repeating: "a", count: 5000)]) }
        let many = (0..<33).map { "a\($0)" }
        #expect(throws: Failure.self) { try Subprotocols([many.joined(separator: ",")]) }
        #expect(try Subprotocols(many.dropLast().map { $0 }).passed.count == 32)
    }
}
