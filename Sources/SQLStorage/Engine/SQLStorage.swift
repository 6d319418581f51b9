internal import EventLoop
internal import Glibc
package import Logging
package import Metrics
package import ProxyGPT

/// Everything that a program has of the database: the store, the event log and its own lease.
package struct SQLStorage: Sendable {
    package let store: SQLStore
    package let events: EventWriter
    package let lease: ProcessLease
    let database: any Database
    /// Commits the queued writes and closes the connections.
    private let closing: @Sendable () async -> Void
    /// Connections to a server; nil where the database is a file.
    let connections: @Sendable () async -> (busy: Int, idle: Int)?

    init(
        store: SQLStore, events: EventWriter, lease: ProcessLease, database: any Database,
        connections: @escaping @Sendable () async -> (busy: Int, idle: Int)? = { nil },
        closing: @escaping @Sendable () async -> Void
    ) {
        self.connections = connections
        self.store = store
        self.events = events
        self.lease = lease
        self.database = database
        self.closing = closing
    }

    /// Opens the SQLite database in `file`, brings its schema up to date and starts the writer.
    ///
    /// - Parameter mayCreate: false for programs that must not make a database where none is.
    /// - Throws: `OpenError`, `MigrationError`, `DatabaseError` or `SystemError`, each of which
    ///   describes the problem in one line.
    package static func open(
        file: String, mayCreate: Bool = true, process: ProcessIdentity, clock: any Clock,
        eventDays: Int64 = 30, scoreboard: Scoreboard? = nil, logger: Logger
    ) throws -> SQLStorage {
        try open(
            file: file, mayCreate: mayCreate, process: process, clock: clock, eventDays: eventDays,
            scoreboard: scoreboard, logger: logger, tuning: Tuning())
    }

    /// Values that tests change.
    struct Tuning {
        var checkpointPages = Writer.checkpointPages
        var idleCheckpointPages = Writer.idleCheckpointPages
        var migrations = Migrations.all
        var observe: (@Sendable (Writer.Step) -> Void)?
        var renewsByItself = true
        var dialect = Dialect.postgreSQL
    }

    static func open(
        file: String, mayCreate: Bool = true, process: ProcessIdentity, clock: any Clock,
        eventDays: Int64 = 30, scoreboard: Scoreboard? = nil, logger: Logger, tuning: Tuning,
        life: LockFile? = nil
    ) throws -> SQLStorage {
        guard SQLiteConnection.libraryVersion >= 3_037_000 else {
            throw OpenError.libraryTooOld(SQLiteConnection.libraryVersion)
        }
        let file = try existing(file, mayCreate: mayCreate)
        let isMove = life != nil
        let life = try life ?? shared(file)
        let wakeup = ThreadWakeup()
        let queue = WriteQueue(wakeup)
        let (connection, gate) = try migrated(file, tuning.migrations)
        let moves: SQL = "SELECT 1 AS one FROM moves WHERE ended_at IS NOT NULL"
        guard try isMove || connection.query(moves).isEmpty else { throw OpenError.moved(file) }
        let reader = SQLiteReader(try SQLiteConnection(file: file, role: .reader))
        let writer = try Writer(
            connection, gate: gate, queue: queue, wakeup: wakeup, process: process.id,
            checkpointPages: tuning.checkpointPages,
            idleCheckpointPages: tuning.idleCheckpointPages, scoreboard: scoreboard,
            logger: logger, observe: tuning.observe)
        Writer.start(writer)
        let database = SQLiteDatabase(reader: reader, queue: queue)
        return SQLStorage(
            store: SQLStore(measured(database, scoreboard), process: process.id),
            events: EventWriter(queue, scoreboard: scoreboard, logger: logger),
            lease: ProcessLease(
                process, database: database, clock: clock, eventDays: eventDays, logger: logger,
                renewsByItself: tuning.renewsByItself),
            database: database
        ) {
            await database.close()
            life.unlock()
        }
    }

    /// Waits while a backup is being put in place of the database.
    private static func shared(_ file: String) throws -> LockFile {
        let life = try LockFile(lifeLock(of: file))
        try life.lock(.shared)
        return life
    }

    static func measured(
        _ database: any Database, _ scoreboard: Scoreboard?
    ) -> any Database {
        scoreboard.map { MeasuredDatabase(database: database, scoreboard: $0) } ?? database
    }

    /// Held by all processes that have the database open, each of them shared.
    static func lifeLock(of file: String) -> String { file + ".lock" }

    /// Ends the lease, commits everything that is queued and closes the connections.
    package func close() async {
        await lease.stop()
        await closing()
    }

    /// Opens the writing connection and brings the schema up to date, as the only one to do so.
    private static func migrated(
        _ file: String, _ migrations: [Migration]
    ) throws -> sending (SQLiteConnection, WriteGate) {
        let gate = try WriteGate(database: file)
        try gate.enter()
        defer { gate.leave() }
        let connection = try SQLiteConnection(file: file, role: .writer)
        try Migrations.run(on: connection, migrations)
        return (connection, gate)
    }

    /// Returns the one path by which all processes know the file, which is made if need be. A link is
    /// not followed: its lock files would lie beside another name.
    ///
    /// Only a new file is ever opened here: closing a descriptor of a database that is in use
    /// would drop SQLite's own locks (fcntl(2), "record locks").
    package static func existing(_ file: String, mayCreate: Bool) throws -> String {
        let path: String
        do {
            path = try PlainFile.resolved(file)
            if mayCreate { Glibc.close(try PlainFile.new(path)) }
        } catch {
            if error.code == ENOENT, !mayCreate { throw OpenError.absent(file) }
            guard error.code == EEXIST else { throw error }
            return try existing(file, mayCreate: false)
        }
        var status = stat()
        guard lstat(path, &status) == 0 else {
            if errno == ENOENT { throw OpenError.absent(file) }
            throw SystemError("open \(file)")
        }
        switch status.st_mode & S_IFMT {
        case S_IFREG: return path
        case S_IFLNK: throw OpenError.link(file)
        default: throw SystemError("\(file) is no regular file", code: EINVAL)
        }
    }

    /// The reason why a database cannot be opened at all.
    package enum OpenError: Error, Equatable, CustomStringConvertible {
        case absent(String)
        case link(String)
        /// Everything in it has moved to PostgreSQL, and nothing that came later would follow.
        case moved(String)
        case libraryTooOld(Int32)
        /// libpq's objection to the address.
        case invalidAddress(String)
        case serverTooOld(String)
        case wrongEncoding(String)
        case transactionPooling
        case tooManyConnections(String)
        /// A move to this database has begun and not ended.
        case incomplete

        package var description: String {
            switch self {
            case .absent(let file): "there is no database \(file)"
            case .link(let file):
                "\(file) is a link, which is not followed: STATE_DIRECTORY must name the directory "
                    + "of the file itself"
            case .moved(let file):
                "\(file) has moved to PostgreSQL: set DB_ADDRESS, or to serve from the file again "
                    + "empty its table moves"
            case .libraryTooOld(let version): "SQLite \(version) is too old, 3.37 is needed"
            case .invalidAddress(let problem): "DB_ADDRESS cannot be used: \(problem)"
            case .serverTooOld(let version):
                "PostgreSQL \(version) is too old, 15 is needed"
            case .wrongEncoding(let encoding):
                "the database has the encoding \(encoding), UTF8 is needed: "
                    + "create it with ENCODING 'UTF8'"
            case .transactionPooling:
                "DB_ADDRESS leads to a pooler that gives each transaction another connection: set "
                    + "DB_PREPARED=off, or let it pool sessions"
            case .tooManyConnections(let sum): sum
            case .incomplete:
                "not all has arrived in this database: run `proxy-gpt-admin migrate` to its end"
            }
        }
    }
}
