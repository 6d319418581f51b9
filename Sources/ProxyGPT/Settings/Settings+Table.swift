// The table of settings. `make docs` writes from it docs/configuration.md, the manual page
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
            example: "sk-0123456789abcdef",
            symptom: "A wrong key: every call is 502 with the code `upstream_auth`. An "
                + "absent key with OpenAI or Azure: the start fails.",
            usedBy: [.worker, .streamer, .admin], isSecret: true, installed: .absent),
        Entry(
            "API_URL", .form("an http or https address, or empty"),
            "The upstream's address; empty: https://api.openai.com.",
            note: "An Azure deployment URL, or any server that speaks OpenAI's API.",
            example: "http://localhost:9090",
            symptom: "A path too many or too few: calls answer the upstream's own 404. An "
                + "address that cannot be reached: 502 `upstream_error`.",
            usedBy: [.worker, .streamer, .admin]),
        Entry(
            "API_TYPE", .choice(["", "azure", "openai"]),
            "The kind of upstream, where the host of API_URL does not tell.",
            note: "Empty: azure where the host ends in .openai.azure.com.",
            example: "azure",
            symptom: "An Azure resource under a name of its own without it: 502 "
                + "`upstream_auth`, since the key is sent in another header.",
            usedBy: [.worker, .streamer, .admin]),
        Entry(
            "UPSTREAM_PROXY",
            .form("http://[user:password@]host:port, or environment, or empty"),
            "The HTTP proxy on the way to the upstream; empty: none.",
            note: "environment: those of HTTPS_PROXY, HTTP_PROXY and NO_PROXY, which the "
                + "environment file may set too.",
            example: "http://proxy.example.org:3128",
            symptom: "A proxy that is away or refuses: 502 `upstream_error` for every call.",
            usedBy: [.worker, .streamer, .admin], isSecret: true),
        Entry(
            "FORWARD_HEADERS",
            .form("names of headers, or beginnings such as x-team-*, separated by commas"),
            "Further request headers that go upstream.",
            example: "X-Tenant,x-team-*",
            symptom: "A header that is a credential or tells of the client stops the start. "
                + "A header that is not listed does not arrive."),
        Entry(
            "SSL_CERT_FILE", .form("the path of a PEM file, or empty"),
            "Certificate authorities for the upstream, instead of the system's.",
            example: "/etc/ssl/certs/ca-certificates.crt",
            symptom: "A file without a certificate stops the start. An authority that is "
                + "missing in it: 502 `upstream_error`.",
            usedBy: [.worker, .streamer, .admin]),
        Entry(
            "DB_ADDRESS", .form("postgresql://user:password@host:5432/database, or empty"),
            "The PostgreSQL database; empty: SQLite, proxy.db in STATE_DIRECTORY.",
            example: "postgresql://proxy:secret@db.example.org/proxy?sslmode=verify-full",
            symptom: "A character such as `@` in the password that is not percent-encoded "
                + "stops the start. A server that is away: 503 `unavailable`.",
            usedBy: [.worker, .streamer, .admin], isSecret: true),
        Entry(
            "DB_CONNECTIONS", .integer(2...100), default: "4",
            "Connections of each process to PostgreSQL.",
            example: "8",
            symptom: "More than the server allows for all processes together: a process "
                + "does not start, and names the number."),
        Entry(
            "DB_PREPARED", .choice(["on", "off"]), default: "on",
            "Prepared statements; off: for a PgBouncer in transaction mode before PostgreSQL.",
            example: "off",
            symptom: "`on` behind a PgBouncer that pools transactions: no process starts, "
                + "and the log names this setting.",
            usedBy: [.worker, .streamer, .admin]),
        Entry(
            "REDIS_ADDRESS",
            .form("redis://[[user:]password@]host[:port][/database], or empty"),
            "Redis, which several hosts need; empty: none.",
            note: "Without Redis the processes of this host exchange frames through a file.",
            example: "redis://proxy-gpt:PASSWORD@localhost:6379",
            symptom: "Absent with two hosts on one database: `/ready` is 503. An address "
                + "with `rediss://` stops the start.",
            isSecret: true),
        Entry(
            "STATE_DIRECTORY", .form("the path of a directory"), default: ".",
            "The directory of databases and locks.",
            note: "systemd sets it: /var/lib/proxy-gpt.",
            example: "/var/lib/proxy-gpt",
            symptom: "A directory that a second service uses: the second streamer ends and "
                + "names the first.",
            usedBy: [.worker, .streamer, .admin], installed: .absent),
        Entry(
            "DEFAULT_MODEL", .anyText, default: "gpt-3", "The model of a chat that names none.",
            example: "gpt-4o-mini",
            symptom: "A model that the upstream does not have: prompts fail with the "
                + "upstream's 404.",
            usedBy: [.worker]),
        Entry(
            "MODEL_ALIASES", .form("name=model, separated by commas"),
            default: "gpt-3=gpt-3.5-turbo",
            "Names of models that stand for other models upstream.",
            example: "gpt-3=gpt-3.5-turbo,fast=gpt-4o-mini",
            symptom: "An alias for a model that the upstream does not have: prompts fail "
                + "with the upstream's 404.",
            usedBy: [.worker]),
        Entry(
            "CONTEXT_MESSAGES", .integer(0...1000), default: "10",
            "Messages of a chat that go upstream with a prompt.",
            example: "20",
            symptom: "Too many: prompts cost more. Too few: the model does not know what "
                + "was said.",
            usedBy: [.worker]),
        Entry(
            "CONTEXT_TOKENS", .integer(1...10_000_000), default: "8000",
            "The most tokens that those messages may have.",
            example: "32000",
            symptom: "More than the model takes: prompts fail with the upstream's 400. Too "
                + "few: the model does not know what was said.",
            usedBy: [.worker]),
        Entry(
            "SIGNUP", .choice(["open", "closed"]), default: "open",
            "Whether anybody may sign up; closed: the operator adds users.",
            example: "closed",
            symptom: "`open` on a public address: strangers spend the key's money. "
                + "`closed`: `/user/signup` is 403.",
            usedBy: [.worker, .admin], installed: .set("closed")),
        Entry(
            "PASSWORD_MIN", .integer(1...User.passwordLimit, unit: "bytes"), default: "8",
            "The length of the shortest password.",
            example: "12",
            symptom: "Below 8: passwords that can be guessed. A higher value holds for new "
                + "passwords alone.",
            usedBy: [.worker, .admin]),
        Entry(
            "PASSWORD_COST", .integer(10...17), default: "15",
            "The cost of a password's hash: scrypt (RFC 7914) with N = 2 to the power of this, r = 8, p = 3.",
            note: "Each step doubles the time and the memory of a log-in, and the work of an "
                + "attacker who guesses passwords from stolen hashes: 15 takes 32 MiB. A log-in renews the hash of an "
                + "earlier, lower cost. Below 15 for tests alone.",
            example: "16",
            symptom: "Higher: log-ins wait, and a burst of them is 503. Below 15: stolen "
                + "hashes are guessed faster.",
            usedBy: [.worker, .admin]),
        Entry(
            "SESSION_DAYS", .integer(1...3650, unit: "days"), default: "30",
            "How long a session lasts after its last use.",
            example: "7",
            symptom: "Short: people log in often. Long: a stolen token stays valid longer."),
        Entry(
            "COOKIE_NAME", .form("1 to 64 letters, digits and dashes"), default: "sess",
            "The name of the session cookie.",
            note: "Another name is needed where another application on this host name has a "
                + "cookie of that one.",
            example: "gpt-session",
            symptom: "A change logs out every browser. A name that another application "
                + "uses: people are logged out at random."),
        Entry(
            "EVENT_BODIES", .choice(["on", "off"]), default: "on",
            "Whether the first 16 KiB of /v1 bodies are kept beside their events.",
            example: "off",
            symptom: "`on`: bodies are the largest part of the database. `off`: an audit "
                + "has no contents of calls."),
        Entry(
            "EVENT_DAYS", .integer(1...3650, unit: "days"), default: "30",
            "How long those bodies are kept.",
            example: "7",
            symptom: "Long: the disk fills, as `proxy-gpt-admin doctor` says under "
                + "`growth`.",
            usedBy: [.worker, .streamer, .admin]),
        Entry(
            "EVENT_ROW_DAYS", .integer(0...36_500, unit: "days"), default: "400",
            "How long rows of events are kept; 0: for ever.",
            note: "The nightly timer removes them.",
            example: "90",
            symptom: "`0`: the table of events grows for ever. Without a nightly "
                + "`retention` the setting has no effect.",
            usedBy: [.admin]),
        Entry(
            "PUBLIC_ORIGINS", .form(listOfOrigins),
            "The service's own origins, as browsers see them; empty: the request's.",
            note: "Empty: the request's own scheme and host, where that is an address, localhost, "
                + "or nginx's server_name. Decides which origins are foreign, and whether the "
                + "cookie is Secure; requests for another name get 421 then.",
            example: "https://gpt.example.org",
            symptom: "Absent behind another proxy: browsers get 403 \"another origin\", and "
                + "the log names the value. A host name that is not listed: 421."),
        Entry(
            "CORS_ORIGINS", .form(listOfOrigins),
            "Foreign origins whose pages may call with a token; empty: none.",
            note: "Also capacitor://localhost and its like, or null for pages without an origin.",
            example: "https://app.example.org,null",
            symptom: "An origin that is not listed: the browser says that the request was "
                + "blocked by CORS policy."),
        Entry(
            "COOKIE_PATH", .form("a path such as /ai/"), default: "/",
            "The session cookie's path.",
            note: "/ai/ where another nginx has this service below such a path.",
            example: "/ai/",
            symptom: "A path that browsers do not use: a log-in succeeds, and the next call "
                + "is 401.",
            usedBy: [.worker]),
        Entry(
            "V1_PATHS", .form("+/path or -/path below /v1, separated by commas"),
            "Paths of the upstream that are open (+) or closed (-).",
            note: "The longest decides. Paths that give out the account or a key of it are closed "
                + "unless opened here: /organization, /projects, /realtime/client_secrets and "
                + "its like, /chatkit/sessions.",
            example: "-/,+/chat/completions,+/models",
            symptom: "A path that is closed: 403 `path_closed`, which names this setting."),
        Entry(
            "CONNECT_TIMEOUT", timeout, default: "10", "The longest time to reach the upstream.",
            example: "5",
            symptom: "Short: 504 `upstream_timeout` on a slow network. Long: callers wait "
                + "for an upstream that is away."),
        Entry(
            "FIRST_BYTE_TIMEOUT", timeout, default: "600",
            "The longest time until the upstream's answer begins.",
            example: "900",
            symptom: "Short: 504 `upstream_timeout` for models that think before they "
                + "answer."),
        Entry(
            "IDLE_TIMEOUT", timeout, default: "120",
            "The longest silence within an answer of the upstream.",
            example: "300",
            symptom: "Short: streams of models that pause are cut, and replies fail with "
                + "`upstream_timeout`."),
        Entry(
            "CALL_TIMEOUT", timeout, default: "1800", "The longest time of a whole upstream call.",
            note: "nginx's fastcgi_read_timeout must exceed it.",
            example: "3600",
            symptom: "Longer than nginx's `fastcgi_read_timeout` (1810 s): nginx ends "
                + "silent calls first, with 504."),
        Entry(
            "DRAIN_TIMEOUT", timeout, default: "1830",
            "How long a stopping worker waits for its calls.",
            note: "TimeoutStopSec of the service must exceed it.",
            example: "60",
            symptom: "Short: a restart cuts calls that take longer. Longer than "
                + "`TimeoutStopSec`: systemd kills the worker first.",
            usedBy: [.worker]),
        Entry(
            "MAX_BODY", .size(bytes: 1...1 << 40), default: "512MiB",
            "The largest body below /v1/.",
            note: "nginx has a limit of its own, client_max_body_size.",
            example: "25MiB",
            symptom: "Above nginx's `client_max_body_size` (512 MiB): nginx answers 413 "
                + "first.",
            usedBy: [.worker]),
        Entry(
            "MAX_IN_FLIGHT", .integer(1...15_000), default: "1000",
            "Requests at once in one worker.",
            note: "A worker answers further ones with 503.",
            example: "500",
            symptom: "Low: 503 `unavailable` under load. High: calls wait in the worker "
                + "instead of being refused.",
            usedBy: [.worker]),
        Entry(
            "MAX_REPLIES_PER_USER", .integer(1...1000), default: "8",
            "Running chat replies of one user.",
            example: "2",
            symptom: "Low: the next prompt of a busy user is 429 `rate_limited`.",
            usedBy: [.worker]),
        Entry(
            "MAX_STREAMS_PER_USER", .integer(1...10_000), default: "20",
            "Open streams of one user.",
            example: "50",
            symptom: "Low: the streams of a user with many open pages end at once, and "
                + "reconnect.",
            usedBy: [.streamer]),
        Entry(
            "MAX_STREAMS", .integer(1...1_000_000), default: "10000",
            "Open streams of all users together.",
            example: "50000",
            symptom: "High without enough `worker_connections` in nginx and file "
                + "descriptors: connections are refused.",
            usedBy: [.streamer]),
        Entry(
            "LOG_LEVEL",
            .choice(["trace", "debug", "info", "notice", "warning", "error", "critical"]),
            default: "info", "The least severity that is logged.",
            example: "debug",
            symptom: "`debug`: a line for every request. `error`: no warning of a clock "
                + "that is wrong or a dependency that is away."),
        Entry(
            "LOG_FORMAT", .choice(LogFormat.allCases.map(\.rawValue)), default: "auto",
            "The form of log lines; auto: the journal's fields under systemd, else text.",
            example: "json",
            symptom: "`journal` on a host with systemd: the terminal shows nothing, since "
                + "lines go to the journal alone."),
        Entry(
            "SLOW_LOG", .integer(0...3_600_000, unit: "milliseconds"), default: "1000",
            "The service's own time from which a request is logged as slow; 0: never.",
            note: "The line has the time of each stage. The upstream's time does not count.",
            example: "200",
            symptom: "Low: the log is full of usual requests.",
            usedBy: [.worker]),
    ]
}
