/// Says in one line why a command came to nothing.
struct CommandError: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }

    static func noUser(_ name: String) -> CommandError {
        CommandError("there is no user \(name)")
    }
}
