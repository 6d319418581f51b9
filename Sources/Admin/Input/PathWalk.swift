internal import EventLoop
internal import Glibc

/// The directories and links on the path of a file. A user that may change one of them can lead the path
/// to another file at any moment.
struct PathWalk {
    /// A directory or a link on the path.
    struct Step {
        let user: uid_t
        let group: gid_t
        let mode: mode_t

        /// Whether a user, or a group that may write there, can put another file behind a name.
        func isWritable(of user: uid_t, _ group: gid_t) -> Bool {
            if self.user == user { return true }
            // The mode of a link has no meaning.
            guard mode & S_IFMT == S_IFDIR else { return false }
            if self.group == group, mode & S_IWGRP != 0 { return true }
            return mode & S_IWOTH != 0 && mode & S_ISVTX == 0
        }
    }

    /// The most links that the kernel follows.
    private static let mostLinks = 40

    private(set) var steps: [Step] = []

    /// Walks to the directory of a file, which need not exist. The file itself is not examined.
    init(to file: String) throws(SystemError) {
        var place = try Self.isAbsolute(file) ? "/" : Self.workingDirectory()
        // The shell has followed the links on the path of the working directory; its directories count.
        var left = Self.names(file)
        if !Self.isAbsolute(file) {
            left += Self.names(place)
            place = "/"
        }
        steps.append(Step(try Self.status("/")))
        var links = 0
        while left.count > 1, let name = left.popLast() {
            if name.utf8.elementsEqual(".".utf8) { continue }
            if name.utf8.elementsEqual("..".utf8) {
                place = Self.parent(of: place)
                continue
            }
            let path = place.utf8.count == 1 ? "/" + name : place + "/" + name
            let status = try Self.status(path)
            steps.append(Step(status))
            guard status.st_mode & S_IFMT == S_IFLNK else {
                place = path
                continue
            }
            links += 1
            guard links <= Self.mostLinks else { throw SystemError("open \(file)", code: ELOOP) }
            let target = try Self.target(of: path)
            left += Self.names(target)
            if Self.isAbsolute(target) { place = "/" }
        }
    }

    /// The names of a path, the last one first.
    private static func names(_ path: String) -> [String] {
        path.utf8.split(separator: UInt8(ascii: "/")).reversed().map { String(Substring($0)) }
    }

    private static func isAbsolute(_ path: String) -> Bool {
        path.utf8.first == UInt8(ascii: "/")
    }

    private static func parent(of path: String) -> String {
        guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")), slash > path.startIndex else {
            return "/"
        }
        return String(path[..<slash])
    }

    private static func workingDirectory() throws(SystemError) -> String {
        guard let path = getcwd(nil, 0) else { throw SystemError("getcwd") }
        defer { free(path) }
        return String(cString: path)
    }

    private static func status(_ path: String) throws(SystemError) -> stat {
        var status = stat()
        guard lstat(path, &status) == 0 else { throw SystemError("open \(path)") }
        return status
    }

    private static func target(of link: String) throws(SystemError) -> String {
        var bytes = [UInt8](repeating: 0, count: Int(PATH_MAX))
        let count = readlink(link, &bytes, bytes.count)
        guard count >= 0 else { throw SystemError("readlink \(link)") }
        return String(decoding: bytes[..<count], as: UTF8.self)
    }
}

extension PathWalk.Step {
    fileprivate init(_ status: stat) {
        self.init(user: status.st_uid, group: status.st_gid, mode: status.st_mode)
    }
}
