internal import EventLoop
internal import Glibc

/// The owner of the state directory. Commands run as this user, so that the service's files stay the
/// service's; a command that root starts becomes this user.
struct Owner {
    let directory: String
    private let user: uid_t
    private let group: gid_t

    /// Throws where there is no such directory, or where the caller may not see it.
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

    /// Throws where the caller is neither the owner nor root; the error names the owner.
    func demand() throws {
        guard geteuid() == user || geteuid() == 0 else {
            let name = Self.name(of: user)
            throw CommandError(
                "\(directory) belongs to \(name): run this as root or as \(name)")
        }
    }

    /// Gives the process the owner's rights, for good.
    func become() throws {
        try demand()
        guard geteuid() == 0, user != 0 else { return }
        guard setgroups(0, nil) == 0, setgid(group) == 0, setuid(user) == 0 else {
            throw SystemError("setuid \(user)")
        }
    }

    /// Runs `body` as the owner, and as the caller again afterwards.
    func acting<T>(_ body: () throws -> T) throws -> T {
        guard geteuid() == 0, user != 0 else { return try body() }
        let caller = getegid()
        var groups = [gid_t](repeating: 0, count: Int(max(0, getgroups(0, nil))))
        let count = getgroups(Int32(groups.count), &groups)
        guard count >= 0, setgroups(0, nil) == 0, setegid(group) == 0, seteuid(user) == 0 else {
            throw SystemError("seteuid \(user)")
        }
        defer {
            // The process must not continue with only part of root's rights.
            if seteuid(0) != 0 || setegid(caller) != 0 || setgroups(Int(count), groups) != 0 {
                Console.report(SystemError("seteuid 0"))
                endProcess(1)
            }
        }
        return try body()
    }

    /// Gives the process the owner's rights where the owner could change a directory or link on the path of
    /// a file, and so lead root to another file.
    func becomeIfWritable(_ file: String) throws {
        guard geteuid() == 0, user != 0 else { return }
        let steps = try PathWalk(to: file).steps
        if steps.contains(where: { $0.isWritable(of: user, group) }) { try become() }
    }

    /// The owner of the directory that a file is in; for root, the owner of the first directory or link on
    /// the path that is not root's.
    init(ofPathTo file: String) throws {
        let steps = try PathWalk(to: file).steps
        let others = geteuid() == 0 ? steps.first { $0.user != 0 } : nil
        guard let step = others ?? steps.last else {
            throw SystemError("open \(file)", code: ENOENT)
        }
        directory = file
        user = step.user
        group = step.group
    }

    /// The name of a user of the system, or its number.
    static func name(of user: uid_t) -> String {
        guard let entry = getpwuid(user), let name = entry.pointee.pw_name else {
            return "uid \(user)"
        }
        return String(cString: name)
    }
}
