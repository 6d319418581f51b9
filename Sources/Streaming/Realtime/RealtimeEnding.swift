internal import ProxyGPT

/// Whose side of a WebSocket call something is on.
enum RealtimeSide: String, Sendable {
    case client, upstream
}

/// Why a WebSocket call ends, with the close that each side receives and the end that the event records.
enum RealtimeEnding: Equatable, Sendable {
    /// Both sides have closed, this one first.
    case closed(by: RealtimeSide, WebSocketClose?)
    /// The client went away without a close.
    case clientLeft
    /// The upstream went away without a close.
    case upstreamCut
    case brokenProtocol(by: RealtimeSide, WebSocketClose)
    /// The call has lasted as long as one may.
    case timeLimit
    /// A side neither says nor takes anything.
    case silent(RealtimeSide)
    /// The session has ended.
    case notAllowed
    /// The process stops.
    case restart

    var eventEnd: Event.End {
        switch self {
        case .closed: .done
        case .clientLeft: .clientGone
        case .upstreamCut, .brokenProtocol(by: .upstream, _): .upstreamCut
        case .brokenProtocol(by: .client, _): .error
        case .timeLimit, .silent: .timeout
        case .notAllowed, .restart: .stopped
        }
    }

    var detail: String? {
        switch self {
        case .closed(let side, let close):
            "\(side.rawValue) closed" + (close.map { " with \($0.code) \($0.reason)" } ?? "")
        case .clientLeft, .upstreamCut: nil
        case .brokenProtocol(let side, let close): "\(side.rawValue): \(close.reason)"
        case .timeLimit: "time limit"
        case .silent(let side): "\(side.rawValue) fell silent"
        case .notAllowed: "no longer allowed"
        case .restart: "restart"
        }
    }

    /// The close frame for a side that has not had one; nil where none is due. What one side broke
    /// off is never reported to the other side as a clean end.
    func close(for side: RealtimeSide) -> WebSocketClose? {
        switch self {
        case .closed: nil
        case .brokenProtocol(let breaker, let close) where breaker == side: close
        case _ where side == .upstream: .leaving
        case .clientLeft: nil
        case .upstreamCut: .brokenOff
        case .brokenProtocol: .brokenUpstream
        case .timeLimit: .timeLimit
        case .silent: .silent
        case .notAllowed: .notAllowed
        case .restart: .restart
        }
    }

    /// Whether what waits for a side that does not take it is given up.
    var isAtOnce: Bool {
        switch self {
        case .clientLeft, .silent, .notAllowed, .restart: true
        case .closed, .upstreamCut, .brokenProtocol, .timeLimit: false
        }
    }
}

extension WebSocketClose {
    static let leaving = WebSocketClose(code: 1001, reason: "")
    static let brokenOff = WebSocketClose(code: 1011, reason: "the upstream broke off")
    static let brokenUpstream = WebSocketClose(
        code: 1011, reason: "the upstream broke the protocol")
    static let timeLimit = WebSocketClose(code: 1011, reason: "the call took too long")
    static let silent = WebSocketClose(code: 1011, reason: "nothing came for too long")
}
