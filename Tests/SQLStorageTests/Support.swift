internal import EventLoop
internal import Glibc
internal import Logging
internal import ProxyGPT
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

enum Loop {
    /// The loop that all tests of the process share; reads run there.
    static let started: Void = EventLoop.startOnOwnThread()
}

extension SQLStorage.Tuning {
    /// Without PostgreSQL's own clock, which no test can move.
    var withOwnClock: SQLStorage.Tuning {
        var tuning = self
        tuning.dialect.clock = nil
        tuning.dialect.hasSettled = Dialect.sqlite.hasSettled
        return tuning
    }
}

/// Holds the lock that commits wait for, as a slow process would. A test that starts what waits for it
/// removes it in a `defer` behind that, or a failure before would wait for ever.
final class Obstacle {
    private var descriptor: Int32
    private let inode: UInt64

    convenience init(_ place: Place) throws {
        try self.init(lock: place.file + ".wal.lock")
    }

    init(lock: String) throws {
        descriptor = Glibc.open(lock, O_RDWR | O_CLOEXEC)
        guard descriptor >= 0, flock(descriptor, LOCK_EX) == 0 else { throw SystemError("flock") }
        var status = stat()
        fstat(descriptor, &status)
        inode = UInt64(status.st_ino)
    }

    /// Returns once a writer waits for the lock.
    func isMet() async throws {
        try await eventually { Self.waiters().contains { $0.contains(":\(self.inode) ") } }
    }

    /// No effect the second time.
    func remove() {
        guard descriptor >= 0 else { return }
        // A child that another test is starting may have the descriptor as well.
        flock(descriptor, LOCK_UN)
        close(descriptor)
        descriptor = -1
    }

    private static func waiters() -> [Substring] {
        guard let file = fopen("/proc/locks", "re") else { return [] }
        defer { fclose(file) }
        var text: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while case let count = fread(&buffer, 1, buffer.count, file), count > 0 {
            text += buffer.prefix(count)
        }
        return String(decoding: text, as: UTF8.self).split(separator: "\n")
            .filter { $0.contains("->") }
    }
}

/// The lines of a file of ids.
func linesOfFile(_ path: String) throws -> [String] {
    guard let file = fopen(path, "re") else { throw SystemError("fopen \(path)") }
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 64)
    var lines: [String] = []
    while fgets(&line, 64, file) != nil {
        lines.append(String(decoding: line.prefix(36).map(UInt8.init), as: UTF8.self))
    }
    return lines
}

/// Starts tasks of the loop, as the programs' are, and waits for all of them.
func concurrently<T: Sendable>(
    _ count: Int, _ body: @escaping @Sendable (Int) async throws -> T
) async -> [Result<T, any Error>] {
    await withTaskGroup(of: (Int, Result<T, any Error>).self) { group in
        for index in 0..<count {
            group.addTask(executorPreference: EventLoop.shared.executor) {
                do {
                    return (index, .success(try await body(index)))
                } catch {
                    return (index, .failure(error))
                }
            }
        }
        var results: [(Int, Result<T, any Error>)] = []
        for await result in group { results.append(result) }
        return results.sorted { $0.0 < $1.0 }.map(\.1)
    }
}

/// Runs `body` as a task of the loop.
func onLoop<T: Sendable>(_ body: @escaping @Sendable () async throws -> T) async throws -> T {
    try await concurrently(1) { _ in try await body() }[0].get()
}

// MARK: - Things to store

func makeUser(_ name: String, at time: Timestamp = now) throws -> NewUser {
    let username = try Username(name)
    return NewUser(
        user: User(
            id: User.ID(ids.next()), username: username.text, firstName: "First", lastName: "Last",
            createdAt: time, updatedAt: time),
        foldedName: username.folded, passwordHash: "hash of \(name)")
}

func makeSession(of user: User.ID, digest: [UInt8]? = nil, days: Int64 = 30) -> NewSession {
    NewSession(
        session: Session(
            id: Session.ID(ids.next()), userID: user, createdAt: now, lastUsedAt: now,
            expiresAt: now.adding(seconds: days * 86_400)),
        tokenDigest: digest ?? Array(ids.next().utf8))
}

func makeChat(of user: User.ID, in group: Group.ID? = nil) -> Chat {
    Chat(
        id: Chat.ID(ids.next()), name: "chat", model: "gpt-3", userID: user, groupID: group,
        createdAt: now, updatedAt: now)
}

