import ProxyGPT
import Testing

@Suite struct SettingsTests {
    private static let key = "sk-canary-settings"

    private func settings(_ values: [String: String] = [:]) throws -> Settings {
        try Settings(values: values.merging(["API_KEY": Self.key]) { given, _ in given })
    }

    private func problems(_ values: [String: String]) -> [String] {
        do throws(Settings.Problems) {
            _ = try Settings(values: values.merging(["API_KEY": Self.key]) { given, _ in given })
            return []
        } catch {
            return error.all
        }
    }

    @Test("A key alone is enough, and all other settings have defaults")
    func hasStartingValues() throws {
        let settings = try settings()
        #expect(settings.apiKey == Secret(Self.key))
        #expect(settings.upstream == .openAI)
        #expect(settings.upstreamProxy == .none)
        #expect(settings.forwardHeaders == .none)
        #expect(settings.certificateFile == nil)
        #expect(settings.database == .sqlite(file: "./proxy.db"))
        #expect(settings.databaseConnections == 4)
        #expect(settings.redisAddress == nil)
        #expect(settings.signupIsOpen)
        #expect(settings.passwordMinimum == 8)
        #expect(settings.sessionDays == 30)
        #expect(settings.recordsBodies)
        #expect(settings.eventDays == 30 && settings.eventRowDays == 400)
        #expect(settings.defaultModel == "gpt-3")
        #expect(settings.modelAliases == ["gpt-3": "gpt-3.5-turbo"])
        #expect(settings.contextMessages == 10)
        #expect(settings.contextTokens == 8000)
        #expect(settings.publicOrigins == [] && settings.corsOrigins == [])
        #expect(settings.cookiePath == "/")
        #expect(settings.connectTimeout == 10_000)
        #expect(settings.firstByteTimeout == 600_000)
        #expect(settings.idleTimeout == 120_000)
        #expect(settings.callTimeout == 1_800_000)
        #expect(settings.drainTimeout == 1_830_000)
        #expect(settings.maxBody == 512 << 20)
        #expect(settings.maxInFlight == 1000)
        #expect(settings.maxRepliesPerUser == 8)
        #expect(settings.maxStreamsPerUser == 20)
        #expect(settings.maxStreams == 10_000)
        #expect(settings.logLevel == "info")
        #expect(Settings.maxBodyOfOwnEndpoints == 1 << 20)
    }

    @Test("The cookie's path is a plain path")
    func cookiePath() throws {
        for path in ["/", "/ai", "/ai/", "/a.b/c-d_e~f/"] {
            #expect(try settings(["COOKIE_PATH": path]).cookiePath == path)
        }
        let long = "/" + String(repeating: "a", count: 200)
        for path in ["ai", "//", "/a//b", "/a;Domain=x", "/a b", "/é", "/%61", "/a\r\nb", long] {
            #expect(problems(["COOKIE_PATH": path]).count == 1, "\(path)")
        }
    }

    @Test("An address of Redis is taken as it is")
    func takesRedis() throws {
        let settings = try settings(["REDIS_ADDRESS": "redis://localhost:6379"])
        #expect(settings.redisAddress == (try RedisAddress("redis://localhost:6379")))
    }

    @Test("An empty setting is an absent one")
    func takesEmptyForAbsent() throws {
        let settings = try settings(["PASSWORD_MIN": "", "SIGNUP": "", "STATE_DIRECTORY": ""])
        #expect(settings.passwordMinimum == 8)
        #expect(settings.stateDirectory == ".")
    }

    @Test(
        "An address of PostgreSQL begins with its scheme",
        arguments: [
            ("postgresql://u:p@h:5432/d?sslmode=require", true), ("postgres://h/d", true),
            ("POSTGRES://h/d", true), ("postgresql:h", false), ("postgresqls://h/d", false),
            ("host=h dbname=d", false), ("sqlite:proxy.db", false), ("://h", false),
        ])
    func readsDatabaseAddress(_ text: String, _ isOne: Bool) {
        guard let address = try? DatabaseAddress(text, file: "f") else {
            #expect(!isOne)
            return
        }
        #expect(isOne)
        guard case .postgreSQL(let secret) = address else {
            Issue.record("\(text) names a file")
            return
        }
        #expect(secret.revealed.lowercased() == text.lowercased())
        #expect(secret.revealed.hasPrefix("postgres"))
        #expect(!"\(address)".contains("://"))
    }

