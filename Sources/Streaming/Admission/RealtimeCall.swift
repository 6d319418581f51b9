internal import Gateway
package import ProxyGPT

/// A granted WebSocket to the upstream: the caller, and the request to the upstream.
package struct RealtimeCall: Sendable {
    package let userID: User.ID
    package let sessionID: Session.ID
    let tokenDigest: [UInt8]
    /// The upstream's address, path and query included, see `UpstreamAddress`.
    package let url: [UInt8]
    /// The client's headers that go there; the key and the handshake's own are not among them.
    package let headers: [Header]
    /// The subprotocols that are offered there.
    package let subprotocols: [String]
    /// The value of `Sec-WebSocket-Accept` for the client.
    package let accept: String
    /// What every answer to the client carries.
    let commonHeaders: [Header]
    let event: Event
    let startedAt: Int64

    package var clientAddress: String { event.clientAddress }
    package var requestID: String { event.requestID }

    /// Whether rights that shrank may be this call's. Chats and groups are nothing to it.
    package func isAffected(by revocation: Revocation) -> Bool {
        guard revocation.chat == nil && revocation.group == nil else { return false }
        guard revocation.session != nil || revocation.user != nil else { return false }
        return (revocation.session ?? sessionID) == sessionID
            && (revocation.user ?? userID) == userID
    }
}

/// How a call ended that had become a WebSocket, for its event.
package struct RealtimeEnd: Sendable {
    package var end: Event.End
    package var detail: String?
    package var upstreamRequestID: String?
    /// From the beginning of the connection to the upstream to the end.
    package var upstreamMicroseconds: Int64 = 0
    /// Bytes behind the handshake, frames' heads and all.
    package var bytesIn: Int64 = 0
    package var bytesOut: Int64 = 0
    /// The beginnings of what was said each way, as text.
    package var clientTranscript: [UInt8] = []
    package var upstreamTranscript: [UInt8] = []
    /// The tokens of all replies together.
    package var usage: Usage?
    /// The model that answered, where the upstream has named it.
    package var model: String?

    package init(_ end: Event.End, detail: String?) {
        self.end = end
        self.detail = detail
    }
}
