import Formats
@testable import Gateway
@testable import HTTPAPI
import ProxyGPT
import SQLStorage
@testable import Streaming
import Testing

/// Holds what the endpoint table says of required parameters to what the handlers demand.
@Suite(.timeLimit(.minutes(5))) struct RequiredParametersTests {
    private let stage: Stage

    init() throws {
        stage = try Stage()
    }

    private func body(_ parameters: [ParameterSpecification]) -> String {
        let members = parameters.map { (name: $0.name, value: $0.example) }
        return String(decoding: JSONValue.object(members).encoded, as: UTF8.self)
    }

    private func isMissing(_ json: JSONValue?) -> Bool {
        let message = json?["error"]?["message"]?.stringValue
        return message?.hasSuffix(" is missing.") == true
    }

    @Test(
        "A call without a required parameter is refused and names it; one with all is not",
        arguments: Endpoints.all.map(\.path))
    func demandsWhatTheTableSays(_ path: String) async throws {
        let endpoint = try #require(Endpoints.all.first { $0.path == path })
        let token = endpoint.access == .open ? nil : try await stage.user()
        for missing in endpoint.required {
            let others = endpoint.required.filter { $0.name != missing.name }
            let writer = await stage.post(path, body(others), token: token)
            #expect(writer.status == 400, "\(missing.name)")
            #expect(writer.json?["error"]?["param"]?.stringValue == missing.name)
            #expect(isMissing(writer.json), "\(missing.name)")
        }
        let writer = await stage.post(path, body(endpoint.required), token: token)
        #expect(!isMissing(writer.json), "\(String(describing: writer.json))")
        #expect(writer.json?["error"]?["code"]?.stringValue != "invalid_request")
    }

    @Test("The examples of all parameters are good ones", arguments: Endpoints.all.map(\.path))
    func takesTheExamples(_ path: String) async throws {
        let endpoint = try #require(Endpoints.all.first { $0.path == path })
        let token = endpoint.access == .open ? nil : try await stage.user()
        for parameter in endpoint.optional {
            let writer = await stage.post(
                path, body(endpoint.required + [parameter]), token: token)
            let error = writer.json?["error"]
            #expect(
                error?["code"]?.stringValue != "invalid_request" || isAnchor(parameter),
                "\(parameter.name): \(error?["message"]?.stringValue ?? "")")
        }
    }

    /// An anchor of a page that is not there is invalid as well.
    private func isAnchor(_ parameter: ParameterSpecification) -> Bool {
        ["before", "after"].contains(parameter.name)
    }

    @Test("A stream without a chat is refused and names the parameter")
    func streamDemandsAChat() async throws {
        let token = try await stage.user()
        let endpoint = StreamEndpoint(
            store: stage.storage.store, clock: stage.clock,
            recorder: stage.recorder(try Settings(values: ["API_KEY": Stage.key])))
        #expect(Endpoints.stream.required.map(\.name) == ["id"])
        for (target, status) in [
            (Endpoints.stream.path, 400), ("\(Endpoints.stream.path)?id=\(Example.chat)", 404),
        ] {
            let answer = await endpoint.answer(Stage.request("GET", target, token: token))
            guard case .response(let response) = answer else {
                Issue.record("a subscription to a chat that is not there")
                return
            }
            #expect(response.status == status)
            let text = String(decoding: response.body, as: UTF8.self)
            #expect(text.contains("The parameter id is missing.") == (status == 400))
        }
    }
}
