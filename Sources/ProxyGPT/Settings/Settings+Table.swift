// The table of settings. `make docs` writes from it README's table, docs/settings.md, the manual page
// proxy-gpt(5) and systemd/environment.

extension Settings {
    private static let listOfOrigins = "origins such as https://example.org, separated by commas"
    private static let timeout = ValueType.seconds(milliseconds: 1...86_400_000)

    /// All settings, in the order of the pages.
    package static let table: [Entry] = [
        Entry(
            "API_KEY", .form("printable ASCII without white space"),
            "The upstream's key, shared by all users.",
            note: "OpenAI and Azure require one. An installation has it in /etc/proxy-gpt/api_key.",
            usedBy: [.worker, .streamer, .admin], isSecret: true, installed: .absent),
        Entry(
            "API_URL", .form("an http or https address, or empty"),
            "The upstream's address; empty: https://api.openai.com.",
            note: "An Azure deployment URL, or any server that speaks OpenAI's API.",
            usedBy: [.worker, .streamer, .admin]),
        Entry(
            "API_TYPE", .choice(["", "azure", "openai"]),
            "The kind of upstream, where the host of API_URL does not tell.",
            note: "Empty: azure where the host ends in .openai.azure.com.",
            usedBy: [.worker, .streamer, .admin]),
        Entry(
            "UPSTREAM_PROXY",
            .form("http://[user:password@]host:port, or environment, or empty"),
            "The HTTP proxy on the way to the upstream; empty: none.",
            note: "environment: those of HTTPS_PROXY, HTTP_PROXY and NO_PROXY, which the "
                + "environment file may set too.",
            usedBy: [.worker, .streamer, .admin], isSecret: true),
        Entry(
            "FORWARD_HEADERS",
            .form("names of headers, or beginnings such as x-team-*, separated by commas"),
            "Further request headers that go upstream."),
        Entry(
            "SSL_CERT_FILE", .form("the path of a PEM file, or empty"),
            "Certificate authorities for the upstream, instead of the system's.",
            usedBy: [.worker, .streamer, .admin]),
        Entry(
            "DB_ADDRESS", .form("postgresql://user:password@host:5432/database, or empty"),
            "The PostgreSQL database; empty: SQLite, proxy.db in STATE_DIRECTORY.",
            usedBy: [.worker, .streamer, .admin], isSecret: true),
        Entry(
            "DB_CONNECTIONS", .integer(2...100), default: "4",
            "Connections of each process to PostgreSQL."),
        Entry(
            "DB_PREPARED", .choice(["on", "off"]), default: "on",
            "Prepared statements; off: for a PgBouncer in transaction mode before PostgreSQL.",
            usedBy: [.worker, .streamer, .admin]),
        Entry(
            "REDIS_ADDRESS",
            .form("redis://[[user:]password@]host[:port][/database], or empty"),
            "Redis, which several hosts need; empty: none.",
            note: "Without Redis the processes of this host exchange frames through a file.",
            isSecret: true),
        Entry(
            "STATE_DIRECTORY", .form("the path of a directory"), default: ".",
            "The directory of databases and locks.",
            note: "systemd sets it: /var/lib/proxy-gpt.",
            usedBy: [.worker, .streamer, .admin], installed: .absent),
        Entry(
            "DEFAULT_MODEL", .anyText, default: "gpt-3", "The model of a chat that names none.",
            usedBy: [.worker]),
        Entry(
            "MODEL_ALIASES", .form("name=model, separated by commas"),
            default: "gpt-3=gpt-3.5-turbo",
            "Names of models that stand for other models upstream.", usedBy: [.worker]),
        Entry(
            "CONTEXT_MESSAGES", .integer(0...1000), default: "10",
            "Messages of a chat that go upstream with a prompt.", usedBy: [.worker]),
        Entry(
            "CONTEXT_TOKENS", .integer(1...10_000_000), default: "8000",
            "The most tokens that those messages may have.", usedBy: [.worker]),
        Entry(
            "SIGNUP", .choice(["open", "closed"]), default: "open",
            "Whether anybody may sign up; closed: the operator adds users.",
            usedBy: [.worker, .admin], installed: .set("closed")),
        Entry(
            "PASSWORD_MIN", .integer(1...User.passwordLimit, unit: "bytes"), default: "8",
            "The length of the shortest password.", usedBy: [.worker, .admin]),
        Entry(
            "PASSWORD_COST", .integer(10...17), default: "15",
            "The cost of a password's hash: scrypt (RFC 7914) with N = 2 to the power of this, r = 8, p = 3.",
            note: "Each step doubles the time and the memory of a log-in, and the work of an attacker who "
                + "guesses passwords from stolen hashes: 15 takes 32 MiB. A log-in renews the hash of an "
                + "earlier, lower cost. Below 15 for tests alone.",
            usedBy: [.worker, .admin]),
        Entry(
            "SESSION_DAYS", .integer(1...3650, unit: "days"), default: "30",
            "How long a session lasts after its last use."),
        Entry(
            "COOKIE_NAME", .form("1 to 64 letters, digits and dashes"), default: "sess",
            "The name of the session cookie.",
            note: "Another name is needed where another application on this host name has a "
                + "cookie of that one."),
        Entry(
            "EVENT_BODIES", .choice(["on", "off"]), default: "on",
            "Whether the first 16 KiB of /v1 bodies are kept beside their events."),
        Entry(
            "EVENT_DAYS", .integer(1...3650, unit: "days"), default: "30",
            "How long those bodies are kept.", usedBy: [.worker, .streamer, .admin]),
        Entry(
            "EVENT_ROW_DAYS", .integer(0...36_500, unit: "days"), default: "400",
            "How long rows of events are kept; 0: for ever.",
            note: "The nightly timer removes them.", usedBy: [.admin]),
        Entry(
            "PUBLIC_ORIGINS", .form(listOfOrigins),
            "The service's own origins, as browsers see them; empty: the request's.",
            note: "Empty: the request's own scheme and host, where that is an address, localhost, "
                + "or nginx's server_name. Decides which origins are foreign, and whether the "
                + "cookie is Secure; requests for another name get 421 then."),
        Entry(
            "CORS_ORIGINS", .form(listOfOrigins),
            "Foreign origins whose pages may call with a token; empty: none.",
            note: "Also capacitor://localhost and its like, or null for pages without an origin."),
        Entry(
            "COOKIE_PATH", .form("a path such as /ai/"), default: "/",
            "The session cookie's path.",
            note: "/ai/ where another nginx has this service below such a path.",
            usedBy: [.worker]),
        Entry(
            "V1_PATHS", .form("+/path or -/path below /v1, separated by commas"),
            "Paths of the upstream that are open (+) or closed (-).",
            note: "The longest decides. Paths that give out the account or a key of it are closed "
                + "unless opened here: /organization, /projects, /realtime/client_secrets and "
                + "its like, /chatkit/sessions."),
        Entry(
            "CONNECT_TIMEOUT", timeout, default: "10", "The longest time to reach the upstream."),
        Entry(
            "FIRST_BYTE_TIMEOUT", timeout, default: "600",
            "The longest time until the upstream's answer begins."),
        Entry(
            "IDLE_TIMEOUT", timeout, default: "120",
            "The longest silence within an answer of the upstream."),
        Entry(
            "CALL_TIMEOUT", timeout, default: "1800", "The longest time of a whole upstream call.",
            note: "nginx's fastcgi_read_timeout must exceed it."),
        Entry(
            "DRAIN_TIMEOUT", timeout, default: "1830",
            "How long a stopping worker waits for its calls.",
            note: "TimeoutStopSec of the service must exceed it.", usedBy: [.worker]),
        Entry(
            "MAX_BODY", .size(bytes: 1...1 << 40), default: "512MiB",
            "The largest body below /v1/.",
            note: "nginx has a limit of its own, client_max_body_size.", usedBy: [.worker]),
        Entry(
            "MAX_IN_FLIGHT", .integer(1...15_000), default: "1000",
            "Requests at once in one worker.",
            note: "A worker answers further ones with 503.", usedBy: [.worker]),
        Entry(
            "MAX_REPLIES_PER_USER", .integer(1...1000), default: "8",
            "Running chat replies of one user.", usedBy: [.worker]),
        Entry(
            "MAX_STREAMS_PER_USER", .integer(1...10_000), default: "20",
            "Open streams of one user.", usedBy: [.streamer]),
        Entry(
            "MAX_STREAMS", .integer(1...1_000_000), default: "10000",
            "Open streams of all users together.", usedBy: [.streamer]),
        Entry(
            "LOG_LEVEL",
            .choice(["trace", "debug", "info", "notice", "warning", "error", "critical"]),
            default: "info", "The least severity that is logged."),
        Entry(
            "LOG_FORMAT", .choice(LogFormat.allCases.map(\.rawValue)), default: "auto",
            "The form of log lines; auto: the journal's fields under systemd, else text."),
        Entry(
            "SLOW_LOG", .integer(0...3_600_000, unit: "milliseconds"), default: "1000",
            "The service's own time from which a request is logged as slow; 0: never.",
            note: "The line has the time of each stage. The upstream's time does not count.",
            usedBy: [.worker]),
    ]
}
