/// The reason why a request fails, in a form fit for the caller. Every other error is internal: it
/// is logged in full where it becomes an answer, and its text is not shown.
package struct Failure: Error, Equatable, Sendable {
    package enum Code: String, CaseIterable, Sendable {
        case invalidRequest = "invalid_request"
        case unauthorized
        case forbidden
        case pathClosed = "path_closed"
        case notFound = "not_found"
        case methodNotAllowed = "method_not_allowed"
        case conflict
        case tooLarge = "too_large"
        case unsupportedMediaType = "unsupported_media_type"
        case misdirected = "misdirected_request"
        case upgradeRequired = "upgrade_required"
        case rateLimited = "rate_limited"
        case `internal`
        case upstreamError = "upstream_error"
        case upstreamAuthentication = "upstream_auth"
        case upstreamTimeout = "upstream_timeout"
        case unavailable
    }

    package let code: Code
    /// One sentence for a person, free of secrets.
    package let message: String
    /// The parameter that is wrong, where one is.
    package let parameter: String?
    /// Seconds after which the caller may try again.
    package let retryAfter: Int?
    /// The allowed methods, for `methodNotAllowed`.
    package let allow: String?
    /// The upstream's message, for `upstreamError` and `upstreamAuthentication`.
    package let upstream: UpstreamRefusal?

    package init(
        _ code: Code, _ message: String, parameter: String? = nil, retryAfter: Int? = nil,
        allow: String? = nil, upstream: UpstreamRefusal? = nil
    ) {
        self.upstream = upstream
        self.code = code
        self.message = message
        self.parameter = parameter
        self.retryAfter = retryAfter
        self.allow = allow
    }

    package static func invalid(_ parameter: String, _ message: String) -> Failure {
        Failure(.invalidRequest, message, parameter: parameter)
    }

    package static func notFound(_ noun: String) -> Failure {
        Failure(.notFound, "There is no \(noun) with this id.")
    }

    /// The database was lost while it committed.
    package static let mayHaveBeenDone = Failure(
        .unavailable, "The database was lost at the last moment: look whether this was done.",
        retryAfter: 1)

    /// The failure that a caller gets for an internal error.
    package static let hidden = Failure(
        .internal, "Something went wrong here. The request id finds it in the log.")
}

extension Failure: CustomStringConvertible {
    package var description: String { message }
}

/// The upstream's error instead of a reply, masked and bounded for callers.
package struct UpstreamRefusal: Equatable, Sendable {
    /// The statuses that are passed on to the caller.
    package enum Status: Int, CaseIterable, Sendable {
        case badRequest = 400
        case notFound = 404
        case timeout = 408
        case tooLarge = 413
        case unprocessable = 422
        case rateLimited = 429
    }

    /// The status to pass on, where it is one of those.
    package let status: Status?
    package let code: String?
    /// The upstream's message.
    package let message: String?

    package init(status: Status? = nil, code: String? = nil, message: String? = nil) {
        self.status = status
        self.code = code
        self.message = message
    }
}

extension Failure {
    /// The HTTP status of the answer.
    package var status: Int { upstream?.status?.rawValue ?? code.status }

    /// The error's `code`: the upstream's own for what it refused.
    package var codeText: String {
        upstream?.status == nil ? code.rawValue : upstream?.code ?? code.rawValue
    }

    /// The error's `type`.
    package var type: String {
        switch upstream?.status {
        case nil: code.type
        case .rateLimited: Code.rateLimited.type
        case .badRequest, .notFound, .timeout, .tooLarge, .unprocessable: Code.invalidRequest.type
        }
    }
}

extension Failure.Code {
    /// The HTTP status of an answer with this code: the one table of the product.
    package var status: Int {
        switch self {
        case .invalidRequest: 400
        case .unauthorized: 401
        case .forbidden, .pathClosed: 403
        case .notFound: 404
        case .methodNotAllowed: 405
        case .conflict: 409
        case .tooLarge: 413
        case .unsupportedMediaType: 415
        case .misdirected: 421
        case .upgradeRequired: 426
        case .rateLimited: 429
        case .internal: 500
        case .upstreamError, .upstreamAuthentication: 502
        case .unavailable: 503
        case .upstreamTimeout: 504
        }
    }

    /// The error's `type` in OpenAI's vocabulary, which its clients switch on.
    package var type: String {
        switch self {
        case .invalidRequest, .notFound, .methodNotAllowed, .conflict, .tooLarge,
            .unsupportedMediaType, .misdirected, .upgradeRequired:
            "invalid_request_error"
        case .unauthorized: "authentication_error"
        case .forbidden, .pathClosed: "permission_error"
        case .rateLimited: "rate_limit_error"
        case .internal, .unavailable: "server_error"
        case .upstreamError, .upstreamAuthentication, .upstreamTimeout: "upstream_error"
        }
    }
}
