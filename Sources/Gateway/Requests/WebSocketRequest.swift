internal import Credentials
internal import Formats
package import ProxyGPT

// What a request says of a change of its protocol (RFC 9110, section 7.8; RFC 6455, section 4.1).
extension Request {
    /// Whether the client names the WebSocket protocol, in a handshake or in what is none. Other
    /// protocols, such as `h2c`, are passed over: an offer need not be taken.
    package var namesWebSocket: Bool { names("websocket", in: "Upgrade") }

    /// Whether the client wants to change to the WebSocket protocol.
    package var asksForWebSocket: Bool {
        method.utf8.elementsEqual("GET".utf8) && namesWebSocket
            && names("upgrade", in: "Connection")
    }

    private func names(_ word: String, in header: String) -> Bool {
        values(of: header).contains { $0.listElements.contains { equalIgnoringCase($0, word) } }
    }
}

extension Failure {
    /// The WebSocket protocol is asked for where nothing speaks it. Clients go on over HTTP.
    package static let noWebSocket = Failure(
        .upgradeRequired, "There is no WebSocket at this path. Ask again without Upgrade.")
}

extension Response {
    /// Says which version of the WebSocket protocol is spoken, to a handshake that may have tried
    /// another.
    package mutating func nameWebSocketVersion() {
        let codes: [Failure.Code] = [.invalidRequest, .upgradeRequired]
        guard codes.contains(where: { $0.status == status }) else { return }
        headers.append(Header("Sec-WebSocket-Version", "13"))
    }
}
