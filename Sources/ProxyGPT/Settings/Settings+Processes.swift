// The processes that serve a state directory, from proc(5), which shows them to root and to their
// own user.

internal import Formats
internal import Glibc

/// A process of the service.
package struct RunningProcess: Sendable {
    package let id: Int32
    /// `proxy-gpt-worker` or `proxy-gpt-streamer`.
    package let program: String
    /// The variables at its start; the process has overwritten secret ones.
    package let environment: [String: String]

    private static let programs = ["proxy-gpt-worker", "proxy-gpt-streamer"]

    /// The processes that serve a directory, workers first. Only processes of the directory's owner
    /// and of root count: another user's could have any name and any settings.
    package static func all(
        serving stateDirectory: String, in proc: String = "/proc"
    ) -> [RunningProcess] {
        guard let home = FileIdentity(stateDirectory), let directory = opendir(proc) else {
            return []
        }
        defer { closedir(directory) }
        var found: [RunningProcess] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            guard let id = name.utf8.decimalNumber.flatMap({ Int32(exactly: $0) }),
                let program = program("\(proc)/\(name)"),
                let user = user("\(proc)/\(name)"), user == home.owner || user == 0
            else { continue }
            let environment = environment("\(proc)/\(name)")
            let setting = environment["STATE_DIRECTORY"] ?? ""
            let path =
                setting.utf8.first == UInt8(ascii: "/") ? setting : "\(proc)/\(name)/cwd/\(setting)"
            guard !environment.isEmpty, FileIdentity(path) == home else { continue }
            found.append(RunningProcess(id: id, program: program, environment: environment))
        }
        return found.sorted {
            ($0.program == programs[0] ? 0 : 1, $0.id) < ($1.program == programs[0] ? 0 : 1, $1.id)
        }
    }

    /// The program by its first argument, since the kernel cuts the name.
    private static func program(_ path: String) -> String? {
        let line = Settings.contents(ofFile: path + "/cmdline", limit: 4096)
        let name = lastComponent(Array(line.prefix { $0 != 0 }))
        return programs.first { name.elementsEqual($0.utf8) }
    }

    /// The user of the process. The owner of its files in /proc is root for programs that have
    /// changed their user.
    private static func user(_ path: String) -> uid_t? {
        let name = Array("Uid:".utf8)
        let status = Settings.contents(ofFile: path + "/status", limit: 64 * 1024)
        let line = status.split(separator: 0x0A).first { $0.starts(with: name) }
        let numbers = line?.dropFirst(name.count).split { $0 == 0x09 || $0 == 0x20 }
        return numbers?.first.flatMap { uid_t(String(decoding: $0, as: UTF8.self)) }
    }

    private static func environment(_ path: String) -> [String: String] {
        var environment: [String: String] = [:]
        let bytes = Settings.contents(ofFile: path + "/environ", limit: 1024 * 1024)
        for variable in bytes.split(separator: 0) {
            let name = variable.prefix { $0 != UInt8(ascii: "=") }
            guard let entry = Settings.table.first(where: { $0.name.utf8.elementsEqual(name) })
            else { continue }
            let value = variable.dropFirst(name.count + 1)
            environment[entry.name] = String(decoding: value, as: UTF8.self)
        }
        return environment
    }

    /// The path of the process's open database, if that is not the file at the known path any more
    /// because it was moved, deleted or replaced. Nil where it is that file, or unknown.
    ///
    /// - Parameter file: the path that the process knows.
    package func displaced(_ file: String, in proc: String = "/proc") -> String? {
        let wanted = FileIdentity(file)
        guard let directory = opendir("\(proc)/\(id)/fd") else { return nil }
        defer { closedir(directory) }
        var other: String?
        while let entry = readdir(directory) {
            let link = withUnsafeBytes(of: entry.pointee.d_name) {
                "\(proc)/\(id)/fd/" + String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if let wanted, FileIdentity(link) == wanted { return nil }
            var target = [UInt8](repeating: 0, count: Int(PATH_MAX))
            let length = max(0, readlink(link, &target, target.count))
            let shown = target[..<length]
            // The bus is a database, too.
            let name = Self.lastComponent(Array(shown))
            if !name.starts(with: "bus.db".utf8), isDatabase(link) {
                other = String(decoding: shown, as: UTF8.self)
            }
        }
        return other
    }

    private static func lastComponent(_ path: [UInt8]) -> ArraySlice<UInt8> {
        path.lastIndex(of: UInt8(ascii: "/")).map { path[($0 + 1)...] } ?? path[...]
    }

    /// Whether an open file is an SQLite database (sqlite.org/fileformat.html, 1.3).
    private func isDatabase(_ path: String) -> Bool {
        Settings.contents(ofFile: path, limit: 16) == Array("SQLite format 3\0".utf8)
    }
}

/// The identity of the file at a path.
private struct FileIdentity: Equatable {
    private let device: UInt
    private let inode: UInt
    let owner: uid_t

    init?(_ path: String) {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        device = UInt(status.st_dev)
        inode = UInt(status.st_ino)
        owner = status.st_uid
    }
}
