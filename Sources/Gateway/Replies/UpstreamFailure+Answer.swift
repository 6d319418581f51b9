package import ProxyGPT

extension UpstreamFailure {
    /// The failure that callers receive; nil for a call that its caller gave up.
    package var clientFailure: Failure? {
        switch self {
        case .cancelled: nil
        case .connectTimeout:
            Failure(.upstreamTimeout, "The upstream could not be reached in time.")
        case .firstByteTimeout, .callTimeout:
            Failure(.upstreamTimeout, "The upstream did not answer in time.")
        case .idleTimeout:
            Failure(.upstreamTimeout, "The upstream fell silent in the middle of its answer.")
        case .cut: Failure(.upstreamError, "The upstream broke off its answer.")
        case .unreachable: Failure(.upstreamError, "The upstream cannot be reached.")
        }
    }

    /// How a call ends that fails so.
    package var eventEnd: Event.End {
        switch self {
        case .connectTimeout, .firstByteTimeout, .idleTimeout, .callTimeout: .timeout
        case .cut: .upstreamCut
        case .unreachable: .error
        case .cancelled: .stopped
        }
    }

    /// Whether the upstream cannot have seen the request: there was no connection to it.
    var isBeforeRequest: Bool {
        switch self {
        case .unreachable, .connectTimeout: true
        case .firstByteTimeout, .idleTimeout, .callTimeout, .cut, .cancelled: false
        }
    }
}

extension UpstreamHead {
    /// Whether the upstream did not accept this server's key. The key is the operator's to mend: a client
    /// that saw 401 would doubt its own token.
    package var refusesKey: Bool { status == 401 }
}

extension Failure {
    /// The upstream did not accept this server's key.
    package static let keyRefused = Failure(
        .upstreamAuthentication, "The upstream did not accept this server's key.")
}
