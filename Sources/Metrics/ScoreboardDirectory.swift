// The boards of all processes of a host, in one directory.
//
// Each process has a file that it keeps locked (flock(2)); a file whose lock can be had is that of a
// dead process. Whoever sees one adds what counts for ever to the file of the past and removes it,
// holding the directory's lock, as everybody does who reads: so no sum is ever smaller than one
// before. Files are read and not mapped: one that somebody cuts short cannot do any harm. A file of
// another layout is that of another release, which has a past of its own;
// dead, it is removed.

internal import Glibc

/// Makes this process's board, and reads those of all.
package struct ScoreboardDirectory: Sendable {
    /// Somebody else holds the lock; for a moment, or stopped.
    package struct Busy: Error {}

    private static let suffix = ".board"
    private static let largestFile = 1 << 20

    private let path: String
    private let catalog: Catalog

    /// - Parameter path: the directory; made when the first board is.
    package init(_ path: String, _ catalog: Catalog) {
        self.path = path
        self.catalog = catalog
    }

    /// Makes a board in a file of its own; one without a file where that cannot be done, with the
    /// reason.
    ///
    /// - Parameter name: nobody else's.
    package func makeBoard(
        _ kind: ProcessKind, name: String, startedAt: Int64
    ) -> (board: Scoreboard, problem: String?) {
        mkdir(path, 0o700)
        do {
            let lock = try lock(tries: 200)
            defer { Self.unlock(lock) }
            foldDead()
            let file = "\(path)/\(name)\(Self.suffix)"
            let flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC
            let descriptor = open(file, flags, 0o600)
            guard descriptor >= 0 else { throw Refused(during: "open \(file)") }
            guard flock(descriptor, LOCK_EX) == 0,
                let words = Words(count: catalog.wordCount, descriptor: descriptor)
            else {
                let refused = Refused(during: "map \(file)")
                unlink(file)
                Self.unlock(descriptor)
                throw refused
            }
            return (Scoreboard(catalog, kind, words, startedAt: startedAt), nil)
        } catch {
            let words = Words(count: catalog.wordCount)
            return (Scoreboard(catalog, kind, words, startedAt: startedAt), "\(error)")
        }
    }

    /// What all processes have counted, in Prometheus' format.
    package func exposition(version: String) throws(Busy) -> String {
        let lock: Int32
        do { lock = try self.lock(tries: 1) } catch { throw Busy() }
        defer { Self.unlock(lock) }
        var (sum, kept) = foldDead()
        for (name, file) in live() { sum.add(file, isAlive: !kept.contains(name)) }
        return Exposition.text(sum, version: version)
    }

    /// The processes that live, oldest first.
    package func processes() throws(Busy) -> [ProcessStatus] {
        let lock: Int32
        do { lock = try self.lock(tries: 1) } catch { throw Busy() }
        defer { Self.unlock(lock) }
        let kept = foldDead().kept
        return live().filter { !kept.contains($0.name) }.map { ProcessStatus($0.words, catalog) }
            .sorted { $0.startedAt < $1.startedAt }
    }

    // MARK: - Files

    struct Refused: Error, CustomStringConvertible {
        let description: String

        init(during: String) {
            description = "\(during): \(String(cString: strerror(errno)))"
        }
    }

    /// Takes the directory's lock. Whoever holds it does so for less than a millisecond.
    func lock(tries: Int) throws(Refused) -> Int32 {
        let file = path + "/lock"
        let descriptor = open(file, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw Refused(during: "open \(file)") }
        for attempt in 1...max(1, tries) {
            if flock(descriptor, LOCK_EX | LOCK_NB) == 0 { return descriptor }
            if attempt < tries { usleep(5000) }
        }
        let refused = Refused(during: "lock \(file)")
        close(descriptor)
        throw refused
    }

    /// Lets go of a file and its lock at once. Closing would not do: a process that is just being
    /// started has all descriptors, and each lock with them, until it runs its program (flock(2)).
    static func unlock(_ descriptor: Int32) {
        flock(descriptor, LOCK_UN)
        close(descriptor)
    }

    private func names() -> [String] {
        guard let directory = opendir(path) else { return [] }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name.hasSuffix(Self.suffix) { names.append(name) }
        }
        return names.sorted()
    }

    /// The words of a file; none of one that is no such file.
    private func words(of descriptor: Int32) -> [UInt64] {
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG,
            status.st_size <= Self.largestFile, status.st_size % 8 == 0
        else { return [] }
        var words = [UInt64](repeating: 0, count: Int(status.st_size) / 8)
        let wanted = words.count * 8
        var done = 0
        while done < wanted {
            let count = words.withUnsafeMutableBytes { bytes in
                pread(
                    descriptor, bytes.baseAddress.map { $0 + done }, wanted - done, off_t(done))
            }
            guard count > 0 else { return [] }
            done += count
        }
        return words
    }

    private func words(ofFile name: String) -> [UInt64] {
        let flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK
        let descriptor = open("\(path)/\(name)", flags)
        guard descriptor >= 0 else { return [] }
        defer { close(descriptor) }
        return words(of: descriptor)
    }

    private func live() -> [(name: String, words: [UInt64])] {
        names().map { ($0, words(ofFile: $0)) }.filter { Sum.reads($0.1, catalog) }
    }

    /// Each layout's own: while an upgrade goes on, two releases write.
    private var pastName: String { "past-" + String(catalog.fingerprint, radix: 16) }

    private func past() -> (sum: Sum, lastFolded: UInt64) {
        var sum = Sum(catalog)
        let file = words(ofFile: pastName)
        guard Sum.reads(file, catalog) else { return (sum, 0) }
        sum.add(file, isAlive: false)
        return (sum, file[Board.lastFoldedWord])
    }

    /// Adds the files of dead processes to the past. Called under the lock.
    ///
    /// - Returns: the past, and the files of dead processes that could not be added to it, as where the
    ///   disk is full.
    @discardableResult
    private func foldDead() -> (past: Sum, kept: Set<String>) {
        var kept: Set<String> = []
        let names = names()
        // A process that died between adding and removing has done half of this.
        var (past, lastFolded) = past()
        for name in names where Self.mark(name) == lastFolded { unlink("\(path)/\(name)") }
        for name in names {
            let file = "\(path)/\(name)"
            let descriptor = open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
            guard descriptor >= 0 else { continue }
            defer { Self.unlock(descriptor) }
            guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else { continue }
            let words = words(of: descriptor)
            guard Sum.reads(words, catalog) else {
                unlink(file)
                continue
            }
            var sum = past
            sum.add(words, isAlive: false)
            guard write(sum.file(lastFolded: Self.mark(name))) else {
                kept.insert(name)
                continue
            }
            past = sum
            unlink(file)
        }
        return (past, kept)
    }

    private func write(_ words: [UInt64]) -> Bool {
        let new = "\(path)/\(pastName).new"
        // One that a process left when it died, or that is somebody else's link.
        unlink(new)
        let descriptor = open(new, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { return false }
        let written = words.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
        close(descriptor)
        return written == words.count * 8 && rename(new, "\(path)/\(pastName)") == 0
    }

    private static func mark(_ name: String) -> UInt64 {
        name.utf8.reduce(0xCBF2_9CE4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
    }
}
