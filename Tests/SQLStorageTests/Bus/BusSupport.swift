internal import EventLoop
internal import Glibc
internal import ProxyGPT
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

/// A directory with a bus of its own, gone with the object.
final class BusPlace: Sendable {
    let place: Place
    var directory: String { place.directory }
    var file: String { directory + "/bus.db" }
    var wakeup: String { directory + "/bell.sock" }

    init() throws {
        place = try Place()
    }

    deinit {
        for name in ["", "-wal", "-shm", ".gate.lock", ".wal.lock", ".lock"] { unlink(file + name) }
        unlink(wakeup)
    }

    func bus(
        boot: String = "boot", clock: any Clock = TestClock(), wakeup: String? = nil,
        tuning: BusWriter.Tuning = BusWriter.Tuning()
    ) throws -> SQLiteBus {
        try Self.bus(
            in: directory, boot: boot, clock: clock, wakeup: wakeup ?? self.wakeup, tuning: tuning)
    }

    static func bus(
        in directory: String, boot: String = "boot", clock: any Clock = TestClock(),
        wakeup: String? = nil, tuning: BusWriter.Tuning = BusWriter.Tuning()
    ) throws -> SQLiteBus {
        try SQLiteBus.open(
            file: directory + "/bus.db", wakeup: wakeup ?? directory + "/bell.sock",
            process: ProcessIdentity(id: ids.next(), host: "host", bootID: boot),
            identifiers: ids, clock: clock, logger: silent, tuning: tuning)
    }

    func log(boot: String = "boot") throws -> SQLiteBusLog {
        try SQLiteBusLog.open(
            file: file, wakeup: .path(wakeup),
            process: ProcessIdentity(id: ids.next(), host: "host", bootID: boot),
            identifiers: ids, logger: silent)
    }

    /// Asks the file itself, by a connection of the test's own.
    func number(_ sql: SQL) throws -> Int64 {
        let connection = try SQLiteConnection(file: file, role: .reader)
        return try connection.query(sql).first?.integer("number") ?? -1
    }

    func size(of suffix: String) -> Int64 {
        var status = stat()
        return stat(file + suffix, &status) == 0 ? Int64(status.st_size) : 0
    }

    /// Holds the lock that commits wait for until it is removed.
    func obstacle() throws -> Obstacle {
        try Obstacle(lock: file + ".wal.lock")
    }
}
