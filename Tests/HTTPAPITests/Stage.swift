import Credentials
import EventLoop
@testable import Gateway
import Glibc
import HTTPAPI
import Logging
import ProxyGPT
import SQLStorage
@testable import Streaming
import Synchronization

/// The API between fakes, over a real database of its own.
final class Stage: Sendable {
    static let key = "sk-canary-0123456789abcdef"

    let journal = Journal()
    let clock = ManualClock()
    let events: ControlledEvents
    let upstream: ScriptedUpstream
    let bus = RecordingBus()
    let cache = MemoryContextCache()
    let log = LogLines()
    let api: API
    let storage: SQLStorage
    private let directory: String

    init(_ settings: [String: String] = [:]) throws {
        EventLoop.startOnOwnThread()
        var template = Array("/tmp/api-tests-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw SystemError("mkdtemp") }
        directory = String(
            decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let log = log
        let logger = Logger(label: "test") { _ in LogRecorder(lines: log) }
        let identifiers = RandomIdentifiers(clock: clock)
        storage = try SQLStorage.open(
            file: directory + "/proxy.db",
            process: .current(
                id: identifiers.next(), stateDirectory: directory, digest: sha256),
            clock: clock, logger: logger)
        events = ControlledEvents(journal)
        upstream = ScriptedUpstream(journal)
        api = API(
            settings: try Settings(
                values: settings.merging(["API_KEY": Self.key]) { given, _ in given }),
            store: storage.store, events: events, upstream: upstream, bus: bus,
            cache: cache, background: TaskBackground(),
            // A busy machine takes its time even for hashes that cost nothing.
            hasher: try PasswordHasher(
                cost: .init(logarithm: 4, blockSize: 1, parallelism: 1), waitLimit: 120_000),
            clock: clock, identifiers: identifiers, logger: logger)
    }

    deinit {
        let (storage, directory) = (storage, directory)
        EventLoop.spawn {
            await storage.close()
            removeDirectory(directory)
        }
    }

    /// A user with a session, made past the API; returns the token.
    func user(_ name: String = "asim") async throws -> String {
        let now = clock.now()
        let token = Token.random()
        let identifiers = RandomIdentifiers(clock: clock)
        let user = User(
            id: User.ID(identifiers.next()), username: name, createdAt: now, updatedAt: now)
        let session = Session(
            id: Session.ID(identifiers.next()), userID: user.id, createdAt: now, lastUsedAt: now,
            expiresAt: now.adding(seconds: 30 * 86_400))
        try await storage.store.create(
            NewUser(user: user, foldedName: Username.folded(name), passwordHash: "none"),
            session: NewSession(session: session, tokenDigest: token.digest))
        return token.text
    }

    /// What the streamer's endpoints record with.
    func recorder(
        _ settings: Settings, _ logger: Logger = Logger(label: "test")
    ) -> StreamRecorder {
        StreamRecorder(
            settings: settings, store: storage.store, events: events, clock: clock,
            identifiers: RandomIdentifiers(clock: clock), logger: logger)
    }

    /// From now on every query fails.
    func breakDatabase() async {
        await storage.close()
    }

    static func request(
        _ method: String, _ target: String, rawTarget: [UInt8]? = nil, token: String? = nil,
        headers: [Header] = [],
        body: String? = nil, pieces: [String]? = nil, isCut: Bool = false, isRefused: Bool = false,
        address: String = "192.0.2.1", scheme: String = "http", host: String = "localhost:8080",
        serverName: String = "", asksAdmission: Bool = false
    ) -> Request {
        let pieces = pieces ?? body.map { [$0] } ?? []
        let length = body.map { Int64($0.utf8.count) }
        return Request(
            id: "request-1", method: method, target: target, rawTarget: rawTarget,
            headers: headers + (token.map { [Header("Authorization", "Bearer \($0)")] } ?? [])
                + [Header("Host", host)],
            clientAddress: address, scheme: scheme, serverName: serverName, contentLength: length,
            body: BodyPieces(pieces, length: length, isCut: isCut), isRefused: isRefused,
            asksAdmission: asksAdmission)
    }

    /// Serves a request to its end.
    @discardableResult
    func serve(
        _ request: Request, leavesAfterWrites writes: Int = .max, stops: Bool = false
    ) async -> RecordingWriter {
        let writer = RecordingWriter(journal, leavesAfterWrites: writes, stops: stops)
        await api.serve(request, to: writer)
        return writer
    }

    @discardableResult
    func get(_ target: String, token: String? = nil, headers: [Header] = []) async
        -> RecordingWriter
    {
        await serve(Self.request("GET", target, token: token, headers: headers))
    }

    @discardableResult
    func post(
        _ target: String, _ body: String = "", token: String? = nil, headers: [Header] = [],
        address: String = "192.0.2.1"
    ) async -> RecordingWriter {
        await serve(
            Self.request(
                "POST", target, token: token, headers: headers, body: body, address: address))
    }
}

private func removeDirectory(_ path: String) {
    guard let directory = opendir(path) else { return }
    while let entry = readdir(directory) {
        let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
            String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
        unlink("\(path)/\(name)")
    }
    closedir(directory)
    rmdir(path)
}

/// What was logged, whole.
final class LogLines: Sendable {
    private let lines = Mutex<[String]>([])

    var all: [String] { lines.withLock { $0 } }

    func add(_ line: String) { lines.withLock { $0.append(line) } }
}

struct LogRecorder: LogHandler {
    let lines: LogLines
    var logLevel = Logger.Level.trace
    var metadata: Logger.Metadata = [:]

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        lines.add("\(event.level) \(event.message) \(event.metadata ?? [:])")
    }
}
