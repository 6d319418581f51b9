internal import CurlUpstream
internal import EventLoop
internal import Glibc
internal import ProxyGPT
internal import SQLStorage

/// The checks of `doctor`. A check that fails does not keep the others from running.
@EventLoop struct DoctorChecks {
    private let context: CommandContext

    /// Free bytes on the disk below which there is a warning, and below which nothing works.
    private static let freeWarning: Int64 = 1 << 30
    private static let freeLimit: Int64 = 64 << 20
    /// The largest WAL that regular checkpoints leave.
    private static let walLimit: Int64 = 64 << 20

    /// The settings of the running service, nil where it does not run.
    private let running: OperatorSettings.OfService?

    init(_ context: CommandContext, _ running: OperatorSettings.OfService?) {
        self.context = context
        self.running = running
    }

    func findings(asksUpstream: Bool) async -> [Finding] {
        var findings = settings()
        // Before this process becomes the owner, who may see less of the processes.
        let displaced = displaced()
        if let library = library() { findings.append(library) }
        let directory = directory()
        findings += directory
        // From here on this process is the directory's owner. Without the directory there is nothing to check.
        if !directory.contains(where: { $0.result == .broken }) {
            findings += files()
            findings += diskSpace()
            findings += displaced.isEmpty ? await database() : displaced
        }
        if asksUpstream { findings.append(await upstream()) }
        return findings
    }

    // MARK: - Settings

    private func settings() -> [Finding] {
        var findings: [Finding] = []
        do {
            let settings = try context.settings.whole()
            findings.append(
                Finding("settings", .ok, "all valid, from \(context.settings.place)"))
            findings.append(
                settings.signupIsOpen
                    ? Finding("sign-up", .warning, "SIGNUP=open: anybody may sign up")
                    : Finding("sign-up", .ok, "closed"))
            if settings.lacksKey {
                findings.append(
                    Finding("key", .warning, "API_KEY is not set here; the workers need it"))
            } else if let key = settings.apiKey, KeyMask.isWord(Array(key.revealed.utf8)) {
                findings.append(
                    Finding(
                        "key", .warning,
                        "API_KEY is a word, under 16 bytes or of small letters and dashes alone, "
                            + "so it is not masked in answers"))
            }
        } catch {
            findings += error.all.map { Finding("settings", .broken, $0) }
        }
        if let running, !running.differing.isEmpty {
            let names = running.differing.joined(separator: ", ")
            findings.append(
                Finding(
                    "restart", .warning,
                    "the service runs with other values than \(running.place) says: \(names)"))
        }
        findings += environmentFile()
        return findings
    }

    private func environmentFile() -> [Finding] {
        do {
            return try OperatorSettings.problemsOfFile().map {
                Finding("settings", .broken, "the environment file: \($0)")
            }
        } catch {
            return [Finding("settings", .warning, "\(error)")]
        }
    }

    private func library() -> Finding? {
        guard case .sqlite = try? context.settings.database() else { return nil }
        let (version, needsGate) = DatabaseHealth.library
        let text =
            needsGate
            ? "SQLite \(version), which has the WAL-reset bug; the write gate makes up for it"
            : "SQLite \(version)"
        return Finding("library", .ok, text)
    }

    // MARK: - Files

    private func directory() -> [Finding] {
        let path = context.settings.stateDirectory
        do {
            try Owner(of: path).become()
        } catch {
            return [Finding("state directory", .broken, "\(error)")]
        }
        var status = stat()
        guard stat(path, &status) == 0 else {
            return [Finding("state directory", .broken, "\(SystemError("stat \(path)"))")]
        }
        guard status.st_mode & 0o077 == 0 else {
            let mode = String(status.st_mode & 0o777, radix: 8)
            return [
                Finding("state directory", .warning, "\(path) has mode \(mode), it should be 700")
            ]
        }
        return [Finding("state directory", .ok, path)]
    }

