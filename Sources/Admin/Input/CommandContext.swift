internal import Credentials
internal import EventLoop
internal import Formats
internal import Glibc
internal import Logging
internal import ProxyGPT
internal import SQLStorage

/// The part of the store that commands use.
typealias OperatorStore = AdminStore & GroupStore & MessageStore

/// The environment of a command: settings, console, and the database once it is opened.
@EventLoop final class CommandContext {
    private(set) var settings: OperatorSettings
    /// The processes of the service that serve this state directory, as far as this process may see them;
    /// to be read before it becomes the owner of the directory.
    private lazy var processes = RunningProcess.all(serving: settings.stateDirectory)
    let console = Console()
    let showsJSON: Bool
    let clock = SystemClock()
    let identifiers: any IdentifierSource
    let logger = Logger(label: "admin") { _ in StandardErrorLogHandler() }
    /// The name of the user that gave the command.
    private let operatorName: String
    private var storage: SQLStorage?

    init(showsJSON: Bool) throws {
        // Taken before this process becomes another user.
        let user = Owner.name(of: getuid())
        operatorName = OperatorSettings.sudoUser.map { "\(user) for \($0)" } ?? user
        settings = try OperatorSettings.find()
        self.showsJSON = showsJSON
        identifiers = RandomIdentifiers(clock: clock)
    }

    var now: Timestamp { clock.now() }

    /// Processes of the service that have another file open than the one at the database's path.
    func displaced(_ database: String) -> [(process: RunningProcess, file: String)] {
        processes.compactMap { process in process.displaced(database).map { (process, $0) } }
    }

    /// Uses the settings of the running service instead of those that were found; nil where the service
    /// does not run.
    @discardableResult
    func useSettingsOfService() -> OperatorSettings.OfService? {
        guard let process = processes.first else { return nil }
        let running = settings.ofService(process)
        settings = running.settings
        return running
    }

    /// The path of the SQLite database, for commands that work on files.
    /// - Parameter alternative: the command for a PostgreSQL database.
    func databaseFile(orElse alternative: String) throws -> String {
        guard case .sqlite(let file) = try settings.database() else {
            throw CommandError("the database is PostgreSQL: \(alternative)")
        }
        return file
    }

    /// Opens the database, which must exist.
    func open() async throws -> any OperatorStore {
        try await openStorage().store
    }

    /// Opens the database; for SQLite this process becomes the owner of the directory first.
    /// - Parameter isBackground: for long work that may be slow.
    func openStorage(
        mayBeIncomplete: Bool = false, eventDays: Int64 = 30, isBackground: Bool = false
    ) async throws -> SQLStorage {
        if let storage { return storage }
        let database = try settings.database()
        if case .sqlite = database { try Owner(of: settings.stateDirectory).become() }
        let storage = try await SQLStorage.open(
            database, mayCreate: false, connections: 2, prepares: try settings.preparesStatements(),
            isPassing: true, mayBeIncomplete: mayBeIncomplete, isBackground: isBackground,
            process: ProcessIdentity.current(
                id: identifiers.next(), stateDirectory: settings.stateDirectory, digest: sha256),
            clock: clock, identifiers: identifiers, eventDays: eventDays, logger: logger)
        self.storage = storage
        return storage
    }

    func close() async {
        await storage?.close()
        storage = nil
    }

    // MARK: - Events of commands

    /// The event that records a command.
    func event(_ command: String, user: User.ID? = nil, _ detail: String = "") -> Event {
        var event = Event(
            id: Event.ID(identifiers.next()), timestamp: now, kind: .admin, path: command)
        event.userID = user
        event.end = .done
        event.detail = detail.isEmpty ? "by \(operatorName)" : "\(detail) by \(operatorName)"
        return event
    }

    /// Records a command that only reads. The command succeeds even where its event cannot be stored.
    func note(_ command: String, user: User.ID? = nil, _ detail: String = "") async {
        do {
            try await open().record(event(command, user: user, detail))
        } catch {
            Console.note("This was not recorded: \((error as? Failure)?.message ?? "\(error)")")
        }
    }

    // MARK: - Shared by commands

    /// The user with this id or name.
    func account(_ name: String) async throws -> Account {
        guard let account = try await open().account(UserReference(name), now: now) else {
            throw CommandError.noUser(name)
        }
        return account
    }

    /// The id of a user, who may be deleted: events outlive users.
    func userID(_ name: String) async throws -> User.ID {
        if let account = try await open().account(UserReference(name), now: now) {
            return account.user.id
        }
        guard UUIDText.isShaped(name) else { throw CommandError.noUser(name) }
        return User.ID(name.lowercased())
    }

    /// The hash of a new password. Throws where the password breaks the rules.
    func hash(_ password: String) async throws -> String {
        guard !password.isEmpty else { throw CommandError("the password is empty") }
        try User.checkNewPassword(password, minimum: try settings.passwordMinimum())
        let cost = PasswordHash.Cost.standard(logarithm: try settings.passwordCost())
        return try await Task.detached {
            try PasswordHasher.encodedHash(of: password, cost: cost)
        }.value
    }

    /// Shows a JSON value to programs and lines to people.
    func show(_ json: @autoclosure () -> JSONValue, _ lines: @autoclosure () -> [String]) {
        if showsJSON {
            console.print(json: json())
        } else {
            console.print(lines())
        }
    }
}
