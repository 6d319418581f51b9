// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
]

/// For what parses: unit tests give it megabytes, which without optimization takes most of their time.
let optimized: [SwiftSetting] = strict + [.unsafeFlags(["-O"], .when(configuration: .debug))]

/// A target of ours below `Sources/`, with the language features that all of them share.
func module(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: strict)
}

func program(_ name: String, _ dependencies: [Target.Dependency], path: String? = nil) -> Target {
    .executableTarget(name: name, dependencies: dependencies, path: path, swiftSettings: strict)
}

func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .testTarget(name: name, dependencies: dependencies, swiftSettings: strict)
}

func library(_ name: String, pkgConfig: String, apt: String) -> Target {
    .systemLibrary(name: name, pkgConfig: pkgConfig, providers: [.apt([apt])])
}

let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let parser: Target.Dependency = .product(
    name: "ArgumentParser", package: "swift-argument-parser")
let nio: [Target.Dependency] = [
    .product(name: "NIOCore", package: "swift-nio"),
    .product(name: "NIOPosix", package: "swift-nio"),
    .product(name: "NIOHTTP1", package: "swift-nio"),
]

let package = Package(
    name: "proxy-gpt",
    products: [
        .executable(name: "proxy-gpt-worker", targets: ["Worker"]),
        .executable(name: "proxy-gpt-streamer", targets: ["Streamer"]),
        .executable(name: "proxy-gpt-admin", targets: ["Admin"]),
        .executable(name: "mock-upstream", targets: ["MockUpstream"]),
        .executable(name: "load-generator", targets: ["LoadGenerator"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
    ],
    targets: [
        library("CFastCGI", pkgConfig: "fcgi", apt: "libfcgi-dev"),
        library("CPostgres", pkgConfig: "libpq", apt: "libpq-dev"),
        library("CSQLite", pkgConfig: "sqlite3", apt: "libsqlite3-dev"),
        library("CCurl", pkgConfig: "libcurl", apt: "libcurl4-openssl-dev"),
        // Its pkg-config file asks for a macro that changes nothing on 64 bits and that SwiftPM refuses.
        .systemLibrary(name: "CHiredis", providers: [.apt(["libhiredis-dev"])]),
        library("COpenSSL", pkgConfig: "libcrypto", apt: "libssl-dev"),
        .systemLibrary(name: "CLinux"),

        .target(name: "Formats", swiftSettings: optimized),
        .target(name: "ProxyGPT", dependencies: ["Formats"], swiftSettings: optimized),
        module("EventLoop", ["CLinux"]),
        module("FastCGI", ["CFastCGI", "EventLoop"]),
        module("Credentials", ["COpenSSL", "Formats", "ProxyGPT", "EventLoop"]),
        module(
            "SQLStorage",
            ["CSQLite", "CPostgres", "Formats", "ProxyGPT", "EventLoop", "Metrics", logging]),
        module("RedisStorage", ["CHiredis", "Formats", "ProxyGPT", "EventLoop", logging]),
        module("CurlUpstream", ["CCurl", "Formats", "ProxyGPT", "EventLoop", logging]),
        module("Gateway", ["Formats", "ProxyGPT", "Credentials", "Metrics", logging]),
        module("HTTPAPI", ["Formats", "ProxyGPT", "Credentials", "Gateway", "Metrics", logging]),
        module(
            "Streaming",
            [
                "Formats", "ProxyGPT", "EventLoop", "Credentials", "Gateway", "Metrics", logging,
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "NIOTLS", package: "swift-nio"),
            ] + nio),
        module("Logs", ["EventLoop", logging]),
        module("Metrics"),
        module(
            "Service",
            [
                "ProxyGPT", "EventLoop", "Credentials", "SQLStorage", "RedisStorage", "Gateway",
                "Logs", "Metrics", logging,
            ]),

        program(
            "Worker",
            [
                "Formats", "ProxyGPT", "EventLoop", "FastCGI", "Credentials", "SQLStorage",
                "RedisStorage", "CurlUpstream", "Gateway", "HTTPAPI", "Metrics", "Service", logging,
            ]),
        program(
            "Streamer",
            [
                "Formats", "ProxyGPT", "EventLoop", "Credentials", "SQLStorage", "RedisStorage",
                "Gateway", "Streaming", "Metrics", "Service", logging,
            ]),
        program(
            "Admin",
            [
                "Formats", "ProxyGPT", "EventLoop", "Credentials", "SQLStorage", "CurlUpstream",
                "Gateway", logging, parser,
            ]),
        program(
            "MockUpstream",
            ["Formats", "Credentials"] + nio + [
                .product(name: "NIOWebSocket", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
            ]),
        program("LoadGenerator", nio, path: "Benchmarks/Load"),

        .target(
            name: "TestSupport", dependencies: ["Formats", "ProxyGPT", "EventLoop", logging],
            path: "Tests/TestSupport", swiftSettings: strict),
        tests("FormatsTests", ["Formats", "TestSupport"]),
        tests("ProxyGPTTests", ["Formats", "ProxyGPT", "TestSupport"]),
        tests("EventLoopTests", ["EventLoop"]),
        tests("FastCGITests", ["TestSupport", "FastCGI", "EventLoop"]),
        tests(
            "CredentialsTests", ["TestSupport", "Credentials", "Formats", "ProxyGPT", "EventLoop"]),
        tests(
            "SQLStorageTests",
            ["TestSupport", "SQLStorage", "Formats", "ProxyGPT", "EventLoop", logging]),
        tests(
            "RedisStorageTests",
            [
                "TestSupport", "RedisStorage", "Credentials", "Formats", "ProxyGPT", "EventLoop",
                logging,
            ]),
        tests(
            "CurlUpstreamTests",
            ["TestSupport", "CurlUpstream", "Formats", "ProxyGPT", "EventLoop", logging]),
        tests(
            "HTTPAPITests",
            [
                "TestSupport", "HTTPAPI", "Gateway", "Streaming", "Formats", "ProxyGPT",
                "Credentials", "SQLStorage", "EventLoop", "Metrics", logging,
            ]),
        tests("MetricsTests", ["Metrics"]),
        tests("LogsTests", ["Logs", "EventLoop", "Formats", "ProxyGPT", logging]),
        tests(
            "StreamingTests",
            [
                "Streaming", "Formats", "ProxyGPT", "EventLoop", "Credentials", "SQLStorage",
                "Gateway", "Metrics", logging,
                .product(name: "NIOEmbedded", package: "swift-nio"),
            ] + nio),
        tests(
            "AdminTests",
            ["Admin", "Formats", "Gateway", "ProxyGPT", "SQLStorage", parser]),
        tests("MockUpstreamTests", ["MockUpstream", "Credentials", "Formats"] + nio),
        tests("ArchitectureTests", ["TestSupport"]),
    ],
    swiftLanguageModes: [.v6]
)

// `make fuzz`: of programs and adapters that carry more, the files alone that read bytes from outside.
if Context.environment["PROXY_GPT_FUZZ"] != nil {
    func parsers(_ name: String, _ sources: [String], _ dependencies: [Target.Dependency]) -> Target
    {
        .target(name: name, dependencies: dependencies, sources: sources, swiftSettings: strict)
    }
    func fuzzing(_ name: String) -> Target {
        program(name, ["FuzzEntries"], path: "Tests/Fuzz/" + name.dropFirst("Fuzz".count))
    }
    let replaced = ["CurlUpstream", "RedisStorage", "Streaming", "HTTPAPI"]
    package.products = []
    package.targets.removeAll {
        $0.type == .test || $0.type == .executable || replaced.contains($0.name)
    }
    package.targets += [
        parsers("CurlUpstream", ["AnswerHead.swift"], ["Formats", "ProxyGPT"]),
        parsers(
            "RedisStorage",
            [
                "Connection/RedisReply.swift", "Bus/FrameEncoding.swift", "Seal.swift",
                "Bus/DeltaPositions.swift",
            ],
            ["CHiredis", "Formats", "ProxyGPT"]),
        parsers(
            "Streaming",
            [
                "Admission/Subprotocols.swift", "FanOut/Frame.swift",
                "Connections/HeadTranscoder.swift", "Wire/UTF8Check.swift",
                "Wire/WebSocketReceiver.swift", "Wire/WebSocketWriter.swift",
                "Wire/FrameHead.swift", "Realtime/UpstreamHandshake.swift",
                "Realtime/UpstreamLocation.swift", "Realtime/UsageReader.swift",
            ], ["Formats", "ProxyGPT", "Credentials", "Gateway"] + nio),
        .target(
            name: "FuzzEntries",
            dependencies: [
                "TestSupport", "Formats", "ProxyGPT", "FastCGI", "CFastCGI", "CHiredis",
                "Credentials",
                "CurlUpstream", "Gateway", "RedisStorage", "Streaming",
            ] + nio, path: "Tests/Fuzz/Entries", swiftSettings: strict),
        fuzzing("FuzzReplay"),
        fuzzing("FuzzRunner"),
    ]
}
