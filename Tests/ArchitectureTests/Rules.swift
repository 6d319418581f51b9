/// The rules of the house, each as a function from files to sentences about what breaks it.
enum Rules {
    /// The modules that each module may import, beside those that all may. Every module is listed.
    static let imports: [String: Set<String>] = [
        "Formats": [],
        "ProxyGPT": ["Formats"],
        "EventLoop": ["CLinux"],
        "FastCGI": ["CFastCGI", "EventLoop"],
        "Credentials": ["COpenSSL", "Formats", "ProxyGPT", "EventLoop"],
        "SQLStorage": [
            "CSQLite", "CPostgres", "Formats", "ProxyGPT", "EventLoop", "Metrics", "Logging",
        ],
        "RedisStorage": ["CHiredis", "Formats", "ProxyGPT", "EventLoop", "Logging"],
        "CurlUpstream": ["CCurl", "Formats", "ProxyGPT", "EventLoop", "Logging"],
        "Gateway": ["Formats", "ProxyGPT", "Credentials", "Metrics", "Logging"],
        "HTTPAPI": ["Formats", "ProxyGPT", "Credentials", "Gateway", "Metrics", "Logging"],
        "Streaming": [
            "Formats", "ProxyGPT", "EventLoop", "Credentials", "Gateway", "Metrics", "Logging",
            "NIOCore", "NIOPosix", "NIOHTTP1", "NIOSSL", "NIOTLS",
        ],
        "Logs": ["EventLoop", "Logging"],
        "Metrics": [],
        "Service": [
            "ProxyGPT", "EventLoop", "Credentials", "SQLStorage", "RedisStorage", "Gateway",
            "Logs", "Metrics", "Logging",
        ],
        "Worker": [
            "ProxyGPT", "EventLoop", "FastCGI", "Credentials", "SQLStorage", "RedisStorage",
            "CurlUpstream", "Formats", "Gateway", "HTTPAPI", "Metrics", "Service", "Logging",
        ],
        "Streamer": [
            "ProxyGPT", "EventLoop", "Credentials", "SQLStorage", "RedisStorage", "Gateway",
            "Streaming", "Metrics", "Service", "Logging",
        ],
        "Admin": [
            "Formats", "ProxyGPT", "EventLoop", "Credentials", "SQLStorage", "CurlUpstream",
            "Gateway",
            "Logging", "ArgumentParser",
        ],
        "MockUpstream": [
            "Credentials", "Formats", "NIOCore", "NIOPosix", "NIOHTTP1", "NIOSSL", "NIOWebSocket",
        ],
        "LoadGenerator": ["NIOCore", "NIOPosix", "NIOHTTP1"],
    ]

    /// The language's own, and the system's C library.
    static let free: Set<String> = ["Swift", "Synchronization", "Glibc"]

    /// Modules that stand in for another server, or measure: not the product.
    private static let tools: Set<String> = ["MockUpstream", "LoadGenerator"]

    private static func product(_ files: [SourceFile]) -> [SourceFile] {
        files.filter { file in file.module.map { !tools.contains($0) } ?? false }
    }

    static func brokenImports(_ files: [SourceFile]) -> [String] {
        files.flatMap { file -> [String] in
            guard let module = file.module else { return [] }
            guard let allowed = imports[module] else {
                return ["\(file.path): no rule knows \(module)"]
            }
            return file.imports.filter { !allowed.contains($0) && !free.contains($0) }
                .map { "\(file.path): \(module) must not import \($0)" }
        }
    }

    static func sharedCModules(_ files: [SourceFile]) -> [String] {
        var importers: [String: Set<String>] = [:]
        for file in files {
            for name in file.imports where isCModule(name) {
                importers[name, default: []].insert(file.module ?? file.path)
            }
        }
        return importers.filter { $0.value.count > 1 }
            .map { "\($0.key) is imported by \($0.value.sorted().joined(separator: " and "))" }
            .sorted()
    }

    // CSQLite and its like: a C, then another capital.
    private static func isCModule(_ name: String) -> Bool {
        name.first == "C" && name.dropFirst().first?.isUppercase == true
    }

    static func environmentReaders(_ files: [SourceFile]) -> [String] {
        let words = ["getenv", "secure_getenv", "ProcessInfo", "environ"]
        return using(
            words, in: product(files),
            unless: { $0.module == "ProxyGPT" && $0.name.hasPrefix("Settings") })
    }

