internal import Credentials
internal import HTTPAPI
internal import NIOHTTP1
internal import ProxyGPT

/// The client's part of a WebSocket's handshake with the upstream (RFC 6455, section 4.1), as a
/// value: what is asked, and whether what comes is the answer to it.
struct UpstreamHandshake {
    private let key: String
    private let subprotocols: [String]
    let head: HTTPRequestHead

    /// - Parameters:
    ///   - secret: the upstream's key, which is added here and nowhere else.
    ///   - nonce: 16 random bytes.
    init(
        _ location: UpstreamLocation, headers passed: [Header], subprotocols: [String],
        secret: Secret?, in keyHeader: UpstreamAddress.KeyHeader, nonce: [UInt8]
    ) {
        self.subprotocols = subprotocols
        key = WebSocketKey.base64(nonce)
        var headers = HTTPHeaders()
        headers.add(name: "Host", value: location.authority)
        headers.add(name: "Upgrade", value: "websocket")
        headers.add(name: "Connection", value: "Upgrade")
        headers.add(name: "Sec-WebSocket-Key", value: key)
        headers.add(name: "Sec-WebSocket-Version", value: "13")
        if !subprotocols.isEmpty {
            headers.add(
                name: "Sec-WebSocket-Protocol", value: subprotocols.joined(separator: ", "))
        }
        for header in passed where Self.canBeSent(header) {
            headers.add(name: header.name, value: header.value)
        }
        switch (secret, keyHeader) {
        case (let secret?, .bearer):
            headers.add(name: "Authorization", value: "Bearer " + secret.revealed)
        case (let secret?, .apiKey): headers.add(name: "api-key", value: secret.revealed)
        case (nil, _): break
        }
        head = HTTPRequestHead(
            version: .http1_1, method: .GET, uri: location.target, headers: headers)
    }

    // Nothing may break out of its line.
    private static func canBeSent(_ header: Header) -> Bool {
        header.value.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F || $0 == 0x09 }
    }

    /// What is wrong with a 101; nil when it opens the WebSocket that was asked for.
    func problem(in answer: HTTPHeaders) -> String? {
        let upgrades = answer["Upgrade"].flatMap { HeaderList.elements(of: $0) }
        guard upgrades.contains(where: { $0.isWord("websocket") }) else {
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
