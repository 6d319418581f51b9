extension User {
    /// The longest password, in bytes.
    package static let passwordLimit = 1024
    /// The longest first or last name, in bytes.
    package static let personalNameLimit = 254

    /// Throws `invalidRequest` naming `parameter` where a new password breaks a rule.
    package static func checkNewPassword(
        _ password: String, minimum: Int, parameter: String = "password"
    ) throws(Failure) {
        guard password.utf8.count >= minimum else {
            throw .invalid(parameter, "A password has at least \(minimum) bytes.")
        }
        guard password.utf8.count <= passwordLimit else {
            throw .invalid(parameter, "A password has at most \(passwordLimit) bytes.")
        }
    }

    /// Throws `invalidRequest` naming `parameter` where a first or last name breaks a rule.
    package static func checkPersonalName(
        _ name: String, parameter: String
    ) throws(Failure) {
        guard name.utf8.count <= personalNameLimit else {
            throw .invalid(parameter, "A name has at most \(personalNameLimit) bytes.")
        }
        guard name.unicodeScalars.allSatisfy({ $0.properties.generalCategory != .control }) else {
            throw .invalid(parameter, "A name must not contain control characters.")
        }
    }
}