    static func statusTables(_ files: [SourceFile]) -> [String] {
        product(files).filter { $0.place != "Sources/ProxyGPT/Failure.swift" }.flatMap { file in
            file.code.matches(of: #/(case [^\n:]*:\s*(return\s+)?|status:\s*)[45][0-9][0-9]\b/#)
                .map { "\(file.path): \($0.output.0)" }
        }
    }

    static func schemas(_ files: [SourceFile]) -> [String] {
        let home = #/Sources/SQLStorage/Migrations(\+[A-Za-z]+)?\.swift/#
        return product(files).filter { $0.place.wholeMatch(of: home) == nil }.flatMap { file in
            file.strings.filter { text in
                text.uppercased().contains(#/\bCREATE\s+(TABLE|UNIQUE|INDEX|VIEW|TRIGGER|TEMP)/#)
            }.map { "\(file.path): \($0.prefix(40))" }
        }
    }

    static func routes(_ files: [SourceFile]) -> [String] {
        // Whose paths those are that the upstream's address maps, and that are closed.
        let exempt: Set<String> = [
            "Sources/Gateway/Endpoints.swift", "Sources/ProxyGPT/UpstreamAddress.swift",
            "Sources/ProxyGPT/PathPolicy.swift",
        ]
        return product(files).filter { !exempt.contains($0.place) }.flatMap { file in
            file.strings.filter { $0.starts(with: #/\/(user|chat|group|v1)(\/|$)/#) }
                .map { "\(file.path): \($0)" }
        }
    }

    static func randomness(_ files: [SourceFile]) -> [String] {
        let words = [
            "SystemRandomNumberGenerator", "arc4random", "getrandom", "RAND_bytes", "randomElement",
            "shuffled",
            "shuffle", "rand", "random_r", "drand48",
        ]
        let others = product(files).filter { $0.module != "Credentials" }
        return using(words, in: others)
            + others.flatMap { file in
                file.code.matches(of: #/(\w+)\.random\(/#).filter { $0.output.1 != "Token" }
                    .map { "\(file.path): \($0.output.0)" }
            }
    }

    static func forbiddenWords(_ files: [SourceFile]) -> [String] {
        let words = ["try!", "as!", "fatalError", "public", "Foundation", "FoundationEssentials"]
        return using(words, in: files.filter { $0.module != nil })
    }

    /// Waits that keep their continuation without another look: a task that prefers no executor lets
    /// others run on its way into the wait, and what it waits for may have come since it looked.
    static func blindWaits(_ files: [SourceFile]) -> [String] {
        let wait =
            #/with(Unsafe|Checked)(Throwing)?Continuation\s*\{\s*(\w+\s+in\s+)?[\w.\[\]]+\s*(=\s*(\$0|\w+)|\.append\((\$0|\w+)\))\s*\}/#
        return product(files).flatMap { file in
            file.code.matches(of: wait).map { "\(file.path): \($0.output.0)" }
        }
    }

    /// Where numbers of the database are taken out of its values as they are: elsewhere, a sum with one
    /// could trap.
    static func uncheckedNumbers(_ files: [SourceFile]) -> [String] {
        let exempt = ["Row", "PostgresParameters", "SQLiteStatement", "DatabaseMove"]
            .map { "Sources/SQLStorage/\($0).swift" }
        return files.filter { $0.module == "SQLStorage" && !exempt.contains($0.place) }
            .filter { $0.code.contains(#/\.integer\(\s*let\b|let \.integer\(/#) }
            .map { "\($0.path) takes a number out of a value; Row does" }
    }

    /// Where a number is read out of a text by Swift's own rules, which take a sign: `decimalNumber` takes
    /// digits alone.
    static func signedNumbers(_ files: [SourceFile]) -> [String] {
        let reading =
            #/\bU?Int(8|16|32|64)?\(\s*(String\(|Substring\(|text\(|\w*([tT]ext|[aA]rgument)\))/#
        // A signed number may come there, or a grammar was checked before.
        let exempt: Set<String> = [
            "Sources/Admin/CSV.swift", "Sources/Formats/JSONValue.swift",
            "Sources/ProxyGPT/ReplyEvent.swift", "Sources/SQLStorage/PostgresAnswer.swift",
            "Sources/RedisStorage/ReplyGuard.swift", "Sources/Metrics/Scoreboard+Process.swift",
            "Sources/SQLStorage/PostgresOrigin.swift",
        ]
        return product(files).filter { !exempt.contains($0.place) }.flatMap { file in
            file.code.matches(of: reading).map { "\(file.path): \($0.output.0)" }
        }
    }

    /// Files in which our event loop and NIO's meet, which have types of the same name.
    static func mixedLoops(_ files: [SourceFile]) -> [String] {
        files.filter { file in
            file.module != nil && file.imports.contains("EventLoop")
                && file.imports.contains { $0.hasPrefix("NIO") }
        }.map { "\($0.path) imports EventLoop and NIO" }
    }

    static func longFiles(_ files: [SourceFile]) -> [String] {
        files.compactMap { file in
            let count = file.text.split(separator: "\n", omittingEmptySubsequences: false).count - 1
            return count > 400 ? "\(file.path) has \(count) lines" : nil
        }
    }

    private static func using(
        _ words: [String], in files: [SourceFile],
        unless isExempt: (SourceFile) -> Bool = { _ in false }
    ) -> [String] {
        files.filter { !isExempt($0) }.flatMap { file in
            words.filter { file.uses($0) }.map { "\(file.path): \($0)" }
        }
    }
}
