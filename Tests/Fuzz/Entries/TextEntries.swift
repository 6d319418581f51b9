internal import Credentials
import Formats
internal import ProxyGPT

// Texts that mean something by themselves: names, ids, tokens, addresses, settings.

extension Entry {
    private static let upstreams = [
        "http://localhost:9090", "https://h.example/team/v1",
        "https://r.openai.azure.com/openai/deployments/d?api-version=2024-10-21",
    ].compactMap { try? UpstreamAddress($0) }

    static let texts = [
        Entry(
            "username",
            seeds: [
                "asim", "Élodie", "Ольга", "straße", "user@example.org", "e\u{301}\u{327}", "ΑΣ",
                "\u{1100}\u{1161}\u{11A8}", "İı\u{345}ﬀǰ",
            ]
        ) { bytes in
            guard let given = String(validating: bytes, as: UTF8.self),
                let name = try? Turns.turn({ () throws(Failure) in try Username(given) })
            else { return }
            require(name.text.utf8.count <= 254, "a name has at most 254 bytes")
            require(
                Username.folded(name.folded).utf8.elementsEqual(name.folded.utf8),
                "a folded name folds to itself")
        },
        Entry(
            "ids", limit: headLimit,
            seeds: [
                "018f0000-0000-7000-8000-000000000000", "018f0000-0000-7000-8000-00000000000g",
                "epoch0-17", "a-9223372036854775808", "-1", "a--1",
            ]
        ) { bytes in
            let name = text(bytes)
            if UUIDText.isShaped(name) { require(name.utf8.count == 36, "an id has 36 bytes") }
            if let id = FrameID(name) {
                require(FrameID(id.description) == id, "an id is read as it is written")
            }
        },
        Entry(
            "tokens", limit: headLimit,
            seeds: ["pgpt_abc", "dGhlIHNhbXBsZSBub25jZQ=="]
        ) { bytes in
            let shown = text(bytes)
            require(Token.digest(of: shown).count == 32, "a digest has 32 bytes")
            _ = WebSocketKey.answer(to: shown)
            if let decoded = decodeBase64(shown) {
                require(decodeBase64(base64URL(decoded)) == decoded, "base64 comes back")
            }
        },
        Entry(
            "password-hash", limit: 1024,
            seeds: ["scrypt$ln=17,r=8,p=1$c2FsdA$aGFzaA", "scrypt$ln=17,r=8,p=1$$", "$"]
        ) { bytes in
            if let hash = PasswordHash(encoded: text(bytes)) {
                require(PasswordHash(encoded: hash.encoded) == hash, "a hash comes back")
            }
        },
        Entry(
            "client-addresses", limit: headLimit,
            seeds: ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "a=1&b", "/v1/models/a%2Fb"]
        ) { bytes in
            let given = text(bytes)
            // Requests hold no more of it.
            let address = given.beginning(bytes: Event.Limit.clientAddress)
            Turns.turn { _ = LoginThrottle(foldedName: "a", clientAddress: address).keys }
            for upstream in upstreams {
                Turns.turn { _ = try? upstream.url(path: "/v1/" + given, query: Array(given.utf8)) }
            }
        },
        Entry(
            "addresses", limit: 4096, isTimed: false,
            seeds: [
                "http://localhost:9090",
                "https://h.example/team/v1", "redis://user:pass@host:6379/0?x=y",
                "unix:///run/redis.sock", "https://r.openai.azure.com/openai/deployments/d",
            ]
        ) { bytes in
            let address = text(bytes)
            _ = try? RedisAddress(address)
            guard let upstream = try? UpstreamAddress(address) else { return }
            _ = try? upstream.url(path: "/v1/models", query: bytes)
        },
        Entry(
            "settings", limit: headLimit, isTimed: false,
            seeds: [
                "API_URL=http://localhost:9090/\nAPI_KEY='a b'\n# comment\nMAX_BODY=1",
                "DB=postgres://a:b@c/d\nREDIS=redis://:p@h\nCORS_ORIGINS=a,b", "A=\"b\\\nc\"",
                "EVENT_DAYS=-1\nLOG_LEVEL=loud\nMODEL_ALIASES=a=b,c=d\nSESSION_DAYS=99999999999999",
            ]
        ) { bytes in
            let values = EnvironmentFile.variables(in: text(bytes))
            _ = try? Settings(values: values, requiresKey: false)
        },
    ]
}
