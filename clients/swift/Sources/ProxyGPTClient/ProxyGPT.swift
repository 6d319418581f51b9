/// A client of one server of Proxy GPT, for one user.
///
///     let client = try ProxyGPT("https://api.example.org", token: token)
///     for try await delta in client.chats.stream(chat.id, "Hello") {
///         print(delta.text, terminator: "")
///     }
///
/// Errors are of the type `ProxyGPTError`, unless the task is cancelled: then a `CancellationError`. Reads and
/// prompts are sent again where that is safe; everything else is sent once.
public struct ProxyGPT: Sendable {
    /// Users and sessions.
    public let users: Users
    /// Chats, prompts and streams.
    public let chats: Chats
    /// Groups of users.
    public let groups: Groups

    private let connection: Connection

    /// Makes a client of the server at an address such as `https://api.example.org`, which may have a path.
    /// - Parameters:
    ///   - token: the token of a session. `users.signUp` and `users.logIn` replace it.
    ///   - maxRetries: how often a read or a prompt is sent again.
    ///   - timeout: the time for a call that is not a stream, its repetitions included.
    ///   - silenceTimeout: the silence after which a stream is opened anew. The server sends something every
    ///     15 seconds.
    /// - Throws: a `ProxyGPTError` of the code `invalid_argument`.
    public init(
        _ address: String, token: String? = nil, maxRetries: Int = 2,
        timeout: Duration = .seconds(600), silenceTimeout: Duration = .seconds(60)
    ) throws {
        try self.init(
            address, token: token, maxRetries: maxRetries, timeout: timeout,
            silenceTimeout: silenceTimeout, pause: { try await Task.sleep(for: $0) })
    }

    /// - Parameter pause: waits between attempts.
    init(
        _ address: String, token: String? = nil, maxRetries: Int = 2,
        timeout: Duration = .seconds(600), silenceTimeout: Duration = .seconds(60),
        pause: @escaping Connection.Pause
    ) throws {
        connection = try Connection(
            address, token: token, maxRetries: maxRetries, timeout: timeout,
            silenceTimeout: silenceTimeout, pause: pause)
        users = Users(connection: connection)
        chats = Chats(connection: connection)
        groups = Groups(connection: connection)
    }

    /// The token of the session; nil before a log-in and after a log-out.
    public var token: String? { connection.token }

    /// The address and the key for OpenAI's own client.
    public var openai: OpenAISettings {
        OpenAISettings(baseURL: connection.base + "/v1", apiKey: connection.token ?? "")
    }
}
