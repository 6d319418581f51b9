internal import Credentials
internal import Formats
internal import Gateway
internal import ProxyGPT

/// How frames reach a subscriber.
package enum Transport: Sendable, Equatable {
    case serverSentEvents
    /// With the value of `Sec-WebSocket-Accept`.
    case webSocket(accept: String)

    /// The status with which the stream begins.
    package var status: Int { self == .serverSentEvents ? 200 : 101 }
}

extension Request {
    /// How the client wants its frames. Throws for a handshake that is none.
    func transport() throws(Failure) -> Transport {
        guard namesWebSocket else { return .serverSentEvents }
        guard asksForWebSocket else {
            throw Failure(.upgradeRequired, "A WebSocket begins with GET and Connection: Upgrade.")
        }
        let versions = values(of: "Sec-WebSocket-Version")
        guard versions.count == 1, versions[0].utf8.elementsEqual("13".utf8) else {
            throw Failure(.upgradeRequired, "The WebSocket version must be 13.")
        }
        let keys = values(of: "Sec-WebSocket-Key")
        guard keys.count == 1, let key = keys.first, let answer = WebSocketKey.answer(to: key)
        else { throw Failure(.invalidRequest, "The Sec-WebSocket-Key is not valid.") }
        return .webSocket(accept: answer)
    }
}