func makeGroup(of user: User.ID) -> Group {
    Group(
        id: Group.ID(ids.next()), name: "group", description: "", ownerID: user, createdAt: now,
        updatedAt: now)
}

extension SQLStorage.Tuning {
    /// Nothing happens by itself as time passes.
    static var still: SQLStorage.Tuning {
        var tuning = SQLStorage.Tuning()
        tuning.renewsByItself = false
        return tuning
    }
}

extension SQLStorage {
    /// Adds ended messages to a chat.
    func addMessages(
        _ count: Int, to chat: Chat, of user: User.ID, prompt: String = "prompt"
    ) async throws {
        _ = try await database.transaction { transaction in
            for seq in 1...count {
                try await transaction.execute(
                    """
                    INSERT INTO messages (id, chat_id, seq, user_id, prompt, reply, model, state,
                        created_at, updated_at)
                    VALUES (\(ids.next()), \(chat.id), \(seq), \(user), \(prompt), 'reply', 'm',
                        'done', \(now), \(now))
                    """)
            }
            try await transaction.execute(
                "UPDATE chats SET last_message_seq = \(count) WHERE id = \(chat.id)")
        }
    }

    /// Adds chats of a user, each with a place for another one, by its number from 1 on.
    func addChats(
        _ count: Int, of owner: User.ID, in group: Group.ID? = nil,
        with added: @escaping @Sendable (Int) -> User.ID? = { _ in nil }
    ) async throws {
        let first = try await number("SELECT COALESCE(MAX(seq), 0) AS number FROM chats")
        _ = try await database.transaction { transaction in
            for number in 1...count {
                let chat = makeChat(of: owner, in: group)
                let seq = first + Int64(number)
                try await transaction.send(
                    """
                    INSERT INTO chats (id, seq, name, model, user_id, group_id, created_at,
                        updated_at)
                    VALUES (\(chat.id), \(seq), 'c', 'm', \(owner), \(group), \(now), \(now))
                    """)
                guard let user = added(number) else { continue }
                try await transaction.send(
                    """
                    INSERT INTO chat_users (chat_id, user_id, created_at, seq, owner_id, group_id)
                    VALUES (\(chat.id), \(user), \(now), \(seq), \(owner), \(group))
                    """)
            }
            try await transaction.execute(
                "UPDATE counters SET value = \(first + Int64(count)) WHERE name = 'chats'")
        }
    }

    /// Signs a user up.
    func addUser(_ name: String) async throws -> (user: User, session: NewSession) {
        let new = try makeUser(name)
        let session = makeSession(of: new.user.id)
        try await store.create(new, session: session)
        return (new.user, session)
    }

    func write(_ sql: SQL) async throws {
        _ = try await database.transaction { try await $0.execute(sql) }
    }

    func number(_ sql: SQL) async throws -> Int64 {
        try await database.query(sql).first?.integer("number") ?? -1
    }

    func event(_ id: Event.ID) async throws -> Row? {
        try await database.query("SELECT * FROM events WHERE id = \(id)").first
    }
}

func makeEvent(_ path: String = "/v1/models") -> Event {
    Event(
        id: Event.ID(ids.next()), timestamp: now, kind: .forward, requestID: "request",
        clientAddress: "::1", method: "GET", path: path)
}

func closed(_ event: Event, _ end: Event.End = .done) -> Event {
    var event = event
    event.status = 200
    event.end = end
    return event
}

/// Writes events, adds the id of each committed one to a file, and kills the process after 700 of them.
func writeEventsUntilKilled(_ storage: SQLStorage, acknowledging file: String) async {
    let log = open(file, O_WRONLY | O_CREAT | O_APPEND, 0o600)
    let acknowledged = Atomic(0)
    _ = await concurrently(16) { index in
        for _ in 0..<10_000 {
            let event = makeEvent()
            if index % 2 == 0 {
                storage.events.open(event)
                try await storage.events.opened(event.id)
            }
            try await storage.events.close(closed(event))
            _ = write(log, event.id.text + "\n", 37)
            if acknowledged.add(1, ordering: .relaxed).newValue == 700 {
                kill(getpid(), SIGKILL)
            }
        }
    }
}
