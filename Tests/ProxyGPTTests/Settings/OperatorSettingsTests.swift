internal import Glibc
internal import Testing

@testable internal import ProxyGPT

/// A directory laid out like an installation, gone with the object.
private final class InstalledPlace {
    let root: String
    var installation: OperatorSettings.Installation {
        OperatorSettings.Installation(
            environmentFile: root + "/environment", keyFile: root + "/api_key",
            stateDirectory: root + "/state")
    }

    init() {
        var template = Array("/tmp/operator-XXXXXX".utf8CString)
        root = mkdtemp(&template).map { String(cString: $0) } ?? "/nonexistent"
    }

    deinit {
        unlink(root + "/environment")
        unlink(root + "/api_key")
        rmdir(root + "/state")
        rmdir(root)
    }

    func write(_ name: String, _ text: String) {
        guard let file = fopen(root + "/" + name, "we") else { return }
        fputs(text, file)
        fclose(file)
    }
}

@Suite struct OperatorSettingsTests {
    private func source(_ values: [String: String]) -> Settings.Source {
        var source = Settings.Source()
        for (name, value) in values { source.set(name, value, .environment) }
        return source
    }

    @Test func `an environment that names the database wins`() throws {
        let place = InstalledPlace()
        place.write("environment", "SIGNUP=closed\n")
        let found = try OperatorSettings.find(
            source(["STATE_DIRECTORY": "/x"]), place.installation)
        #expect(found.place == .environment)
        #expect(try found.database() == .sqlite(file: "/x/proxy.db"))
        #expect(found.value("SIGNUP") == "open")
    }

    @Test func `else the installed file is read, with the key beside it`() throws {
        let place = InstalledPlace()
        place.write("environment", "SIGNUP=closed\nPASSWORD_MIN=12\nUNKNOWN=1\n")
        place.write("api_key", "sk-1\n")
        let found = try OperatorSettings.find(
            source(["PASSWORD_MIN": "3"]), place.installation)
        #expect(found.place == .file(place.root + "/environment"))
        #expect(found.stateDirectory == place.root + "/state")
        #expect(try found.passwordMinimum() == 12)
        #expect(try found.whole().apiKey?.revealed == "sk-1")
        #expect(found.source.origins["SIGNUP"] == .file)
        #expect(found.source.origins["API_KEY"] == .credential)
    }

    @Test func `proxies of the installed file count where UPSTREAM_PROXY says so`() throws {
        let place = InstalledPlace()
        let proxy = "HTTPS_PROXY=http://u:p@proxy:1\nno_proxy=direct\n"
        for setting in ["", "UPSTREAM_PROXY=environment\n"] {
            place.write("environment", "API_URL=http://localhost\n" + setting + proxy)
            let rules = try OperatorSettings.find(source([:]), place.installation).whole()
                .upstreamProxy
            let found = rules.proxy(for: "h", port: 443, isSecure: true)
            #expect(found?.host == (setting.isEmpty ? nil : "proxy"))
            #expect(rules.proxy(for: "direct", port: 443, isSecure: true) == nil)
        }
    }

    @Test func `installed settings without the key are incomplete, but usable`() throws {
        let place = InstalledPlace()
        place.write("environment", "MAX_BODY=much\n")
        let found = try OperatorSettings.find(source([:]), place.installation)
        #expect(try found.database() == .sqlite(file: place.root + "/state/proxy.db"))
        let problems = try #require(throws: Settings.Problems.self) { try found.whole() }
        #expect(problems.all.count == 2)
    }

    @Test func `else the installed state directory is taken, and at last the current one`() throws {
        let place = InstalledPlace()
        let nowhere = try OperatorSettings.find(source([:]), place.installation)
        #expect(nowhere.place == .directory("."))
        #expect(try nowhere.database() == .sqlite(file: "./proxy.db"))
        mkdir(place.root + "/state", 0o700)
        let found = try OperatorSettings.find(source([:]), place.installation)
        #expect(try found.database() == .sqlite(file: place.root + "/state/proxy.db"))
        // Nothing says that workers have these settings.
        #expect(try found.whole().lacksKey)
    }

    @Test func `an address of PostgreSQL is read, and any other is reported`() throws {
        func database(_ address: String) throws -> DatabaseAddress {
            let found = try OperatorSettings.find(
                source(["DB_ADDRESS": address]), InstalledPlace().installation)
            return try found.database()
        }
        #expect(try database("postgresql://h/d") == .postgreSQL(Secret("postgresql://h/d")))
        #expect(throws: Settings.Problems.self) { try database("mysql://h/d") }
    }
}
