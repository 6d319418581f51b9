internal import EventLoop
internal import Glibc
internal import Logging
internal import ProxyGPT
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

/// A directory with a database of its own, gone with the object.
final class Place: Sendable {
    let directory: String
    var file: String { directory + "/proxy.db" }
    /// The PostgreSQL database, where it is one.
    let database: (cluster: Cluster, name: String)?

    convenience init() throws {
        try self.init(database: nil)
    }

    /// A database; where it is PostgreSQL's, its schema is there already, which is most of the work.
    convenience init(_ engine: Engine) async throws {
        guard engine == .postgreSQL else {
            try self.init(database: nil)
            return
        }
        try await self.init(on: Cluster.shared.get(), copying: Template.shared.name())
    }

    /// A database without a schema.
    convenience init(empty engine: Engine) async throws {
        guard engine == .postgreSQL else {
            try self.init(database: nil)
            return
        }
        try await self.init(on: Cluster.shared.get())
    }

    /// A database on a server: an empty one, or a copy.
    convenience init(on cluster: Cluster, copying template: String? = nil) async throws {
        _ = Loop.started
        await cluster.enter()
        do {
            let name = try await cluster.makeDatabase(copying: template)
            try self.init(database: (cluster, name))
        } catch {
            cluster.leave()
            throw error
        }
    }

    private init(database: (Cluster, String)?) throws {
        _ = Loop.started
        self.database = database
        var template = Array("/tmp/sql-storage-XXXXXX".utf8CString)
        guard let path = mkdtemp(&template) else { throw SystemError("mkdtemp") }
        directory = String(cString: path)
    }

    deinit {
        for name in ["", "-wal", "-shm"]
            + ["", ".gate", ".wal", ".checkpoint"].map({ $0 + ".lock" })
        {
            unlink(file + name)
        }
        unlink(directory + "/acknowledged")
        rmdir(directory)
        database?.cluster.leave()
    }

    func open(
        clock: any Clock = TestClock(), process: String? = nil, boot: String = "boot",
        mayCreate: Bool = true, tuning: SQLStorage.Tuning = .still, logger: Logger = silent
    ) async throws -> SQLStorage {
        let process = ProcessIdentity(id: process ?? ids.next(), host: "host", bootID: boot)
        guard database == nil else {
            return try await SQLStorage.open(
                configuration(), process: process, clock: clock, identifiers: ids, logger: logger,
                tuning: tuning.withOwnClock)
        }
        return try SQLStorage.open(
            file: file, mayCreate: mayCreate, process: process, clock: clock, logger: logger,
            tuning: tuning)
    }

    /// How to reach the PostgreSQL database.
    func configuration(size: Int = 3) throws -> PostgresPool.Configuration {
        guard let database else { throw SystemError("no server", code: ENOENT) }
        var configuration = PostgresPool.Configuration(
            address: database.cluster.address(of: database.name), size: size)
        // Beside hundreds of other tests a server takes its time to fork, and a transaction to go on.
        configuration.grace = 15_000
        configuration.waitLimit = 120_000
        configuration.statementLimit = 120_000
        configuration.idleLimit = 120_000
        configuration.lockTimeout = "120s"
        return configuration
    }

    /// Opens the PostgreSQL database as a process of the service does.
    func open(
        _ configuration: PostgresPool.Configuration, clock: any Clock = TestClock(),
        process: String? = nil
    ) async throws -> SQLStorage {
        try await SQLStorage.open(
            configuration,
            process: ProcessIdentity(id: process ?? ids.next(), host: "host", bootID: "boot"),
            clock: clock, identifiers: ids, logger: silent, tuning: .still)
    }

    /// The same, and closes it again; what `body` throws is `refused`'s to look at.
    func with(
        _ configuration: PostgresPool.Configuration, _ body: (SQLStorage) async throws -> Void,
        refused: (any Error) throws -> Void = { throw $0 }
    ) async throws {
        let storage = try await open(configuration)
        do {
            try await body(storage)
        } catch {
            await storage.close()
            return try refused(error)
        }
        await storage.close()
    }

    /// Opens the database, runs `body` and closes it again, whatever happens.
    func with(
        clock: any Clock = TestClock(), tuning: SQLStorage.Tuning = .still,
        _ body: (SQLStorage) async throws -> Void
    ) async throws {
        let storage = try await open(clock: clock, tuning: tuning)
        do {
            try await body(storage)
        } catch {
            await storage.close()
            throw error
        }
        await storage.close()
    }

    /// Bytes of one of the database's files.
    func size(of suffix: String) -> Int64 {
        var status = stat()
        return stat(file + suffix, &status) == 0 ? Int64(status.st_size) : 0
    }
}

/// The database of the shared server that others are copies of.
private actor Template {
    static let shared = Template()

    private var task: Task<String, any Error>?

    /// The name of the database, once it has its schema and nothing else.
    func name() async throws -> String {
        if let task { return try await task.value }
        let task = Task {
            let cluster = try Cluster.shared.get()
            let place = try await Place(on: cluster)
            try await place.open().close()
            guard let name = place.database?.name else { throw SystemError("no server") }
            // Every installation has a name, a secret and processes of its own.
            for table in ["installation", "processes"] {
                try await cluster.run("DELETE FROM \(table)", in: name)
            }
            return name
        }
        self.task = task
        return try await task.value
    }
}
