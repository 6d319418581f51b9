package import ProxyGPT

/// One endpoint of our own. The router, the reading of parameters, the refusals and the test of rights go
/// by it.
package struct Endpoint: Sendable {
    /// Who may call an endpoint.
    package enum Access: Sendable {
        /// Everybody, since a caller gets a credential here. The answer sets the cookie, but not for a page
        /// of a foreign origin that may call.
        case open
        /// Everybody with a valid credential.
        case credential
        /// As `credential`, which may also be the parameter `token`; GET acts, too. The answer clears
        /// the cookie, likewise.
        case logout
    }

    /// What the answer holds.
    package enum Answer: Sendable {
        case nothing
        case chat, chatWithUsersAndMessages, chats
        case reply
        case group, groupWithMembers, groups
        /// `user` is the caller in full, or another user as far as the caller knows it.
        case ownUser, user, users
        case session, token
        /// Frames, until the client leaves.
        case stream
    }

    /// What the worker does; nil where the streamer serves the endpoint.
    package let operation: Operation?
    package let path: String
    package let methods: [String]
    package let access: Access
    package let required: [ParameterSpecification]
    package let optional: [ParameterSpecification]
    package let answer: Answer
    /// The codes of the failures that this endpoint has beside those of all.
    package let failures: [Failure.Code]
    /// The headers that a request may have for this endpoint alone.
    package let headers: [HeaderSpecification]
    /// Whether the call changes an object, of which it leaves alone what is absent.
    package let keepsAbsent: Bool
    /// What the endpoint does, in one sentence.
    package let meaning: String
    /// The names of all parameters that the endpoint takes.
    package let parameters: [String]

    init(
        _ operation: Operation?, _ path: String, _ methods: [String], access: Access = .credential,
        requires required: [any SpecifiedParameter] = [],
        takes optional: [any SpecifiedParameter] = [], keepsAbsent: Bool = false,
        headers: [HeaderSpecification] = [], answers answer: Answer,
        fails failures: [Failure.Code] = [], _ meaning: String
    ) {
        self.operation = operation
        self.path = path
        self.methods = methods
        self.access = access
        self.required = required.map(\.specification)
        self.optional = optional.map(\.specification)
        self.answer = answer
        self.failures = failures
        self.headers = headers
        self.keepsAbsent = keepsAbsent
        self.meaning = meaning
        parameters = (required + optional).flatMap(\.specification.names)
    }

    /// The codes of failures that every endpoint may have: of its head, credential, page and parameters, and of
    /// the server's own state.
    package static let commonFailures: [Failure.Code] = [
        .invalidRequest, .unauthorized, .forbidden, .methodNotAllowed, .tooLarge,
        .unsupportedMediaType, .misdirected, .upgradeRequired, .internal, .unavailable,
    ]

    /// Whether a refusal of the upstream is passed on, with its own status.
    package var passesRefusals: Bool { failures.contains(.upstreamError) }

    /// Whether the table lists failures with this code.
    package func mayFail(with code: Failure.Code) -> Bool {
        Self.commonFailures.contains(code) || failures.contains(code)
    }

    /// Throws `methodNotAllowed`, naming the methods that are right, for another one.
    package func check(method: String) throws(Failure) {
        guard methods.contains(method) else {
            throw Failure(
                .methodNotAllowed, "\(path) does not take \(method).",
                allow: methods.joined(separator: ", "))
        }
    }
}

/// A header of requests that means something to one endpoint.
package struct HeaderSpecification: Sendable {
    package let name: String
    /// One sentence.
    package let meaning: String
    package let example: String
}
