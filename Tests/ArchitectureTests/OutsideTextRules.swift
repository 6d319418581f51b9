/// Finds what must not be done to text from outside, because it looks at Characters: cuts and
/// comparisons by them, changes of case, and texts as keys.
extension Rules {
    /// What was found in one file, and how it is spelled there.
    struct CharacterUse: Hashable {
        let path: String
        let kind: Kind

        enum Kind: String, CaseIterable {
            case key = "a String as a key"
            case cut = "a cut at a Character"
            case comparison = "a comparison of Characters"
            case letterCase = "a change of case"
        }
    }

    private static let modules: Set<String> = [
        "Formats", "ProxyGPT", "Gateway", "HTTPAPI", "FastCGI", "Credentials", "Streaming",
        "Streamer",
        "CurlUpstream", "Worker",
    ]
    private static let filesOfOthers: Set<String> = [
        "Sources/Admin/CSV.swift", "Sources/Admin/TerminalText.swift", "Sources/Admin/Table.swift",
    ]

    static func characterUses(_ files: [SourceFile]) -> Set<CharacterUse> {
        var found: Set<CharacterUse> = []
        for file in files {
            guard modules.contains(file.module ?? "") || filesOfOthers.contains(file.place) else {
                continue
            }
            for kind in CharacterUse.Kind.allCases where hasUse(of: kind, file.code) {
                found.insert(CharacterUse(path: file.place, kind: kind))
            }
        }
        return found
    }

    // String literals are empty in code: a Character is `""`, a byte `UInt8(ascii: "")`.
    private static func hasUse(of kind: CharacterUse.Kind, _ code: String) -> Bool {
        switch kind {
        case .key: code.contains(#/\[String ?: ?[^\]]|Set<String>|Dictionary<String/#)
        case .cut:
            code.contains(#/split\(\s*separator: ""|(first|last)Index\(of: ""/#)
                || code.contains(#/(prefix|drop|split|while:) ?\{[^}]*\$0 (==|!=) ""/#)
                || code.contains(#/\$0\.isNewline|\\\.isWhitespace|\\\.isNewline/#)
                || code.contains(#/drop(First|Last)\(""\.count/#)
        case .comparison:
            code.contains(#/has(Prefix|Suffix)\(|contains\(""|\.(first|last) (==|!=) ""/#)
        case .letterCase: code.contains(#/\.(lower|upper)cased\(\)/#)
        }
    }

    /// Where it does no harm, and why.
    static let safeCharacterUses: [(path: String, kinds: [CharacterUse.Kind], reason: String)] = [
        ("Sources/ProxyGPT/EnvironmentFile.swift", [.key, .cut, .comparison], operators),
        ("Sources/ProxyGPT/RedisAddress.swift", [.cut, .comparison, .letterCase], operators),
        ("Sources/ProxyGPT/HeaderNames.swift", [.comparison, .letterCase], operators),
        ("Sources/ProxyGPT/Settings.swift", [.key], operators),
        ("Sources/ProxyGPT/Settings+Processes.swift", [.key], operators),
        ("Sources/ProxyGPT/UpstreamProxy.swift", [.cut, .comparison, .letterCase], operators),
        ("Sources/ProxyGPT/UpstreamProxyRules.swift", [.cut, .comparison, .letterCase], operators),
        (
            "Sources/ProxyGPT/Settings+Environment.swift", [.key, .cut, .letterCase],
            operators
        ),
        (
            "Sources/ProxyGPT/SettingsReader.swift", [.key, .cut, .comparison, .letterCase],
            operators
        ),
        (
            "Sources/ProxyGPT/UpstreamAddress.swift", [.cut, .comparison, .letterCase],
            "the address is the operator's; what requests add is read as bytes"
        ),
        (
            "Sources/CurlUpstream/NameCache.swift", [.key, .comparison, .letterCase],
            "hosts are the operator's"
        ),
        ("Sources/CurlUpstream/CurlMulti.swift", [.key], "hosts are the operator's"),
        ("Sources/Formats/JSONFieldScanner.swift", [.key], "the keys are the names wanted"),
        (
            "Sources/ProxyGPT/Username.swift", [.letterCase],
            "a name has 254 bytes before its case is changed"
        ),
        (
            "Sources/ProxyGPT/LoginThrottle.swift", [.key, .cut, .comparison],
            "an address has at most 64 bytes, a folded name has a bound as well"
        ),
        (
            "Sources/Streaming/Occupancy.swift", [.key],
            "an address is the web server's and has at most 64 bytes"
        ),
        (
            "Sources/Credentials/PasswordHash.swift", [.cut],
            "a hash is this product's own"
        ),
        (
            "Sources/Worker/FastCGIExchange.swift", [.comparison],
            "a parameter's name is the web server's, made of letters that a header may have"
        ),
    ]

    private static let operators = "the settings are the operator's"

    /// Uses that are not listed, and entries for which there is none any more.
    static func unsafeCharacterUses(_ files: [SourceFile]) -> [String] {
        let found = characterUses(files)
        let listed = Set(
            safeCharacterUses.flatMap { entry in
                entry.kinds.map { CharacterUse(path: entry.path, kind: $0) }
            })
        return found.subtracting(listed).map { "\($0.path): \($0.kind.rawValue)" }.sorted()
            + listed.subtracting(found).map { "\($0.path): no \($0.kind.rawValue) any more" }
            .sorted()
    }
}
