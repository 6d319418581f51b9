// The scoreboards of all processes of a host, in one directory.
//
// Each process keeps its file locked (flock(2)), so that a file without a lock is a dead process's. A reader
// adds the counters of dead processes to the file of ended processes, `past-…`, and removes theirs. Every
// reader holds the directory's lock meanwhile, so that no sum is smaller than an earlier one. Files are read
// and not mapped, so that a truncated file does no harm. A file of another layout is another release's, which
// has a `past-…` of its own; the file is removed when its process is dead.

internal import Glibc

/// Makes the scoreboard of this process, and reads those of all processes.
package struct ScoreboardDirectory: Sendable {
    /// Another process holds the lock; for a moment, or because it is stopped.
    package struct Busy: Error {}

    private static let suffix = ".board"
    private static let largestFile = 1 << 20

    private let path: String
    private let registry: MetricRegistry

    /// - Parameter path: the directory, which is made with the first scoreboard.
    package init(_ path: String, _ registry: MetricRegistry) {
        self.path = path
        self.registry = registry
    }

    /// Makes a scoreboard with a file; where the file cannot be made, one in memory and the reason.
    ///
    /// - Parameter name: a name that no other process has.
    package func makeScoreboard(
        _ kind: ProcessKind, name: String, startedAt: Int64
    ) -> (board: Scoreboard, problem: String?) {
        mkdir(path, 0o700)
        do {
            let lock = try lock(tries: 200)
            defer { Self.unlock(lock) }
            mergeDeadProcesses()
            let file = "\(path)/\(name)\(Self.suffix)"
            let flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC
            let descriptor = open(file, flags, 0o600)
            guard descriptor >= 0 else { throw Refused(during: "open \(file)") }
            guard flock(descriptor, LOCK_EX) == 0,
                let counters = SharedCounters(count: registry.counterCount, descriptor: descriptor)
            else {
                let refused = Refused(during: "map \(file)")
                unlink(file)
                Self.unlock(descriptor)
                throw refused
            }
            return (Scoreboard(registry, kind, counters, startedAt: startedAt), nil)
        } catch {
            let counters = SharedCounters(count: registry.counterCount)
            return (Scoreboard(registry, kind, counters, startedAt: startedAt), "\(error)")
        }
    }

    /// The metrics of all processes, in Prometheus' format.
    package func exposition(version: String) throws(Busy) -> String {
        let lock: Int32
        do { lock = try self.lock(tries: 1) } catch { throw Busy() }
        defer { Self.unlock(lock) }
        var (sum, kept) = mergeDeadProcesses()
        for (name, file) in live() { sum.add(file, isAlive: !kept.contains(name)) }
        return Exposition.text(sum, version: version)
    }

    /// The running processes, oldest first.
    package func processes() throws(Busy) -> [ProcessStatus] {
        let lock: Int32
        do { lock = try self.lock(tries: 1) } catch { throw Busy() }
        defer { Self.unlock(lock) }
        let kept = mergeDeadProcesses().kept
        return live().filter { !kept.contains($0.name) }.map {
            ProcessStatus($0.counters, registry)
        }
        .sorted { $0.startedAt < $1.startedAt }
    }

    // MARK: - Files

    struct Refused: Error, CustomStringConvertible {
        let description: String

        init(during: String) {
            description = "\(during): \(String(cString: strerror(errno)))"
        }
    }

    /// Takes the directory's lock, which is held for less than a millisecond.
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

    /// Closes a file and releases its lock at once. Closing alone does not: a child that was just forked
    /// shares all descriptors and their locks until it executes its program (flock(2)).
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

    /// The counters of a file; none where it is no file of counters.
    private func counters(of descriptor: Int32) -> [UInt64] {
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG,
            status.st_size <= Self.largestFile, status.st_size % 8 == 0
        else { return [] }
        var counters = [UInt64](repeating: 0, count: Int(status.st_size) / 8)
        let wanted = counters.count * 8
        var done = 0
        while done < wanted {
            let count = counters.withUnsafeMutableBytes { bytes in
                pread(
                    descriptor, bytes.baseAddress.map { $0 + done }, wanted - done, off_t(done))
            }
            guard count > 0 else { return [] }
            done += count
        }
        return counters
    }

    private func counters(ofFile name: String) -> [UInt64] {
        let flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK
        let descriptor = open("\(path)/\(name)", flags)
        guard descriptor >= 0 else { return [] }
        defer { close(descriptor) }
        return counters(of: descriptor)
    }

    private func live() -> [(name: String, counters: [UInt64])] {
        names().map { ($0, counters(ofFile: $0)) }.filter { CounterSum.reads($0.1, registry) }
    }

    /// A name for each layout: during an upgrade two releases write.
    private var pastName: String { "past-" + String(registry.fingerprint, radix: 16) }

    private func past() -> (sum: CounterSum, lastMerged: UInt64) {
        var sum = CounterSum(registry)
        let file = counters(ofFile: pastName)
        guard CounterSum.reads(file, registry) else { return (sum, 0) }
        sum.add(file, isAlive: false)
        return (sum, file[CounterLayout.lastMergedIndex])
    }

    /// Adds the counters of dead processes to the past. Called with the lock held.
    ///
    /// - Returns: the past, and the files of dead processes that could not be added to it, as where the
    ///   disk is full.
    @discardableResult
    private func mergeDeadProcesses() -> (past: CounterSum, kept: Set<String>) {
        var kept: Set<String> = []
        let names = names()
        // A reader that died between adding and removing has left a file that is added already.
        var (past, lastMerged) = past()
        for name in names where Self.mark(name) == lastMerged { unlink("\(path)/\(name)") }
        for name in names {
            let file = "\(path)/\(name)"
            let descriptor = open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
            guard descriptor >= 0 else { continue }
            defer { Self.unlock(descriptor) }
            guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else { continue }
            let counters = counters(of: descriptor)
            guard CounterSum.reads(counters, registry) else {
                unlink(file)
                continue
            }
            var sum = past
            sum.add(counters, isAlive: false)
            guard write(sum.file(lastMerged: Self.mark(name))) else {
                kept.insert(name)
                continue
            }
            past = sum
            unlink(file)
        }
        return (past, kept)
    }

    private func write(_ counters: [UInt64]) -> Bool {
        let new = "\(path)/\(pastName).new"
        // A dead process may have left one, or another user a link.
        unlink(new)
        let descriptor = open(new, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { return false }
        let written = counters.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
        close(descriptor)
        return written == counters.count * 8 && rename(new, "\(path)/\(pastName)") == 0
    }

    private static func mark(_ name: String) -> UInt64 {
        name.utf8.reduce(0xCBF2_9CE4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
    }
}
