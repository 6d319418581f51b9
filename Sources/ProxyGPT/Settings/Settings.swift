/// What the operator decided: read and checked as a whole at start, constant afterwards.
package struct Settings: Sendable {
    package let apiKey: Secret?
    /// Whether the upstream needs a key and none is set.
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
    package let passwordCost: Int
    package let sessionDays: Int64
    /// The name of the cookie that holds a session's token.
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
    /// Where browsers send the session's cookie: `/`, or the path at which another nginx serves us.
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
    /// The service's own time from which a request is logged with its stages; 0 for never.
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

    /// The metrics of this host's processes.
    package var scoreboards: String { stateDirectory + "/scoreboard" }

    /// Where the streamer hears that frames were published when no service manager gives it a socket.
    package var bellSocket: String { stateDirectory + "/bell.sock" }

    /// Where the streamer listens when no service manager gives it a socket.
    package var streamerSocket: String { stateDirectory + "/streamer.sock" }

    /// Everything that is wrong with the settings, each by variable name.
    package struct Problems: Error, CustomStringConvertible {
        package let all: [String]
        package var description: String { all.joined(separator: "\n") }
    }

    /// Checks `values` (by name; what is absent or empty takes its default) all at once.
    /// - Parameter requiresKey: false for a caller that calls no upstream.
    package init(values: [String: String], requiresKey: Bool = true) throws(Problems) {
        var reader = SettingsReader(values)
        let apiKey = reader.text("API_KEY")
        let address = reader.text("API_URL")
        upstream = reader.upstream()
        upstreamProxy = reader.upstreamProxy()
        forwardHeaders = reader.headerNames("FORWARD_HEADERS")
        lacksKey = apiKey.isEmpty && (address.isEmpty || upstream.keyHeader == .apiKey)
        if lacksKey && requiresKey {
            reader.report("API_KEY", "is required for OpenAI and Azure")
        }
        if !apiKey.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) {
            reader.report("API_KEY", "has white space or characters beyond ASCII")
        }
        self.apiKey = apiKey.isEmpty ? nil : Secret(apiKey)
        let certificates = reader.text("SSL_CERT_FILE")
        certificateFile = certificates.isEmpty ? nil : certificates
        database = reader.database()
        databaseConnections = reader.integer("DB_CONNECTIONS")
        preparesStatements = reader.choice("DB_PREPARED") == "on"
        redisAddress = reader.redis("REDIS_ADDRESS")
        stateDirectory = reader.text("STATE_DIRECTORY")
        defaultModel = reader.text("DEFAULT_MODEL")
        modelAliases = reader.aliases("MODEL_ALIASES")
        contextMessages = reader.integer("CONTEXT_MESSAGES")
        contextTokens = reader.integer("CONTEXT_TOKENS")
        signupIsOpen = reader.choice("SIGNUP") == "open"
        passwordMinimum = reader.integer("PASSWORD_MIN")
        passwordCost = reader.integer("PASSWORD_COST")
        sessionDays = Int64(reader.integer("SESSION_DAYS"))
        cookieName = reader.cookieName("COOKIE_NAME")
        recordsBodies = reader.choice("EVENT_BODIES") == "on"
        eventDays = Int64(reader.integer("EVENT_DAYS"))
        eventRowDays = Int64(reader.integer("EVENT_ROW_DAYS"))
        publicOrigins = reader.origins("PUBLIC_ORIGINS")
        corsOrigins = reader.origins("CORS_ORIGINS", ofApps: true)
        cookiePath = reader.plainPath("COOKIE_PATH")
        paths = reader.paths("V1_PATHS")
        connectTimeout = reader.milliseconds("CONNECT_TIMEOUT")
        firstByteTimeout = reader.milliseconds("FIRST_BYTE_TIMEOUT")
        idleTimeout = reader.milliseconds("IDLE_TIMEOUT")
        callTimeout = reader.milliseconds("CALL_TIMEOUT")
        drainTimeout = reader.milliseconds("DRAIN_TIMEOUT")
        maxBody = reader.bytes("MAX_BODY")
        maxInFlight = reader.integer("MAX_IN_FLIGHT")
        maxRepliesPerUser = reader.integer("MAX_REPLIES_PER_USER")
        maxStreamsPerUser = reader.integer("MAX_STREAMS_PER_USER")
        maxStreams = reader.integer("MAX_STREAMS")
        logLevel = reader.choice("LOG_LEVEL")
        logFormat = LogFormat(rawValue: reader.choice("LOG_FORMAT")) ?? .auto
        slowLog = Int64(reader.integer("SLOW_LOG"))
        guard reader.problems.isEmpty else { throw Problems(all: reader.problems) }
    }
}
