@testable import Gateway
import HTTPAPI
import ProxyGPT
import Testing

@Suite struct ResponseTests {
    private func text(_ response: Response) -> String {
        String(decoding: response.body, as: UTF8.self)
    }

    @Test("A failure has the shape that OpenAI's clients understand")
    func shapesFailures() {
        let response = Response(Failure.invalid("id", "Wrong \"id\"."))
        #expect(response.status == 400)
        #expect(
            text(response)
                == #"{"error":{"message":"Wrong \"id\".","type":"invalid_request_error","param":"id","#
                + #""code":"invalid_request"}}"#)
        #expect(response.headers.contains(Header("Content-Type", "application/json")))
        #expect(response.headers.contains(Header("Cache-Control", "private, no-store")))
        #expect(response.headers.contains(Header("X-Content-Type-Options", "nosniff")))
        #expect(text(Response(Failure(.notFound, "No."))).contains(#""param":null"#))
    }

    @Test("What helps the caller further is in the headers")
    func addsHeaders() {
        func value(_ name: String, _ failure: Failure) -> String? {
            Response(failure).headers.first { $0.name == name }?.value
        }
        #expect(value("Retry-After", Failure(.rateLimited, "", retryAfter: 7)) == "7")
        #expect(value("Retry-After", Failure(.rateLimited, "")) == nil)
        #expect(value("Allow", Failure(.methodNotAllowed, "", allow: "POST")) == "POST")
        #expect(value("WWW-Authenticate", Failure(.unauthorized, "")) == "Bearer")
        #expect(value("WWW-Authenticate", Failure(.forbidden, "")) == nil)
    }

    @Test("Header names of a request compare without regard to case")
    func findsHeaders() {
        let request = Stage.request("GET", "/", headers: [Header("X-A", "1"), Header("x-a", "2")])
        #expect(request.value(of: "x-A") == "1")
        #expect(request.values(of: "X-a") == ["1", "2"])
        #expect(request.value(of: "X-B") == nil)
    }
}
