/// What the operator decided: read and checked as a whole at start, constant afterwards.
package struct Settings: Sendable {
    package let apiKey: Secret?
    /// There is no key where the upstream needs one.
    package let lacksKey: Bool
    package let upstream: UpstreamAddress
    /// Which proxies stand before the upstream.
    package let upstreamProxy: UpstreamProxyRules
    /// Request headers that go upstream beside those that always do.
    package let forwardHeaders: HeaderNames
    /// A file of certificate authorities that takes the place of the system's, or nil.
    package let certificateFile: String?
    package let database: DatabaseAddress
    /// Connections of each process to PostgreSQL.
    package let databaseConnections: Int
    /// Whether PostgreSQL keeps statements prepared, which a pooler of transactions cannot pass on.
    package let preparesStatements: Bool
    /// Where context windows are kept and frames are carried, or nil: within the host.
    package let redisAddress: RedisAddress?
    package let stateDirectory: String
    package let signupIsOpen: Bool
    package let passwordMinimum: Int
    package let sessionDays: Int64
    /// Of the cookie that holds a session's token.
    package let cookieName: String
    package let recordsBodies: Bool
    package let eventDays: Int64
    /// How long rows of events are kept; 0 for ever.
    package let eventRowDays: Int64
    package let defaultModel: String
    package let modelAliases: [String: String]
    package let contextMessages: Int
    package let contextTokens: Int
    package let publicOrigins: [String]
    package let corsOrigins: [String]
    /// Where browsers send the session's cookie: `/`, or the path below which a front has us.
    package let cookiePath: String
    /// Which of the upstream's paths are passed on.
    package let paths: PathPolicy
    package let connectTimeout: Milliseconds
    package let firstByteTimeout: Milliseconds
    package let idleTimeout: Milliseconds
    package let callTimeout: Milliseconds
    package let drainTimeout: Milliseconds
    /// The largest body below `/v1/`, in bytes.
    package let maxBody: Int64
    package let maxInFlight: Int
    package let maxRepliesPerUser: Int
    package let maxStreamsPerUser: Int
    package let maxStreams: Int
    package let logLevel: String
    package let logFormat: LogFormat
    /// Own time from which a request is logged with its stages; 0 for never.
    package let slowLog: Milliseconds

    /// The largest body of all other endpoints, in bytes.
    package static let maxBodyOfOwnEndpoints: Int64 = 1024 * 1024

    /// How lines of the log are written.
    package enum LogFormat: String, Sendable, CaseIterable {
        /// To the journal where standard error is its, else as text.
        case auto
        case text
        case json
        case journal
    }

    package typealias Milliseconds = Int64

    /// The model's name for the upstream.
    package func resolved(model: String) -> String { modelAliases[model] ?? model }

    /// The bus of this host.
    package var busFile: String { stateDirectory + "/bus.db" }

    /// The figures of this host's processes.
    package var scoreboards: String { stateDirectory + "/scoreboard" }

    /// Where the streamer hears that frames were published when no service manager gives it a socket.
    package var bellSocket: String { stateDirectory + "/bell.sock" }

    /// Where the streamer listens when no service manager gives it a socket.
    package var streamerSocket: String { stateDirectory + "/streamer.sock" }

    /// One line of the table of settings.
    package struct Entry: Sendable {
        package let name: String
        /// The text that stands for an absent setting.
        package let fallback: String
        package let meaning: String
        package let isSecret: Bool

        fileprivate init(
            _ name: String, _ fallback: String, _ meaning: String, isSecret: Bool = false
        ) {
            self.name = name
            self.fallback = fallback
            self.meaning = meaning
            self.isSecret = isSecret
        }
    }

    package static let table: [Entry] = [
        Entry("API_KEY", "", "The upstream's key, shared by all users.", isSecret: true),
        Entry("API_URL", "", "The upstream: empty for OpenAI, Azure's URL, or any other."),
        Entry("API_TYPE", "", "azure or openai, where the host of API_URL does not tell."),
        Entry(
            "UPSTREAM_PROXY", "",
            "http://[user:password@]host:port, environment (HTTPS_PROXY and so on), or empty: none.",
            isSecret: true),
        Entry(
            "FORWARD_HEADERS", "",
            "Further request headers that go upstream: names, or beginnings such as x-team-*."),
        Entry(
            "SSL_CERT_FILE", "", "A PEM file of certificate authorities instead of the system's."),
        Entry(
            "DB_ADDRESS", "", "postgresql://…, or empty: SQLite, proxy.db in STATE_DIRECTORY.",
            isSecret: true),
        Entry("DB_CONNECTIONS", "4", "Connections of each process to PostgreSQL, 2 to 100."),
        Entry("DB_PREPARED", "on", "off: for a PgBouncer in transaction mode before PostgreSQL."),
        Entry(
            "REDIS_ADDRESS", "", "redis://[[user:]password@]host[:port][/database]; empty: none.",
            isSecret: true),
        Entry("STATE_DIRECTORY", ".", "Where databases and locks lie."),
        Entry("DEFAULT_MODEL", "gpt-3", "The model of a chat that names none."),
        Entry("MODEL_ALIASES", "gpt-3=gpt-3.5-turbo", "name=model, separated by commas."),
        Entry("CONTEXT_MESSAGES", "10", "Messages of a chat that go upstream, 0 to 1000."),
        Entry("CONTEXT_TOKENS", "8000", "The token budget of that context."),
        Entry("SIGNUP", "open", "open: anybody may sign up; closed: the operator adds users."),
        Entry("PASSWORD_MIN", "8", "The shortest password, in bytes."),
        Entry("SESSION_DAYS", "30", "How long a session lasts after its last use."),
        Entry(
            "COOKIE_NAME", "sess",
            "The session cookie's name, where another application has that one."),
        Entry("EVENT_BODIES", "on", "on: keep the first 16 KiB of /v1 bodies; off."),
        Entry("EVENT_DAYS", "30", "How long those bodies are kept."),
        Entry("EVENT_ROW_DAYS", "400", "How long rows of events are kept; 0: for ever."),
        Entry("PUBLIC_ORIGINS", "", "Our own origins, separated by commas; empty: the request's."),
        Entry("CORS_ORIGINS", "", "Foreign origins whose pages may call, separated by commas."),
        Entry("COOKIE_PATH", "/", "The cookie's path, where a front has us below one: /ai/."),
        Entry("V1_PATHS", "", "+/path opens one below /v1, -/path closes it; commas between."),
        Entry("CONNECT_TIMEOUT", "10", "Seconds to reach the upstream."),
        Entry("FIRST_BYTE_TIMEOUT", "600", "Seconds until its answer begins."),
        Entry("IDLE_TIMEOUT", "120", "Seconds of silence within an answer."),
        Entry("CALL_TIMEOUT", "1800", "Seconds that a whole call may take."),
        Entry("DRAIN_TIMEOUT", "1830", "Seconds that a stopping worker waits for its calls."),
        Entry("MAX_BODY", "512MiB", "The largest body below /v1/."),
        Entry("MAX_IN_FLIGHT", "1000", "Requests at once in one worker."),
        Entry("MAX_REPLIES_PER_USER", "8", "Running chat replies of one user."),
        Entry("MAX_STREAMS_PER_USER", "20", "Open streams of one user."),
        Entry("MAX_STREAMS", "10000", "Open streams in all."),
        Entry("LOG_LEVEL", "info", "trace, debug, info, notice, warning, error or critical."),
        Entry("LOG_FORMAT", "auto", "auto (the journal, else text), text, json or journal."),
        Entry("SLOW_LOG", "1000", "Milliseconds of own time that are logged as slow; 0: never."),
    ]

    /// Everything that is wrong with the settings, each by variable name.
    package struct Problems: Error, CustomStringConvertible {
        package let all: [String]
        package var description: String { all.joined(separator: "\n") }
    }

    /// Checks `values` (by name; what is absent or empty takes its fallback) all at once.
    /// - Parameter demandsKey: false for who calls no upstream.
    package init(values: [String: String], demandsKey: Bool = true) throws(Problems) {
        var reader = SettingsReader(values)
        let apiKey = reader.text("API_KEY")
        let address = reader.text("API_URL")
        upstream = reader.upstream()
        upstreamProxy = reader.upstreamProxy()
        forwardHeaders = reader.headerNames("FORWARD_HEADERS")
        lacksKey = apiKey.isEmpty && (address.isEmpty || upstream.keyHeader == .apiKey)
        if lacksKey && demandsKey {
            reader.report("API_KEY", "is required for OpenAI and Azure")
        }
        if !apiKey.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) {
            reader.report("API_KEY", "has white space or characters beyond ASCII")
        }
        self.apiKey = apiKey.isEmpty ? nil : Secret(apiKey)
        let certificates = reader.text("SSL_CERT_FILE")
        certificateFile = certificates.isEmpty ? nil : certificates
        database = reader.database()
        databaseConnections = reader.integer("DB_CONNECTIONS", 2...100)
        preparesStatements = reader.preparesStatements()
        redisAddress = reader.redis("REDIS_ADDRESS")
        stateDirectory = reader.text("STATE_DIRECTORY")
        defaultModel = reader.text("DEFAULT_MODEL")
        modelAliases = reader.aliases("MODEL_ALIASES")
        contextMessages = reader.integer("CONTEXT_MESSAGES", 0...1000)
        contextTokens = reader.integer("CONTEXT_TOKENS", 1...10_000_000)
        signupIsOpen = reader.choice("SIGNUP", ["open": true, "closed": false])
        passwordMinimum = reader.passwordMinimum()
        sessionDays = Int64(reader.integer("SESSION_DAYS", 1...3650))
        cookieName = reader.cookieName("COOKIE_NAME")
        recordsBodies = reader.choice("EVENT_BODIES", ["on": true, "off": false])
        eventDays = Int64(reader.eventDays())
        eventRowDays = Int64(reader.eventRowDays())
        publicOrigins = reader.origins("PUBLIC_ORIGINS")
        corsOrigins = reader.origins("CORS_ORIGINS", ofApps: true)
        cookiePath = reader.plainPath("COOKIE_PATH")
        paths = reader.paths("V1_PATHS")
        connectTimeout = reader.seconds("CONNECT_TIMEOUT")
        firstByteTimeout = reader.seconds("FIRST_BYTE_TIMEOUT")
        idleTimeout = reader.seconds("IDLE_TIMEOUT")
        callTimeout = reader.seconds("CALL_TIMEOUT")
        drainTimeout = reader.seconds("DRAIN_TIMEOUT")
        maxBody = reader.bytes("MAX_BODY")
        maxInFlight = reader.integer("MAX_IN_FLIGHT", 1...15_000)
        maxRepliesPerUser = reader.integer("MAX_REPLIES_PER_USER", 1...1000)
        maxStreamsPerUser = reader.integer("MAX_STREAMS_PER_USER", 1...10_000)
        maxStreams = reader.integer("MAX_STREAMS", 1...1_000_000)
        logLevel = reader.choice(
            "LOG_LEVEL",
            Dictionary(
                uniqueKeysWithValues: [
                    "trace", "debug", "info", "notice", "warning", "error", "critical",
                ].map { ($0, $0) }))
        logFormat = reader.choice(
            "LOG_FORMAT",
            Dictionary(uniqueKeysWithValues: LogFormat.allCases.map { ($0.rawValue, $0) }))
        slowLog = Int64(reader.integer("SLOW_LOG", 0...3_600_000))
        guard reader.problems.isEmpty else { throw Problems(all: reader.problems) }
    }
}
