internal import EventLoop
internal import Glibc
internal import ProxyGPT
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

// The tests' own process has the databases open that it copies, which the product's never has. That
// costs SQLite's locks towards other processes, of which there are none here.

/// Writes rows without end, and knows how many were acknowledged.
private final class Load: Sendable {
    private let acknowledged = Atomic<Int>(0)
    private let isStopped = Atomic<Bool>(false)
    private let storage: SQLStorage

    init(_ storage: SQLStorage) {
        self.storage = storage
    }

    var count: Int { acknowledged.load(ordering: .acquiring) }

    /// One row after the other, so that their numbers have no holes.
    func run() async throws {
        while !isStopped.load(ordering: .relaxed) {
            let number = count + 1
            // Rows of some KiB turn the WAL over quickly.
            let filler = String(repeating: "x", count: 8000)
            try await storage.write(
                """
                INSERT INTO login_failures (key, count, last_at)
                VALUES (\(String(number) + " " + filler), \(number), 0)
                """)
            acknowledged.store(number, ordering: .releasing)
        }
    }

    func stop() {
        isStopped.store(true, ordering: .relaxed)
    }
}

@Suite struct BackupTests {
    /// The numbers of rows of a copy: how many and the highest.
    private func rows(_ file: String) throws -> (count: Int64, highest: Int64) {
        let connection = try SQLiteConnection(file: file, role: .alone)
        let row = try #require(
            try connection.query(
                """
                SELECT COUNT(*) AS count, COALESCE(MAX(count), 0) AS highest FROM login_failures
                """
            ).first)
        return (try row.integer("count"), try row.integer("highest"))
    }

    private func names(_ place: Place) -> Set<String> {
        var names: Set<String> = []
        guard let directory = opendir(place.directory) else { return names }
        defer { closedir(directory) }
        while let entry = readdir(directory) {
            names.insert(
                withUnsafeBytes(of: entry.pointee.d_name) {
                    String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
                })
        }
        return names
    }

    // Checkpoints all the time, so that the WAL is reset all the time, too.
    private var busy: SQLStorage.Tuning {
        var tuning = SQLStorage.Tuning()
        tuning.checkpointPages = 20
        return tuning
    }

    @Test func `a copy under load is whole and holds all that was acknowledged before`()
        async throws
    {
        let place = try Place()
        let target = place.directory + "/copy.db"
        defer { unlink(target) }
        try await place.with(tuning: busy) { storage in
            let load = Load(storage)
            let task = Task { try await load.run() }
            try await eventually { load.count > 50 }
            for _ in 0..<30 {
                let before = load.count
                let file = place.file
                let report = try await Task.detached {
                    try DatabaseBackup.make(of: file, to: target, replacing: true)
                }.value
                #expect(report.pages > 0)
                let (count, highest) = try rows(target)
                #expect(count >= Int64(before))
                #expect(count == highest, "a row is missing in the middle")
            }
            load.stop()
            try await task.value
        }
    }

    @Test func `a copy of a closed database has the rows that are only in the WAL`() async throws {
        let place = try Place()
        let target = place.directory + "/copy.db"
        defer { unlink(target) }
        try await place.with { storage in _ = try await storage.addUser("asim") }
        #expect(place.size(of: "-wal") > 0)
        let report = try DatabaseBackup.make(of: place.file, to: target, replacing: false)
        #expect(report.walBytes == place.size(of: "-wal"))
        #expect(report.schemaVersion == Migrations.all.last?.version)
        let connection = try SQLiteConnection(file: target, role: .alone)
        #expect(try connection.query("SELECT id FROM users").count == 1)
        var status = stat()
        stat(target, &status)
        #expect(status.st_mode & 0o777 == 0o600)
    }

    @Test func `a file that is there is replaced on demand alone, and nothing is left over`()
        async throws
    {
        let place = try Place()
        let target = place.directory + "/copy.db"
        defer { unlink(target) }
        try await place.with { _ in }
        _ = try DatabaseBackup.make(of: place.file, to: target, replacing: false)
        #expect(throws: BackupError.exists(target)) {
            try DatabaseBackup.make(of: place.file, to: target, replacing: false)
        }
        _ = try DatabaseBackup.make(of: place.file, to: target, replacing: true)
        #expect(!names(place).contains { $0.contains("partial") })
        #expect(throws: SQLStorage.OpenError.self) {
            try DatabaseBackup.make(
                of: place.directory + "/absent.db", to: target, replacing: true)
        }
        for name in names(place) where name.hasPrefix("absent") {
            unlink(place.directory + "/" + name)
        }
        #expect(!names(place).contains { $0.contains("partial") })
    }

    @Test func `there are no checkpoints while a copy is made, and there are again afterwards`()
        async throws
    {
        let place = try Place()
        let counter = Counter()
        var tuning = busy
        tuning.observe = { if $0 == .checkpointed { counter.add() } }
        try await place.with(tuning: tuning) { storage in
            let filler = String(repeating: "x", count: 40_000)
            func write(_ key: String) async throws {
                for index in 0..<10 {
                    try await storage.write(
                        """
                        INSERT INTO login_failures (key, count, last_at)
                        VALUES (\(key + String(index) + filler), 1, 0)
                        """)
                }
            }
            let copying = try LockFile(WriteGate.checkpointLock(of: place.file))
            try copying.lock(.shared)
            let before = counter.count
            let size = place.size(of: "")
            try await write("a")
            #expect(counter.count == before)
            #expect(place.size(of: "") == size)
            copying.unlock()
            try await write("b")
            #expect(counter.count > before)
        }
    }

    @Test func `a foreign or damaged database is no backup`() async throws {
        let place = try Place()
        let target = place.directory + "/copy.db"
        defer { unlink(target) }
        try await place.with { _ in }
        let text = try RawFile.new(target)
        try RawFile.existing("/proc/self/status")?.copy(to: text)
        #expect(throws: BackupError.self) { try DatabaseBackup.check(target, as: target) }
        unlink(target)
        let empty = try RawFile.new(target)
        #expect(try empty.size() == 0)
        #expect(throws: BackupError.foreign(target)) {
            try DatabaseBackup.check(target, as: target)
        }
    }
}

