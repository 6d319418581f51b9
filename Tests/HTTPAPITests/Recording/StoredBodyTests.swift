@testable import Gateway
import ProxyGPT
import Testing

@testable import HTTPAPI

/// What is kept of bodies, and which paths are closed.
@Suite(.timeLimit(.minutes(5))) struct StoredBodyTests {
    private let stage: Stage
    private let token: String

    init() async throws {
        stage = try Stage()
        token = try await stage.user()
    }

    private func text(_ body: [UInt8]?) -> String? {
        body.map { String(decoding: $0, as: UTF8.self) }
    }

    @Test("Secrets of callers and of the upstream are blanked in the row, and pass as they are")
    func blanksSecrets() async throws {
        let request = #"{"tools":[{"headers":{"X-A":"one"},"authorization":"two"}]}"#
        let answer = #"{"client_secret":{"value":"three"},"key":"sk-four"}"#
        stage.upstream.play(.init(steps: [.bytes(answer)]))
        let writer = await stage.post("/v1/responses", request, token: token)
        #expect(writer.text == answer)
        #expect(stage.upstream.bodies.last == Array(request.utf8))
        let row = try #require(stage.events.closed.last)
        #expect(
            text(row.requestBody) == #"{"tools":[{"headers":{"X-A":"***"},"authorization":"***"}]}"#
        )
        #expect(text(row.responseBody) == #"{"client_secret":{"value":"***"},"key":"sk-***"}"#)
    }

    @Test("A secret that the cut goes through is blanked as well")
    func blanksAcrossTheCut() async throws {
        let body = #"{"a":""# + String(repeating: "x", count: 16_300) + #"","password":""#
        await stage.post(
            "/v1/responses", body + String(repeating: "y", count: 9000) + "\"}", token: token)
        let row = try #require(stage.events.closed.last)
        #expect(text(row.requestBody) == body + "***")
    }

    @Test("A value in an answer of a path that makes keys is one")
    func blanksValues() async throws {
        let stage = try Stage(["V1_PATHS": "+/realtime/client_secrets"])
        let token = try await stage.user()
        stage.upstream.play(.init(steps: [.bytes(#"{"value":"geheim","expires_at":1}"#)]))
        let path = "/v1/realtime/client_secrets"
        #expect(await stage.post(path, "{}", token: token).status == 200)
        #expect(
            text(stage.events.closed.last?.responseBody) == #"{"value":"***","expires_at":1}"#)
    }

    @Test("A packed body is not kept, since nobody sees what is in it")
    func leavesOutPackedBodies() async throws {
        stage.upstream.play(
            .init(headers: [Header("Content-Encoding", "gzip")], steps: [.bytes("packed")]))
        await stage.post(
            "/v1/responses", "packed", token: token, headers: [Header("Content-Encoding", "zstd")])
        let row = try #require(stage.events.closed.last)
        #expect(row.requestBody == [] && row.responseBody == [] && row.bytesIn == 6)
    }

    @Test("A path that gives out the account is closed, with its row and the setting that opens it")
    func closesPaths() async throws {
        for path in ["/v1/organization/users", "/v1/%6Frganization/users?x=y"] {
            let writer = await stage.get(path, token: token)
            #expect(writer.status == 403 && writer.errorCode == "path_closed")
            #expect(writer.text.contains("V1_PATHS=+/organization"))
            #expect(stage.events.closed.last?.status == 403)
            #expect(await stage.get(path).status == 401)
        }
        #expect(stage.upstream.calls.isEmpty)
        let opened = try Stage(["V1_PATHS": "+/organization,-/files"])
        let token = try await opened.user()
        #expect(await opened.get("/v1/organization/users", token: token).status == 200)
        #expect(await opened.post("/v1/files", "x", token: token).errorCode == "path_closed")
        #expect(opened.upstream.calls.count == 1)
    }
}
