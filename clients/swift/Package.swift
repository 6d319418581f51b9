// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
]

let nio: [Target.Dependency] = [
    .product(name: "NIOCore", package: "swift-nio"),
    .product(name: "NIOPosix", package: "swift-nio"),
    .product(name: "NIOHTTP1", package: "swift-nio"),
]

let package = Package(
    name: "proxy-gpt-client",
    platforms: [.macOS(.v15), .iOS(.v18)],
    products: [
        .library(name: "ProxyGPTClient", targets: ["ProxyGPTClient"])
    ],
    dependencies: [
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
    ],
    targets: [
        .target(
            name: "ProxyGPTClient",
            dependencies: [
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
            ],
            swiftSettings: strict),
        .executableTarget(
            name: "scenario", dependencies: ["ProxyGPTClient"], swiftSettings: strict),
        .testTarget(
            name: "ProxyGPTClientTests", dependencies: ["ProxyGPTClient"] + nio,
            swiftSettings: strict),
    ],
    swiftLanguageModes: [.v6]
)