/// Counts from any thread.
final class Counter: Sendable {
    private let number = Atomic<Int>(0)

    func add() { number.add(1, ordering: .relaxed) }

    var count: Int { number.load(ordering: .relaxed) }
}

@Suite struct WALIndexTests {
    /// The header that SQLite makes with 3 frames and pages of 4096 bytes.
    private func header(_ change: (inout [UInt8]) -> Void = { _ in }) -> [UInt8] {
        var half = [UInt8](repeating: 0, count: 48)
        func put(_ value: some FixedWidthInteger, at offset: Int) {
            withUnsafeBytes(of: value) {
                half.replaceSubrange(offset..<offset + $0.count, with: $0)
            }
        }
        put(UInt32(3_007_000), at: 0)
        put(UInt8(1), at: 12)
        put(UInt16(4096), at: 14)
        put(UInt32(3), at: 16)
        put(UInt64(0x1122_3344_5566_7788), at: 32)
        change(&half)
        return half + half
    }

    @Test func `a whole header gives the committed part of the WAL`() throws {
        let index = try #require(WALIndex(header()))
        #expect(index.walLength == 32 + 3 * (4096 + 24))
        var wal = [UInt8](repeating: 0, count: 32)
        wal.replaceSubrange(16..<24, with: index.salts)
        #expect(index.describes(wal))
        wal[16] ^= 1
        #expect(!index.describes(wal))
        #expect(!index.describes([]))
        #expect(try #require(WALIndex(header { $0[16] = 0 })).walLength == 0)
        // "or 1 if the page size is 65536"
        #expect(
            try #require(
                WALIndex(
                    header {
                        $0[14] = 1
                        $0[15] = 0
                    })
            ).pageSize == 65_536)
    }

    @Test func `a header that is not whole gives nothing`() {
        #expect(WALIndex([]) == nil)
        #expect(WALIndex(Array(header().dropLast())) == nil)
        #expect(WALIndex(header { $0[12] = 0 }) == nil)
        #expect(WALIndex(header { $0[0] = 0 }) == nil)
        #expect(WALIndex(header { $0[15] = 0x11 }) == nil)
        var torn = header()
        torn[16] = 4
        #expect(WALIndex(torn) == nil)
    }
}
