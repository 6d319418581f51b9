/// The identity of an installation, which its processes share and nobody else knows.
///
/// A row of the database, made by the first process. A restored backup and a migrated database get
/// another one, so that they share nothing with their source.
package struct Installation: Sendable, Equatable, CustomStringConvertible, CustomReflectable {
    /// 64 random bits as 16 hexadecimal digits: the prefix of all keys in a store that other
    /// installations may use, too.
    package let name: String
    /// 32 random bytes.
    package let secret: [UInt8]

    /// Nil where the name or the secret has another form.
    package init?(name: String, secret: [UInt8]) {
        let isDigits = name.utf8.allSatisfy {
            (0x30...0x39).contains($0) || (0x61...0x66).contains($0)
        }
        guard name.utf8.count == 16, isDigits, secret.count == 32 else { return nil }
        self.name = name
        self.secret = secret
    }

    package var description: String { "installation \(name)" }
    // The secret is never printed.
    package var customMirror: Mirror { Mirror(self, children: ["name": name]) }
}

/// Authenticates values by a key.
package protocol MessageAuthenticator: Sendable {
    /// The 16-byte authentication code of the concatenated pieces.
    func code(of pieces: [UInt8]...) -> [UInt8]
}

/// The keys by which an installation authenticates its values in a store that others may write to:
/// one for each use, so that a value of one use is not valid for another.
package struct InstallationKeys: Sendable {
    /// The name of the installation.
    package let name: String
    /// For context windows.
    package let windows: any MessageAuthenticator
    /// For frames of running replies.
    package let frames: any MessageAuthenticator

    package init(
        name: String, windows: any MessageAuthenticator, frames: any MessageAuthenticator
    ) {
        self.name = name
        self.windows = windows
        self.frames = frames
    }
}
