import ProxyGPT
import Testing

@Suite struct UpstreamAddressTests {
    private func url(
        _ api: String, _ path: String, query: String? = nil, isAzure: Bool? = nil
    ) throws -> String {
        try url(UpstreamAddress(api, isAzure: isAzure), path, query: query)
    }

    private func url(_ address: UpstreamAddress, _ path: String, query: String? = nil) throws
        -> String
    {
        let url = try address.url(path: path, query: query.map { Array($0.utf8) })
        return try #require(String(validating: url, as: UTF8.self))
    }

    @Test("Without a setting calls go to OpenAI with a bearer key")
    func knowsOpenAI() throws {
        #expect(
            try url(UpstreamAddress.openAI, "/v1/models")
                == "https://api.openai.com/v1/models")
        #expect(UpstreamAddress.openAI.keyHeader == .bearer)
    }

    @Test(
        "An address with or without /v1 and a slash at its end means the same",
        arguments: [
            ("http://localhost:9090", "http://localhost:9090/v1/chat/completions"),
            ("http://localhost:9090/", "http://localhost:9090/v1/chat/completions"),
            ("http://localhost:9090/v1", "http://localhost:9090/v1/chat/completions"),
            ("http://localhost:9090/v1/", "http://localhost:9090/v1/chat/completions"),
            ("http://localhost:9090/v1//", "http://localhost:9090/v1/chat/completions"),
            ("HTTPS://Gateway.Example/Team/v1", "https://gateway.example/Team/v1/chat/completions"),
            ("https://gateway.example/Team", "https://gateway.example/Team/v1/chat/completions"),
            ("https://gateway.example/apiv1", "https://gateway.example/apiv1/v1/chat/completions"),
            ("https://g.example/v1beta", "https://g.example/v1beta/chat/completions"),
            ("https://g.example/api/v4/", "https://g.example/api/v4/chat/completions"),
            ("https://g.example/compatible/V2", "https://g.example/compatible/V2/chat/completions"),
            (
                "https://g.example/v1beta/openai/",
                "https://g.example/v1beta/openai/chat/completions"
            ),
            ("https://g.example/v", "https://g.example/v/v1/chat/completions"),
            ("https://g.example/vault", "https://g.example/vault/v1/chat/completions"),
            ("https://g.example/v1/team", "https://g.example/v1/team/v1/chat/completions"),
            ("http://[::1]:9090", "http://[::1]:9090/v1/chat/completions"),
            ("http://[::1]", "http://[::1]/v1/chat/completions"),
        ])
    func mapsPlainAddresses(api: String, expected: String) throws {
        #expect(try url(api, "/v1/chat/completions") == expected)
        #expect(try UpstreamAddress(api).keyHeader == .bearer)
    }

    @Test("Path and query pass as they came")
    func passesPathAndQueryVerbatim() throws {
        let api = "http://localhost:9090"
        #expect(
            try url(api, "/v1/models/a%2Fb", query: "x=%20&&y") == api + "/v1/models/a%2Fb?x=%20&&y"
        )
        #expect(try url(api, "/v1/files/", query: "") == api + "/v1/files/?")
        #expect(
            try url(api, "/v1/models", query: "api-version=1") == api + "/v1/models?api-version=1")
    }

    private static let deployment =
        "https://res.openai.azure.com/openai/deployments/dep/completions?api-version=2022-12-01"

    @Test(
        "A deployment's address serves its operations as siblings",
        arguments: [
            ("/v1/chat/completions", "/openai/deployments/dep/chat/completions"),
            ("/v1/completions", "/openai/deployments/dep/completions"),
            ("/v1/embeddings", "/openai/deployments/dep/embeddings"),
            ("/v1/audio/transcriptions", "/openai/deployments/dep/audio/transcriptions"),
            ("/v1/images/generations", "/openai/deployments/dep/images/generations"),
            ("/v1/models", "/openai/models"), ("/v1/models/m", "/openai/models/m"),
            ("/v1/files", "/openai/files"), ("/v1/files/f/content", "/openai/files/f/content"),
            ("/v1/batches/b/cancel", "/openai/batches/b/cancel"),
        ])
    func mapsDeployments(path: String, expected: String) throws {
        #expect(
            try url(Self.deployment, path)
                == "https://res.openai.azure.com\(expected)?api-version=2022-12-01")
        #expect(try UpstreamAddress(Self.deployment).keyHeader == .apiKey)
    }

    @Test(
        "Paths that a deployment does not serve are not found, and the failure names them",
        arguments: [
            "/v1/", "/v1/responses", "/v1/chat", "/v1/chat/", "/v1/chat/completions/x",
            "/v1/modelsx",
            "/v1/assistants", "/v1/chat/completionsx",
        ])
    func refusesWhatDeploymentsLack(path: String) throws {
        let address = try UpstreamAddress(Self.deployment)
        let failure = #expect(throws: Failure.self) { try address.url(path: path, query: nil) }
        #expect(failure?.code == .notFound)
        #expect(failure?.message.contains(path) == true)
    }

    @Test(
        "The operator's api-version wins over a client's, however that is written",
        arguments: [
            ("api-version=1999", ""), ("a=1&api-version=1999&b=2", "a=1&b=2&"), ("", ""),
            ("a", "a&"),
            ("api%2Dversion=1", ""), ("API-Version=1&x=api-version", "x=api-version&"),
            ("api-version", ""), ("api-versions=1", "api-versions=1&"),
            ("%61pi%2dversion=2&c", "c&"),
            ("api-version%3D1=2", "api-version%3D1=2&"), ("%=1&%4=2&%zz=3", "%=1&%4=2&%zz=3&"),
        ])
    func keepsTheOperatorsVersion(query: String, kept: String) throws {
        #expect(
            try url(Self.deployment, "/v1/embeddings", query: query)
                == "https://res.openai.azure.com/openai/deployments/dep/embeddings?"
                + kept + "api-version=2022-12-01")
    }

    @Test(
        "A query's bytes pass as they are, with Azure's own beside them",
        arguments: [
            ("http://h", "http://h/v1/models?"),
            (deployment, "https://res.openai.azure.com/openai/models?"),
        ])
    func passesBytes(api: String, address: String) throws {
        let query: [UInt8] = Array("\u{FFFD}é&x=".utf8) + [0xFF, 0xC3, 0x26, 0x80]
        let url = try UpstreamAddress(api).url(path: "/v1/models", query: query)
        #expect(url.starts(with: Array(address.utf8) + query))
        // No name of such bytes is taken for the operator's.
        #expect(api.contains("azure") == (url.count > address.utf8.count + query.count))
    }

    @Test("The api-version may stand anywhere in the address, and a deployment needs no operation")
    func readsTheVersion() throws {
        let api = "https://res.openai.azure.com/openai/deployments/dep/?x=1&api-version=v2"
        #expect(
            try url(api, "/v1/completions")
                == "https://res.openai.azure.com/openai/deployments/dep/completions?api-version=v2")
    }

    @Test("Azure's realtime has the operator's deployment and version in its query")
    func mapsAzureRealtime() throws {
        let api = "https://res.openai.azure.com/openai/deployments/dep?api-version=v2"
        #expect(
            try url(api, "/v1/realtime")
                == "https://res.openai.azure.com/openai/realtime?api-version=v2&deployment=dep")
        #expect(
            try url(api, "/v1/realtime", query: "Deployment=x&model=m&%61pi-version=1")
                == "https://res.openai.azure.com/openai/realtime?model=m&api-version=v2"
                + "&deployment=dep")
        #expect(throws: Failure.self) { try url(api, "/v1/realtime/sessions") }
        // Everywhere else a deployment in the query is nothing of ours.
        #expect(
            try url(api, "/v1/models", query: "deployment=x")
                == "https://res.openai.azure.com/openai/models?deployment=x&api-version=v2")
    }

    @Test(
        "Azure's own /openai/v1 is used as it stands",
        arguments: ["", "/", "/openai", "/openai/v1/"])
    func mapsAzureV1(path: String) throws {
        let address = try UpstreamAddress("https://res.openai.azure.com" + path)
        #expect(address.keyHeader == .apiKey)
        #expect(
            try url(address, "/v1/responses", query: "a=1")
                == "https://res.openai.azure.com/openai/v1/responses?a=1")
    }

    @Test("API_TYPE decides over the host's name")
    func obeysTheType() throws {
        let local = "http://localhost:9090/openai/deployments/d?api-version=1"
        #expect(
            try url(local, "/v1/models", isAzure: true)
                == "http://localhost:9090/openai/models?api-version=1")
        let plain = try UpstreamAddress("https://res.openai.azure.com/x", isAzure: false)
        #expect(plain.keyHeader == .bearer)
        #expect(
            try url(plain, "/v1/models")
                == "https://res.openai.azure.com/x/v1/models")
        #expect(try UpstreamAddress("https://evilopenai.azure.com").keyHeader == .bearer)
        #expect(try UpstreamAddress("https://openai.azure.com.example").keyHeader == .bearer)
        #expect(try UpstreamAddress("https://RES.OpenAI.Azure.com").keyHeader == .apiKey)
    }

    @Test(
        "An address that cannot be one is refused with the reason",
        arguments: [
            ("", "must begin with http"), ("localhost:9090", "must begin with http"),
            ("ftp://host", "must begin with http"), ("http:/host", "must begin with http"),
            ("http://", "names no host"), ("http:///v1", "names no host"),
            ("http://:80", "names no host"),
            ("http://host:0", "port"), ("http://host:65536", "port"), ("http://host:", "port"),
            ("http://host:+80", "port"), ("http://host:8o", "port"), ("http://[::1]:x", "port"),
            ("http://[::1", "IPv6"), ("http://[::1]x", "port"), ("http://::1", "IPv6"),
            ("http://user:word@host", "user name or password"), ("http://user@host", "user name"),
            ("http://host#x", "fragment"), ("http://host/#", "fragment"),
            ("http://host?x", "query"),
            ("http://ho st", "white space"), ("http://höst", "ASCII"),
            ("http://host\n", "white space"),
            ("https://r.openai.azure.com/openai/deployments/d/completions", "api-version"),
            ("https://r.openai.azure.com/openai/deployments/d?api-version=", "api-version"),
            ("https://r.openai.azure.com/openai/deployments//x?api-version=1", "no deployment"),
            ("https://r.openai.azure.com/openai/v1?api-version=1", "api-version"),
            ("https://r.openai.azure.com/other?api-version=1", "must be Azure's"),
        ])
    func refusesOtherAddresses(api: String, reason: String) {
        let problem = #expect(throws: UpstreamAddress.Problem.self) { try UpstreamAddress(api) }
        #expect(problem?.text.contains(reason) == true)
    }
}
