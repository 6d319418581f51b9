import Credentials
import Formats
@testable import Gateway
import ProxyGPT
import TestSupport
@testable import Streaming
import Testing

@testable import HTTPAPI

/// Runs of combining marks, for which Swift's own comparison takes time that grows with the square of
/// their length: 72,000 of them take seconds. Wherever text comes from outside, they take next to none.
@Suite(.ownThread) struct LongRunTests {
    private static let marks = String(repeating: "\u{301}\u{323}", count: 36_000)
    private static let run = "a" + marks

    /// The processor's time of this thread that `body` takes, in milliseconds.
    private func expectQuick(
        _ name: String, at location: SourceLocation = #_sourceLocation, _ body: () throws -> Void
    ) {
        let time = threadMilliseconds { try? body() }
        #expect(time < 500, "\(name) took \(time) ms", sourceLocation: location)
    }

    private let names = ["id", "chat_id", "name", "flag", "list", "before", "after", "limit"]

    private func readAll(_ parameters: Parameters) {
        _ = try? parameters.text("id", "chat_id")
        _ = try? parameters.requiredID("id", "chat_id") as Chat.ID
        _ = try? parameters.user("name")
        _ = try? parameters.line("name", limit: 120)
        _ = try? parameters.boolean("flag")
        _ = try? parameters.integer("flag")
        _ = try? parameters.list("list")
        _ = try? parameters.page()
        if let text = try? parameters.text("name") { _ = try? Username(text) }
    }

    @Test("Names and values of parameters, in every source")
    func parameters() throws {
        let run = Self.run
        expectQuick("a query's name") { _ = try Parameters(names, query: Array((run + "=1").utf8)) }
        expectQuick("a form's name") { _ = try Parameters(names, body: Array((run + "=1").utf8)) }
        expectQuick("a JSON name") {
            let body = JSONValue.object([(name: run, value: true)]).encoded
            _ = try Parameters(names, body: body)
        }
        expectQuick("JSON names beside one another") {
            let members = (0..<3).map { (name: run + "\($0)", value: JSONValue.null) }
            _ = try Parameters(names, body: JSONValue.object(members).encoded)
        }
        for separator in ["", ",", "&", "=", "?", " "] {
            for name in names {
                let query = name + "=" + separator + Self.marks + separator + "x"
                expectQuick("\(name) in a query") {
                    readAll(try Parameters(names, query: Array(query.utf8)))
                }
                expectQuick("\(name) in JSON") {
                    let value = JSONValue.string(separator + Self.marks + separator)
                    for value in [value, .array([value, value])] {
                        let body = JSONValue.object([(name: name, value: value)]).encoded
                        readAll(try Parameters(names, body: body))
                    }
                }
            }
        }
        for run in [" ", ",", "\t", " ,", "a,"] {
            let list = String(repeating: run, count: 300_000)
            expectQuick("a list of '\(run)'") {
                readAll(try Parameters(names, body: Array(("list=" + list).utf8)))
            }
        }
        expectQuick("a content type") {
            _ = try Parameters(names, body: [0x61], contentType: run + ";" + run)
        }
    }

    @Test("User names, ids, and the places of frames")
    func namesAndIDs() {
        let run = Self.run
        expectQuick("a user name") { _ = try Username(run) }
        expectQuick("a folded name") { _ = Username.folded(run) }
        expectQuick("a reference") { _ = UserReference(run).absence }
        expectQuick("an id") { _ = Chat.ID(outside: run) }
        expectQuick("a place") { _ = FrameID(run + "-" + run) }
        expectQuick("a JSON member") {
            _ = JSONValue.object([(name: run, value: .null)])[run + "x"]
        }
        expectQuick("a number") { _ = JSONValue.number(run).integerValue }
        expectQuick("a throttle") {
            _ = LoginThrottle(foldedName: Username.folded(run), clientAddress: "192.0.2.1").keys
        }
    }

    @Test("Credentials")
    func credentials() {
        let (run, marks) = (Self.run, Self.marks)
        for value in [
            run, "Bearer " + run, "Basic " + run, "Bearer\u{301} " + run, marks,
            "Basic " + base64URL(Array((run + ":" + run).utf8)),
        ] {
            expectQuick("Authorization") {
                _ = PresentedCredential.find(
                    authorization: [value], cookies: [], cookieName: "sess")
            }
        }
        for value in [
            run, String(repeating: "; ", count: 100_000), "sess=" + run,
            "a=b;" + marks + "; sess=\"" + marks + "\"", "sess" + run,
        ] {
            expectQuick("Cookie") {
                _ = PresentedCredential.find(
                    authorization: [], cookies: [value], cookieName: "sess")
            }
        }
        expectQuick("token") {
            _ = PresentedCredential.find(
                authorization: [], cookies: [], cookieName: "sess", parameter: run)
        }
        expectQuick("subprotocols") { _ = try Subprotocols([run, run + "," + marks]) }
    }

    @Test("Targets, methods and the paths that are counted")
    func targets() {
        let (run, marks) = (Self.run, Self.marks)
        for target in [run, "/" + run, "/v1/" + run, "http://" + run, "/v1/a?" + run, "/?" + marks]
        {
            expectQuick("a target") {
                let request = Stage.request(run, target)
                try? request.checkHead()
                _ = RealtimeEndpoint.serves(request) || OperatorEndpoint.serves(request)
                _ = Endpoints.countedIndex(of: request.path)
                _ = try RequestTarget(target).queryText("model", limit: 200)
            }
            expectQuick("a destination") { _ = Endpoints.destination(of: target) }
        }
        expectQuick("an upstream's address") {
            let azure = try UpstreamAddress(
                "https://r.openai.azure.com/openai/deployments/d/completions?api-version=1")
            _ = try azure.url(
                path: "/v1/" + run, query: Array(("a=1&" + marks + "&" + run).utf8))
        }
    }

    @Test("An unknown word of any length is near none")
    func nearestWords() {
        expectQuick("a word") { _ = nearestName(to: Self.run, among: names) }
        expectQuick("a quoted piece") { _ = String(quoting: Self.run.utf8) }
    }
}
