import Formats
import ProxyGPT
import Testing

@Suite struct FailureTests {
    @Test(
        "Each code has its status and the type that OpenAI's clients know",
        arguments: [
            (Failure.Code.invalidRequest, "invalid_request", 400, "invalid_request_error"),
            (.unauthorized, "unauthorized", 401, "authentication_error"),
            (.forbidden, "forbidden", 403, "permission_error"),
            (.pathClosed, "path_closed", 403, "permission_error"),
            (.misdirected, "misdirected_request", 421, "invalid_request_error"),
            (.notFound, "not_found", 404, "invalid_request_error"),
            (.methodNotAllowed, "method_not_allowed", 405, "invalid_request_error"),
            (.conflict, "conflict", 409, "invalid_request_error"),
            (.tooLarge, "too_large", 413, "invalid_request_error"),
            (.unsupportedMediaType, "unsupported_media_type", 415, "invalid_request_error"),
            (.rateLimited, "rate_limited", 429, "rate_limit_error"),
            (.internal, "internal", 500, "server_error"),
            (.upstreamError, "upstream_error", 502, "upstream_error"),
            (.upstreamAuthentication, "upstream_auth", 502, "upstream_error"),
            (.unavailable, "unavailable", 503, "server_error"),
            (.upstreamTimeout, "upstream_timeout", 504, "upstream_error"),
        ])
    func mapsCodes(code: Failure.Code, word: String, status: Int, type: String) {
        #expect(code.rawValue == word)
        #expect(code.status == status)
        #expect(code.type == type)
    }

    @Test("Internal errors are not shown to callers")
    func hidesInternals() {
        #expect(Failure.hidden.code == .internal)
        #expect(
            Failure.hidden.message
                == "Something went wrong here. The request id finds it in the log.")
        #expect(Failure.notFound("user").message == "There is no user with this id.")
    }

    @Test("Header names compare without regard to case")
    func comparesNames() {
        #expect(equalIgnoringCase("Content-Type", "content-tYPE"))
        #expect(!equalIgnoringCase("Content-Type", "Content-Typ"))
        #expect(!equalIgnoringCase("@", "`"))
        #expect(!equalIgnoringCase("[", "{"))
        let head = UpstreamHead(status: 200, headers: [Header("X-A", "1"), Header("x-a", "2")])
        #expect(head.value(of: "x-A") == "1")
        #expect(head.value(of: "x-b") == nil)
    }
}