    private func files() -> [Finding] {
        let path = context.settings.stateDirectory
        guard let directory = opendir(path) else {
            return [Finding("files", .broken, "\(SystemError("opendir \(path)"))")]
        }
        defer { closedir(directory) }
        var wrong: [Finding] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            guard name.hasPrefix("proxy.db") || name.hasPrefix("bus.db") else { continue }
            var status = stat()
            guard lstat(path + "/" + name, &status) == 0 else { continue }
            if status.st_uid != geteuid() {
                let owner = Owner.name(of: status.st_uid)
                wrong.append(
                    Finding("files", .broken, "\(name) belongs to \(owner), not to the directory's")
                )
            } else if status.st_mode & 0o077 != 0 {
                let mode = String(status.st_mode & 0o777, radix: 8)
                wrong.append(
                    Finding("files", .warning, "\(name) has mode \(mode), it should be 600"))
            }
        }
        return wrong.isEmpty ? [Finding("files", .ok, "readable by their owner alone")] : wrong
    }

    private func diskSpace() -> [Finding] {
        guard let free = freeBytes() else {
            let path = context.settings.stateDirectory
            return [Finding("disk", .broken, "\(SystemError("statvfs \(path)"))")]
        }
        let result: Finding.Result =
            free < Self.freeLimit ? .broken : free < Self.freeWarning ? .warning : .ok
        return [Finding("disk", result, "\(free >> 20) MiB free")]
    }

    private func freeBytes() -> Int64? {
        var system = statvfs()
        guard statvfs(context.settings.stateDirectory, &system) == 0 else { return nil }
        return Int64(clamping: system.f_bavail) &* Int64(clamping: system.f_frsize)
    }

    // MARK: - Database

    private func growth(free: Int64?) async throws -> [Finding] {
        // Where the settings are wrong there is a finding already.
        guard let bodyDays = try? context.settings.eventDays(),
            let rowDays = try? context.settings.eventRowDays()
        else { return [] }
        let days = (body: Int64(bodyDays), row: Int64(rowDays))
        let growth = try await context.openStorage().growth(
            now: context.now, bodyDays: days.body, rowDays: days.row)
        guard let growth else { return [GrowthFinding.unknown] }
        return [
            GrowthFinding(growth: growth, bodyDays: days.body, rowDays: days.row).finding(
                free: free)
        ]
    }

    private func database() async -> [Finding] {
        var findings: [Finding] = []
        if context.settings.unknownSecrets.contains("DB_ADDRESS") {
            return [
                Finding(
                    "database", .broken,
                    "the service has a DB_ADDRESS that is not known here: set it")
            ]
        }
        do {
            switch try context.settings.database() {
            case .sqlite(let path):
                let health = try DatabaseHealth.examine(path)
                findings += file(health)
                findings += try await growth(free: freeBytes().map { $0 &+ health.freeBytes })
            case .postgreSQL:
                // Where the settings are wrong there is a finding already.
                let settings = try? context.settings.whole()
                let health = try await context.openStorage().examineServer(
                    connections: settings?.databaseConnections ?? 0)
                findings += Self.server(health)
                findings += health.locks.map { Finding("locks", .warning, $0) }
                if settings != nil { findings.append(Self.room(health.room)) }
                findings += try await growth(free: nil)
            }
            let processes = try await context.openStorage().livingProcesses()
            let hasRedis = (try? context.settings.whole())?.redisAddress != nil
            findings.append(Self.finding(of: processes, usesRedis: hasRedis))
            findings += Self.finding(ofClonesAmong: processes)
            findings.append(
                Self.finding(ofClockLead: try await context.openStorage().measureClockLead()))
            await context.note("doctor")
        } catch {
            let text = (error as? Failure)?.message ?? "\(error)"
            findings.append(Finding("database", .broken, text))
        }
        return findings
    }

    /// Findings about processes whose database file is no longer at the path in the settings.
    private func displaced() -> [Finding] {
        guard case .sqlite(let path) = try? context.settings.database() else { return [] }
        return context.displaced(path).map { process, other in
            Finding(
                "database", .broken,
                "\(process.program), process \(process.id), serves \(other) and not \(path), which "
                    + "was moved or replaced meanwhile: stop the service and put it right")
        }
    }

    private static nonisolated func server(_ health: ServerHealth) -> [Finding] {
        [
            Finding(
                "database", .ok,
                "PostgreSQL \(health.version), schema version \(health.schemaVersion), "
                    + "\(health.bytes >> 20) MiB"),
            Finding(
                "connections", health.used * 10 > health.allowed * 9 ? .warning : .ok,
                "\(health.used) of \(health.allowed) in use"),
        ]
    }

    private static nonisolated func room(_ room: PostgresRoom) -> Finding {
        Finding("pools", room.suffices ? .ok : .broken, room.description)
    }

    private func file(_ health: DatabaseHealth) -> [Finding] {
        [
            schema(health), pages(health),
            health.walBytes > Self.walLimit
                ? Finding(
                    "WAL", .warning,
                    "\(health.walBytes >> 20) MiB: was there a long backup, or no checkpoint?")
                : Finding("WAL", .ok, "\(health.walBytes >> 20) MiB"),
        ]
    }

    private func schema(_ health: DatabaseHealth) -> Finding {
        guard health.schemaVersion == health.knownSchemaVersion else {
            return Finding(
                "database", .warning,
                "schema version \(health.schemaVersion), migrated to \(health.knownSchemaVersion) "
                    + "by the process that opens it next")
        }
        if let difference = health.otherSchema {
            return Finding(
                "database", .warning,
                "schema: \(difference); no copy of it would be restored")
        }
        return Finding(
            "database", .ok, "schema version \(health.schemaVersion), \(health.bytes >> 20) MiB")
    }

    private func pages(_ health: DatabaseHealth) -> Finding {
        switch health.pages {
        case .sound: Finding("integrity", .ok, "every page is sound")
        case .soundSoFar(let whole, let others):
            Finding(
                "integrity", .ok,
                "sound as far as checked: all of \(counted(whole.count, "table")), the beginning of "
                    + "\(others.joined(separator: ", ")); `proxy-gpt-admin backup` looks at every page"
            )
        case .damaged(let how): Finding("integrity", .broken, how)
        }
    }

    // MARK: - Upstream

    private func upstream() async -> Finding {
        let check = "upstream"
        do {
            let settings = try context.settings.whole()
            let curl = CurlUpstream(
                CurlUpstream.Configuration(
                    key: settings.apiKey, keyHeader: settings.upstream.keyHeader,
                    certificateFile: settings.certificateFile, proxies: settings.upstreamProxy,
                    connectLimit: 10_000, firstByteLimit: 20_000, idleLimit: 10_000,
                    callLimit: 30_000, connections: 1))
            let call = UpstreamCall(
                method: "GET",
                url: try settings.upstream.url(path: UpstreamAddress.modelsPath, query: nil),
                headers: [Header("Accept", "application/json")], body: nil)
            let reply = try await curl.start(call)
            let status = reply.head.status
            await reply.cancel()
            switch status {
            case 200..<300: return Finding(check, .ok, "answers \(status)")
            case 401, 403: return Finding(check, .broken, "answers \(status): the key is refused")
            default: return Finding(check, .warning, "answers \(status)")
            }
        } catch is Settings.Problems {
            return Finding(check, .broken, "cannot be asked before the settings are valid")
        } catch {
            return Finding(check, .broken, "\((error as? Failure)?.message ?? "\(error)")")
        }
    }
}
