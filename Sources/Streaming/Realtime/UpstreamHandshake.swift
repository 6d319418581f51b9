internal import Credentials
internal import Formats
internal import Gateway
internal import NIOHTTP1
internal import ProxyGPT

/// The client's part of a WebSocket's handshake with the upstream (RFC 6455, section 4.1), as a
/// value: what is asked, and whether what comes is the answer to it.
struct UpstreamHandshake {
    private let key: String
    private let subprotocols: [String]
    /// The request as it leaves. NIO's own head is of `String`s, and would lose bytes that are no UTF-8.
    let request: [UInt8]

    /// - Parameters:
    ///   - secret: the upstream's key, which is added here and nowhere else.
    ///   - nonce: 16 random bytes.
    init(
        _ location: UpstreamLocation, headers passed: [Header], subprotocols: [String],
        secret: Secret?, in keyHeader: UpstreamAddress.KeyHeader, nonce: [UInt8]
    ) {
        self.subprotocols = subprotocols
        key = base64(nonce)
        var headers = [
            Header("Host", location.authority), Header("Upgrade", "websocket"),
            Header("Connection", "Upgrade"), Header("Sec-WebSocket-Key", key),
            Header("Sec-WebSocket-Version", "13"),
        ]
        if !subprotocols.isEmpty {
            headers.append(
                Header("Sec-WebSocket-Protocol", subprotocols.joined(separator: ", ")))
        }
        headers += passed
        switch (secret, keyHeader) {
        case (let secret?, .bearer):
            headers.append(Header("Authorization", "Bearer " + secret.revealed))
        case (let secret?, .apiKey): headers.append(Header("api-key", secret.revealed))
        case (nil, _): break
        }
        var request = Array("GET ".utf8)
        request.append(contentsOf: location.target)
        request.append(contentsOf: " HTTP/1.1\r\n".utf8)
        for header in headers where header.isWellFormed {
            request.append(contentsOf: header.name.utf8)
            request.append(contentsOf: ": ".utf8)
            header.appendValue(to: &request)
            request.append(contentsOf: "\r\n".utf8)
        }
        request.append(contentsOf: "\r\n".utf8)
        self.request = request
    }

    /// What is wrong with a 101; nil when it opens the WebSocket that was asked for.
    func problem(in answer: HTTPHeaders) -> String? {
        let upgrades = answer["Upgrade"].flatMap(\.listElements)
        guard upgrades.contains(where: { equalIgnoringCase($0, "websocket") }) else {
            return "the handshake upgrades to something else"
        }
        let expected = WebSocketKey.answer(to: key) ?? ""
        guard Self.isOne(answer["Sec-WebSocket-Accept"], { Self.areSame($0, expected) }) else {
            return "the handshake answers another question"
        }
        guard answer["Sec-WebSocket-Extensions"].isEmpty else {
            return "the handshake names an extension that nobody offered"
        }
        let chosen = answer["Sec-WebSocket-Protocol"]
        let isOffered = Self.isOne(chosen) { name in
            subprotocols.contains { Self.areSame($0, name) }
        }
        guard chosen.isEmpty || isOffered else {
            return "the handshake names a subprotocol that nobody offered"
        }
        return nil
    }

    private static func isOne(_ values: [String], _ isRight: (String) -> Bool) -> Bool {
        values.count == 1 && isRight(values[0])
    }

    private static func areSame(_ one: String, _ other: String) -> Bool {
        one.utf8.elementsEqual(other.utf8)
    }
}
