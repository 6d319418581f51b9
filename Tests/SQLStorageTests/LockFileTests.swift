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
