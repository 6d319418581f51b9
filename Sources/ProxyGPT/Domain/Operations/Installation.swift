/// What the processes of one installation know of it, and nobody else.
///
/// A row of the database, made by the first process. A restored backup and a database that was moved to
/// get another one, so that they share nothing with where they came from.
package struct Installation: Sendable, Equatable, CustomStringConvertible, CustomReflectable {
    /// 64 random bits as 16 hexadecimal digits: begins the names of all that is kept where other
    /// installations may keep something, too.
    package let name: String
    /// 32 random bytes.
    package let secret: [UInt8]

    /// Nil for what is no name or no secret.
    package init?(name: String, secret: [UInt8]) {
        let isDigits = name.utf8.allSatisfy {
            (0x30...0x39).contains($0) || (0x61...0x66).contains($0)
        }
        guard name.utf8.count == 16, isDigits, secret.count == 32 else { return nil }
        self.name = name
        self.secret = secret
    }

    package var description: String { "installation \(name)" }
    // The secret is printed by nobody.
    package var customMirror: Mirror { Mirror(self, children: ["name": name]) }
}

/// Tells who has a key from everybody else.
package protocol MessageAuthenticator: Sendable {
    /// 16 bytes that only who has the key can make, of these pieces one behind the other.
    func code(of pieces: [UInt8]...) -> [UInt8]
}

/// What an installation marks its own with in a store that others may write to: a key for each use, so
/// that what is of one use is none of another's.
package struct InstallationKeys: Sendable {
    /// That of the installation.
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
