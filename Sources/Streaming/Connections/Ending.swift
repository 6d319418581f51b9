internal import ProxyGPT

/// Why a stream ends, with its last bytes and the end that the event records.
enum Ending: Equatable, Sendable {
    /// The client went away.
    case left
    /// The client closed its WebSocket properly.
    case closed(WebSocketClose?)
    case protocolError(WebSocketClose)
    /// The client did not answer a ping.
    case dead
    /// The client reads more slowly than its chat talks.
    case slow
    /// The session has ended, or the chat is no longer the user's to read.
    case notAllowed
    /// The process stops.
    case restart
    /// There are too many streams.
    case overload
    /// What the stream needs could not be read.
    case failed

    var eventEnd: Event.End {
        switch self {
        case .left: .clientGone
        case .closed: .done
        case .dead, .slow: .timeout
        case .notAllowed, .restart, .overload: .stopped
        case .protocolError, .failed: .error
        }
    }

    var detail: String? {
        switch self {
        case .left, .closed: nil
        case .protocolError(let close): close.reason
        case .dead: "no answer to a ping"
        case .slow: "read too slowly"
        case .notAllowed: "no longer allowed"
        case .restart: "restart"
        case .overload: "too many streams"
        case .failed: "history not read"
        }
    }

    /// Milliseconds within which a browser is to come back, spread so that not all come at once;
    /// nil where the standing interval does.
    var retry: ClosedRange<Int64>? {
        switch self {
        case .restart: 1000...5000
        case .overload: 10_000...30_000
        case .failed: 2000...10_000
        default: nil
        }
    }

    /// Whether the peer is there to be told.
    var isToldToPeer: Bool { self != .left && self != .dead }

    /// Whether the peer has closed first.
    var isAnswer: Bool {
        if case .closed = self { true } else { false }
    }

    /// What a WebSocket's close frame says.
    var close: WebSocketClose? {
        switch self {
        case .left, .dead: nil
        case .closed(let close): close
        case .protocolError(let close): close
        case .slow: .slow
        case .notAllowed: .notAllowed
        case .restart: .restart
        case .overload, .failed: .overload
        }
    }
}
