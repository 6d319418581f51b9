internal import EventLoop
internal import Glibc

/// Sees to it that files of the service stay the service's: commands run as the owner of the state
/// directory, which root becomes and nobody else can.
struct Owner {
    let directory: String
    private let user: uid_t
    private let group: gid_t

    /// Throws where there is no such directory, or where the caller may not even see it.
    init(of directory: String) throws {
        var status = stat()
        guard stat(directory, &status) == 0 else {
            if errno == ENOENT { throw CommandError("there is no state directory \(directory)") }
            if errno == EACCES {
                throw CommandError("\(directory) cannot be entered: run this as root")
            }
            throw SystemError("stat \(directory)")
        }
        self.directory = directory
        user = status.st_uid
        group = status.st_gid
    }

    /// Throws where the caller is neither the owner nor root, and says who is.
    func demand() throws {
        guard geteuid() == user || geteuid() == 0 else {
            let name = Self.name(of: user)
            throw CommandError(
                "\(directory) belongs to \(name): run this as root or as \(name)")
        }
    }

    /// Makes the process the owner's, for good.
    func become() throws {
        try demand()
        guard geteuid() == 0, user != 0 else { return }
        guard setgroups(0, nil) == 0, setgid(group) == 0, setuid(user) == 0 else {
            throw SystemError("setuid \(user)")
        }
    }

    /// The name of a user of the system, or its number.
    static func name(of user: uid_t) -> String {
        guard let entry = getpwuid(user), let name = entry.pointee.pw_name else {
            return "uid \(user)"
        }
        return String(cString: name)
    }
}
