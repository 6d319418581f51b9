// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
]

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

        module("ProxyGPT"),
        module("EventLoop", ["CLinux"]),
        module("FastCGI", ["CFastCGI", "EventLoop"]),
        module("Credentials", ["COpenSSL", "ProxyGPT", "EventLoop"]),
        module(
            "SQLStorage",
            ["CSQLite", "CPostgres", "ProxyGPT", "EventLoop", "Metrics", logging]),
        module("RedisStorage", ["CHiredis", "ProxyGPT", "EventLoop", logging]),
        module("CurlUpstream", ["CCurl", "ProxyGPT", "EventLoop", logging]),
        module("HTTPAPI", ["ProxyGPT", "Credentials", "Metrics", logging]),
        module("Logs", ["EventLoop", logging]),
        module("Metrics"),
        module("Service", ["ProxyGPT", "EventLoop", "Logs", logging]),

        program(
            "Worker",
            [
                "ProxyGPT", "EventLoop", "FastCGI", "Credentials", "SQLStorage", "RedisStorage",
                "CurlUpstream", "HTTPAPI", "Metrics", "Service", logging,
            ]),
        program(
            "Streamer",
            [
                "ProxyGPT", "EventLoop", "Credentials", "SQLStorage", "RedisStorage", "HTTPAPI",
                "Metrics", "Service", logging,
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "NIOTLS", package: "swift-nio"),
            ] + nio),
        program(
            "Admin",
            [
                "ProxyGPT", "EventLoop", "Credentials", "SQLStorage", "CurlUpstream", logging,
                parser,
            ]),
        program("MockUpstream", nio + [.product(name: "NIOWebSocket", package: "swift-nio")]),
        program("LoadGenerator", nio, path: "Benchmarks/Load"),

        .target(
            name: "TestSupport", dependencies: ["ProxyGPT", "EventLoop", logging],
            path: "Tests/TestSupport", swiftSettings: strict),
        tests("ProxyGPTTests", ["ProxyGPT", "TestSupport"]),
        tests("EventLoopTests", ["EventLoop"]),
        tests("FastCGITests", ["TestSupport", "FastCGI", "EventLoop"]),
        tests(
            "CredentialsTests", ["TestSupport", "Credentials", "ProxyGPT", "EventLoop"]),
        tests("SQLStorageTests", ["TestSupport", "SQLStorage", "ProxyGPT", "EventLoop", logging]),
        tests(
            "RedisStorageTests",
            ["TestSupport", "RedisStorage", "Credentials", "ProxyGPT", "EventLoop", logging]),
        tests(
            "CurlUpstreamTests", ["TestSupport", "CurlUpstream", "ProxyGPT", "EventLoop", logging]),
        tests(
            "HTTPAPITests",
            [
                "TestSupport", "HTTPAPI", "ProxyGPT", "Credentials", "SQLStorage", "EventLoop",
                "Metrics", logging,
            ]),
        tests("MetricsTests", ["Metrics"]),
        tests("LogsTests", ["Logs", "EventLoop", "ProxyGPT", logging]),
        tests(
            "StreamerTests",
            [
                "Streamer", "ProxyGPT", "EventLoop", "Credentials", "SQLStorage", "HTTPAPI",
                "Metrics", logging,
                .product(name: "NIOEmbedded", package: "swift-nio"),
            ] + nio),
        tests(
            "AdminTests",
            ["Admin", "ProxyGPT", "SQLStorage", parser]),
        tests("MockUpstreamTests", ["MockUpstream"]),
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
    let replaced = ["CurlUpstream", "RedisStorage", "Streamer"]
    package.products = []
    package.targets.removeAll {
        $0.type == .test || $0.type == .executable || replaced.contains($0.name)
    }
    package.targets += [
        parsers("CurlUpstream", ["AnswerHead.swift"], ["ProxyGPT"]),
        parsers(
            "RedisStorage",
            [
                "Connection/RedisReply.swift", "Bus/FrameEncoding.swift", "Seal.swift",
                "Bus/WordPositions.swift",
            ],
            ["CHiredis", "ProxyGPT"]),
        parsers(
            "Streamer",
            [
                "FanOut/Frame.swift", "Connections/HeadTranscoder.swift", "Wire/UTF8Check.swift",
                "Wire/WebSocketReceiver.swift", "Wire/WebSocketWriter.swift",
                "Realtime/FrameHead.swift", "Realtime/UpstreamHandshake.swift",
                "Realtime/UpstreamLocation.swift", "Realtime/UsageReader.swift",
            ], ["ProxyGPT", "Credentials", "HTTPAPI"] + nio),
        .target(
            name: "FuzzEntries",
            dependencies: [
                "TestSupport", "ProxyGPT", "FastCGI", "CFastCGI", "CHiredis", "Credentials",
                "CurlUpstream", "HTTPAPI", "RedisStorage", "Streamer",
            ] + nio, path: "Tests/Fuzz/Entries", swiftSettings: strict),
        fuzzing("FuzzReplay"),
        fuzzing("FuzzRunner"),
    ]
}
