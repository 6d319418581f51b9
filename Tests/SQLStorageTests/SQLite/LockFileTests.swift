import EventLoop
import Glibc
import Testing

@testable import SQLStorage

@Suite struct LockFileTests {
    @Test("a lock goes with its object, even where a child that was just forked has a copy")
    func copiesKeepNoLock() throws {
        let place = try Place()
        let path = place.file + ".lock"
        var lock: LockFile? = try LockFile(path)
        try lock?.lock(.exclusive)
        let other = try LockFile(path)
        #expect(!other.tryLock(.shared))

        let copies = descriptors(of: path).map { dup($0) }
        defer { for copy in copies { close(copy) } }
        try #require(copies.count == 2 && copies.allSatisfy { $0 >= 0 })
        lock = nil
        #expect(other.tryLock(.exclusive))
    }

    @Test("a lock file under the name of a link, a pipe or a directory is refused and left alone")
    func linksAreRefused() throws {
        let place = try Place()
        let victim = place.directory + "/victim"
        let path = place.file + ".checkpoint.lock"
        _ = try RawFile.new(victim)
        defer { for name in [victim, path] { unlink(name) } }
        symlink(victim, path)
        #expect(throws: SystemError.self) { try LockFile(path) }
        #expect(throws: SystemError.self) { try RawFile.existing(path) }
        unlink(path)
        // A link to nothing does not make the file that it names.
        symlink(place.directory + "/absent", path)
        #expect(throws: SystemError.self) { try LockFile(path) }
        #expect(access(place.directory + "/absent", F_OK) != 0)
        unlink(path)
        mkfifo(path, 0o600)
        #expect(throws: SystemError.self) { try LockFile(path) }
        #expect(throws: SystemError.self) { try RawFile.existing(path) }
        #expect(throws: SystemError.self) { try LockFile(place.directory) }
    }

    @Test("a database under the name of a link is not opened, one in a linked directory is")
    func linkedDatabase() async throws {
        let place = try Place()
        try await place.with { _ in }
        let link = place.directory + "/other.db"
        symlink(place.file, link)
        defer { unlink(link) }
        #expect(throws: SQLStorage.OpenError.link(link)) {
            try SQLStorage.existing(link, mayCreate: true)
        }
        #expect(throws: SQLStorage.OpenError.link(link)) { try DatabaseHealth.examine(link) }
        #expect(throws: DatabaseError.self) { try SQLiteConnection(file: link, role: .reader) }
        unlink(link)
        let directory = place.directory + ".link"
        symlink(place.directory, directory)
        defer { unlink(directory) }
        #expect(
            try SQLStorage.existing(directory + "/proxy.db", mayCreate: false)
                == SQLStorage.existing(place.file, mayCreate: false))
    }

    private func descriptors(of path: String) -> [Int32] {
        guard let directory = opendir("/proc/self/fd") else { return [] }
        defer { closedir(directory) }
        var found: [Int32] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            var target = [UInt8](repeating: 0, count: Int(PATH_MAX))
            let length = max(0, readlink("/proc/self/fd/" + name, &target, target.count))
            guard String(decoding: target[..<length], as: UTF8.self) == path else { continue }
            if let descriptor = Int32(name) { found.append(descriptor) }
        }
        return found
    }
}