    @Test(
        "An address in which a password is not escaped is refused without a word of it",
        arguments: [
            "postgresql://u:can@ary@h/d", "postgresql://u:canary/1@h/d", "postgresql://u:canary?@h",
            "postgresql://u:1/canary@h/d", "postgresql://u:p@h1,u2:canary@h2/d",
            "postgresql://u:canary", "postgresql://canary:h:5432x/d",
        ])
    func refusesDoubtfulAddresses(_ text: String) {
        let problems = problems(["DB_ADDRESS": text])
        #expect(problems.count == 1, "\(text)")
        #expect(!problems.joined().contains("ary"), "\(problems)")
    }

    @Test(
        "Addresses with several hosts, escapes and options are taken",
        arguments: [
            "postgresql://u:p%40%2F@h1:5432,h2/d?options=-c%20a%3Db@c", "postgresql:///d",
            "postgresql://u@[::1]:5432/d", "postgresql://[::1]/d", "postgresql://h:/d",
            "postgresql://u:p#q@h/d",
        ])
    func takesOtherAddresses(_ text: String) {
        #expect(problems(["DB_ADDRESS": text]) == [])
    }

    @Test("No address is quoted that does not parse")
    func quotesNoAddress() {
        for (name, text) in [
            ("API_URL", "https://u:can/ary@h/v1"), ("API_URL", "https://u:12/canary@h/v1"),
            ("API_URL", "ftp://u:canary@h"), ("REDIS_ADDRESS", "redis://u:can/ary@h"),
            ("REDIS_ADDRESS", "redis//:canary@h"), ("DB_ADDRESS", "postgres:u:canary@h/d"),
        ] {
            let problems = problems([name: text])
            #expect(problems.count == 1 && !problems.joined().contains("ary"), "\(problems)")
        }
    }

    @Test(
        "Numbers are decimal digits",
        arguments: ["+5", " 5", "5 ", "0x10", "1_000", "٥", "1e3", ""])
    func numbersAreDigits(_ text: String) {
        #expect(problems(["SESSION_DAYS": text]).count == (text.isEmpty ? 0 : 1), "\(text)")
        #expect(problems(["MAX_BODY": text + "KiB"]).count == 1, "\(text)")
        #expect(problems(["IDLE_TIMEOUT": text + "."]).count == 1, "\(text)")
    }

    @Test(
        "The cookie's name is a plain word",
        arguments: [
            ("gpt", true), ("GPT-2", true), ("", true), ("a b", false), ("a=b", false),
            ("a;b", false),
            ("__Host-a", false), ("é", false), (String(repeating: "a", count: 65), false),
        ])
    func cookieName(_ name: String, _ isGood: Bool) {
        #expect(problems(["COOKIE_NAME": name]).isEmpty == isGood, "\(name)")
    }

