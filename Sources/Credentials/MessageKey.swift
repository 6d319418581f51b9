internal import COpenSSL
internal import Formats
package import ProxyGPT

/// HMAC-SHA-256 (RFC 2104), cut to 16 bytes.
package struct MessageKey: MessageAuthenticator {
    private static let blockSize = 64
    private static let size = 16

    private let inner: [UInt8]
    private let outer: [UInt8]

    /// - Parameter key: at most 64 bytes.
    package init(_ key: [UInt8]) {
        let padded = key + [UInt8](repeating: 0, count: max(0, Self.blockSize - key.count))
        inner = padded.map { $0 ^ 0x36 }
        outer = padded.map { $0 ^ 0x5C }
    }

    package func code(of pieces: [UInt8]...) -> [UInt8] {
        Array(whole(pieces).prefix(Self.size))
    }

    fileprivate func whole(_ pieces: [[UInt8]]) -> [UInt8] {
        sha256([outer, sha256([inner] + pieces)])
    }
}

extension Installation {
    /// A new random installation.
    package static func random() -> Installation {
        let name = Randomness.bytes(8).hexadecimal
        guard let new = Installation(name: name, secret: Randomness.bytes(32)) else {
            preconditionFailure("the name of an installation is made of hexadecimal digits")
        }
        return new
    }

    /// The installation's keys, each derived from the secret and the name of its use.
    package var keys: InstallationKeys {
        func key(_ use: String) -> MessageKey {
            MessageKey(MessageKey(secret).whole([Array(use.utf8)]))
        }
        return InstallationKeys(name: name, windows: key("windows"), frames: key("frames"))
    }
}
