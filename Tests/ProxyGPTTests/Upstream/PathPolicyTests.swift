@testable import ProxyGPT
import Testing

@Suite struct PathPolicyTests {
    private func closed(_ path: String, _ setting: String = "") throws -> String? {
        try Settings(values: ["API_KEY": "k", "V1_PATHS": setting]).paths.closedPath(of: path)
    }

    @Test(
        "Paths that give out the account or a key of it are closed, however they are written",
        arguments: [
            ("/v1/organization", "/organization"), ("/v1/organization/users", "/organization"),
            ("/v1/projects/p/api_keys", "/projects"),
            ("/v1/realtime/client_secrets", "/realtime/client_secrets"),
            ("/v1/realtime/sessions", "/realtime/sessions"),
            ("/v1/realtime/transcription_sessions", "/realtime/transcription_sessions"),
            (
                "/v1/realtime/translations/client_secrets",
                "/realtime/translations/client_secrets"
            ),
            ("/v1/chatkit/sessions", "/chatkit/sessions"),
            ("/v1/chatkit/sessions/s/cancel", "/chatkit/sessions"),
            ("/v1/%6Frganization", "/organization"), ("/v1/%6frganizatio%6E/x", "/organization"),
            ("/v1/%256Frganization", "/organization"), ("/v1/Organization", "/organization"),
            ("/v1/organization/", "/organization"), ("/v1/organization;a=b/x", "/organization"),
            ("/v1//organization", "/organization"), ("/v1/organization%20", "/organization"),
            ("/v1/organization%3Ba", "/organization"),
            ("/v1/realtime%2Fsessions", "/realtime/sessions"),
            ("/v1/organization%00x", "/organization"), ("/v1/%5Corganization", "/organization"),
        ])
    func closes(path: String, rule: String) throws {
        #expect(try closed(path) == rule)
        #expect(PathPolicy.makesSecrets(path))
    }

    @Test(
        "All others are open",
        arguments: [
            "/v1/", "/v1/models", "/v1/chat/completions", "/v1/realtime", "/v1/realtime/calls",
            "/v1/organizations", "/v1/chatkit/threads", "/v1/models/organization",
            "/v1/realtime/translations", "/v1/%zz", "/v1/%", "/v1/project",
        ])
    func opens(path: String) throws {
        #expect(try closed(path) == nil)
        #expect(!PathPolicy.makesSecrets(path))
    }

    @Test("V1_PATHS opens and closes, the longest path and then the later one decides")
    func obeysTheSetting() throws {
        let some = "+/organization/usage, -/files ,+/v1/realtime/sessions"
        #expect(try closed("/v1/organization/usage/completions", some) == nil)
        #expect(try closed("/v1/organization/users", some) == "/organization")
        #expect(try closed("/v1/realtime/sessions", some) == nil)
        #expect(try closed("/v1/files/file-1", some) == "/files")
        #expect(try closed("/v1/Files", some) == "/files")
        #expect(try closed("/v1/models", some) == nil)
        let alone = "-/,+/chat/completions,+/Models"
        #expect(try closed("/v1/embeddings", alone) == "/")
        #expect(try closed("/v1/chat/completions", alone) == nil)
        #expect(try closed("/v1/models/m", alone) == nil)
        #expect(try closed("/v1/files", "-/files,+/files") == nil)
        #expect(try closed("/v1/projects", "+/projects,-/projects") == "/projects")
        #expect(PathPolicy.makesSecrets("/v1/organization/admin_api_keys"))
    }

    @Test(
        "What is no list of paths is refused",
        arguments: [
            "/files", "+files", "+", "+/a b", "+/%66iles", "-/files*", "+/a?b", "+/a,b", "x",
        ])
    func refusesOthers(setting: String) {
        let problem = "V1_PATHS must be +/path or -/path below /v1, separated by commas."
        #expect {
            _ = try Settings(values: ["API_KEY": "k", "V1_PATHS": setting])
        } throws: { error in
            (error as? Settings.Problems)?.all == [problem]
        }
    }
}