    @Test("A bad value is quoted in printable characters up to a bound")
    func quotesValues() {
        #expect(
            problems(["SIGNUP": "o\u{1B}[31m`é"]) == [
                "SIGNUP must be closed or open, not `o?[31m???`."
            ])
        let long = String(repeating: "9", count: 1000)
        #expect(
            problems(["MAX_STREAMS": long]) == [
                "MAX_STREAMS must be a whole number from 1 to 1000000, not "
                    + "`\(long.prefix(64))…`."
            ])
    }

    @Test("All problems are reported at once, each with its variable's name")
    func tellsAllProblems() {
        let wrong = [
            "API_KEY": "has space", "API_URL": "nowhere", "FORWARD_HEADERS": "Cookie",
            "UPSTREAM_PROXY": "socks5://u:secret@h", "DB_ADDRESS": "mysql://u:secret@h/d",
            "DB_CONNECTIONS": "1", "DB_PREPARED": "maybe", "REDIS_ADDRESS": "rediss://u:secret@h",
            "SIGNUP": "maybe",
            "PASSWORD_MIN": "0", "SESSION_DAYS": "x", "COOKIE_NAME": "a b", "EVENT_BODIES": "yes",
            "MODEL_ALIASES": "gpt-3", "CORS_ORIGINS": "example.org", "IDLE_TIMEOUT": "soon",
            "MAX_BODY": "25MB", "MAX_IN_FLIGHT": "15001", "LOG_LEVEL": "loud",
        ]
        let problems = problems(wrong)
        #expect(problems.count == wrong.count)
        for name in wrong.keys {
            #expect(problems.filter { $0.hasPrefix(name + " ") }.count == 1, "\(name)")
        }
        #expect(!problems.joined().contains("secret"))
        #expect(!problems.joined().contains("has space"))
    }

    @Test("Every setting of the table has a starting value that is right")
    func hasFallbacksThatPass() {
        #expect(Set(Settings.table.map(\.name)).count == Settings.table.count)
        for entry in Settings.table where entry.name != "API_KEY" && !entry.defaultText.isEmpty {
            #expect(problems([entry.name: entry.defaultText]) == [], "\(entry.name)")
        }
    }

    @Test("A key is required for OpenAI and Azure alone")
    func asksForTheKey() throws {
        #expect(problems(["API_KEY": ""]) == ["API_KEY is required for OpenAI and Azure."])
        #expect(problems(["API_KEY": "", "API_URL": "https://r.openai.azure.com"]).count == 1)
        let local = try settings(["API_KEY": "", "API_URL": "http://localhost:9090"])
        #expect(local.apiKey == nil)
    }

    @Test("API_TYPE is azure or openai, and azure needs an address")
    func readsTheType() throws {
        #expect(problems(["API_TYPE": "azure"]) == ["API_URL is required for Azure."])
        #expect(
            problems(["API_TYPE": "other"]) == [
                "API_TYPE must be empty or azure or openai, not `other`."
            ])
        let azure = try settings(["API_TYPE": "Azure", "API_URL": "http://localhost:1"])
        #expect(azure.upstream.keyHeader == .apiKey)
    }

    @Test(
        "Sizes are bytes, or KiB, MiB and GiB",
        arguments: [("1", 1), ("25MiB", 25 << 20), ("3KiB", 3072), ("2GiB", 2 << 30)])
    func readsBytes(text: String, bytes: Int64) throws {
        #expect(try settings(["MAX_BODY": text]).maxBody == bytes)
    }

    @Test(
        "Malformed sizes are refused",
        arguments: [
            "0", "-1", "1.5MiB", "MiB", "25MB", "9223372036854775807GiB", "2000GiB", "1 MiB",
        ])
    func refusesOtherSizes(text: String) {
        #expect(problems(["MAX_BODY": text]).count == 1)
    }

    @Test(
        "Times are seconds with up to three places",
        arguments: [("1", 1000), ("0.25", 250), ("0.001", 1), ("86400", 86_400_000)])
    func readsSeconds(text: String, milliseconds: Int64) throws {
        #expect(try settings(["IDLE_TIMEOUT": text]).idleTimeout == milliseconds)
    }

    @Test(
        "Malformed times are refused",
        arguments: [
            "0", "-1", "nan", "inf", "86401", "1s", "1e300", "0.0001", "1.2345", ".5", "1.", "0x1",
        ])
    func refusesOtherTimes(text: String) {
        #expect(problems(["IDLE_TIMEOUT": text]).count == 1)
    }

    @Test("Aliases and origins are lists separated by commas")
    func readsLists() throws {
        let settings = try settings([
            "MODEL_ALIASES": "a=b, c = d=e ",
            "CORS_ORIGINS": "https://App.example, http://localhost:3000",
        ])
        #expect(settings.modelAliases == ["a": "b", "c": "d=e"])
        #expect(settings.corsOrigins == ["https://app.example", "http://localhost:3000"])
        for origin in ["https://a/", "https://", "*", "null", "https://a/b"] {
            #expect(problems(["PUBLIC_ORIGINS": origin]).count == 1, "\(origin)")
        }
        for alias in ["a", "a=", "=b", "a=b,c"] {
            #expect(problems(["MODEL_ALIASES": alias]).count == 1, "\(alias)")
        }
    }

    @Test("No way of printing settings shows the key")
    func hidesSecrets() throws {
        let settings = try settings()
        let secret = Secret(Self.key)
        var dumped = ""
        dump(settings, to: &dumped)
        dump(secret, to: &dumped)
        dump([secret], to: &dumped)
        let printed =
            dumped + "\(settings) \(secret) \([secret]) \(["k": secret])"
            + String(describing: settings) + String(reflecting: settings)
            + String(reflecting: secret) + String(describing: Optional(secret))
            + Mirror(reflecting: secret).children.map { "\($0.value)" }.joined()
        #expect(!printed.contains("canary"))
        #expect(printed.contains("<redacted>"))
        #expect(secret.revealed == Self.key)
        #expect(
            Settings.table.filter(\.isSecret).map(\.name) == [
                "API_KEY", "UPSTREAM_PROXY", "DB_ADDRESS", "REDIS_ADDRESS",
            ])
    }
}
