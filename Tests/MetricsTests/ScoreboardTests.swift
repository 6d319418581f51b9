import Glibc
import Testing

@testable import Metrics

@Suite struct ScoreboardTests {
    private let registry = MetricRegistry(routes: ["/a", "/b", "other"])

    /// A new directory below /tmp, which no test removes.
    private func directory() throws -> String {
        var template = Array("/tmp/scoreboard-XXXXXX".utf8CString)
        let path = template.withUnsafeMutableBufferPointer { buffer in
            buffer.baseAddress.flatMap { mkdtemp($0) }.map { String(cString: $0) }
        }
        return try #require(path) + "/boards"
    }

    private func value(_ name: String, in text: String) -> Double? {
        text.split(separator: "\n").first { $0.hasPrefix(name + " ") }
            .flatMap { Double($0.dropFirst(name.utf8.count + 1)) }
    }

    @Test func `metrics of all processes are summed`() throws {
        let path = try directory()
        let boards = ScoreboardDirectory(path, registry)
        let first = boards.makeScoreboard(.worker, name: "1", startedAt: 5_000_000)
        let second = boards.makeScoreboard(.streamer, name: "2", startedAt: 7_000_000)
        #expect(first.problem == nil && second.problem == nil)
        for board in [first.board, second.board] {
            board.began(route: 1, at: 1)
            board.ended(route: 1, status: 200, after: 1500)
            board.countTokens(model: "m", prompt: 3, completion: 4)
        }
        let text = try boards.exposition(version: "1")
        #expect(value(#"proxy_gpt_requests_total{route="/b",status="2xx"}"#, in: text) == 2)
        #expect(
            value(
                #"proxy_gpt_request_seconds_bucket{route="/b",status="2xx",le="0.0025"}"#, in: text)
                == 2)
        #expect(
            value(#"proxy_gpt_request_seconds_sum{route="/b",status="2xx"}"#, in: text) == 0.003)
        #expect(value(#"proxy_gpt_processes{process="worker"}"#, in: text) == 1)
        #expect(
            value(#"proxy_gpt_process_start_time_seconds{process="streamer"}"#, in: text) == 7)
        #expect(
            value(#"proxy_gpt_tokens_total{model="m",kind="completion"}"#, in: text) == 8)
        #expect(try boards.processes().map(\.kind) == ["worker", "streamer"])
    }

    @Test func `counters of a dead process stay and its gauges go`() throws {
        let path = try directory()
        let boards = ScoreboardDirectory(path, registry)
        do {
            let dead = boards.makeScoreboard(.worker, name: "1", startedAt: 1).board
            dead.count(dead.registry.loginFailures, by: 5)
            dead.countTokens(model: "m", prompt: 3, completion: 4)
            dead.began(route: 0, at: 1)
            let text = try boards.exposition(version: "1")
            #expect(value("proxy_gpt_login_failures_total", in: text) == 5)
            #expect(value(#"proxy_gpt_in_flight{process="worker"}"#, in: text) == 1)
        }
        for _ in 0..<3 {
            let text = try boards.exposition(version: "1")
            #expect(value("proxy_gpt_login_failures_total", in: text) == 5)
            #expect(value(#"proxy_gpt_tokens_total{model="m",kind="prompt"}"#, in: text) == 3)
            #expect(value(#"proxy_gpt_in_flight{process="worker"}"#, in: text) == 0)
            #expect(value(#"proxy_gpt_processes{process="worker"}"#, in: text) == 0)
        }
        #expect(try boards.processes().isEmpty)
    }

    @Test func `a file that was added and not removed is not added twice`() throws {
        let path = try directory()
        let boards = ScoreboardDirectory(path, registry)
        do {
            let dead = boards.makeScoreboard(.worker, name: "1", startedAt: 1).board
            dead.count(dead.registry.loginFailures, by: 5)
        }
        #expect(link(path + "/1.board", path + "/copy") == 0)
        _ = try boards.exposition(version: "1")
        #expect(rename(path + "/copy", path + "/1.board") == 0)
        let text = try boards.exposition(version: "1")
        #expect(value("proxy_gpt_login_failures_total", in: text) == 5)
        #expect(access(path + "/1.board", F_OK) != 0)
    }

    @Test func `another dead file between adding and removing changes nothing`() throws {
        let path = try directory()
        let boards = ScoreboardDirectory(path, registry)
        do {
            let dead = boards.makeScoreboard(.worker, name: "2", startedAt: 1).board
            dead.count(dead.registry.loginFailures, by: 5)
        }
        #expect(link(path + "/2.board", path + "/copy") == 0)
        _ = try boards.exposition(version: "1")
        do {
            let other = boards.makeScoreboard(.worker, name: "1", startedAt: 1).board
            other.count(other.registry.loginFailures, by: 2)
            #expect(rename(path + "/copy", path + "/2.board") == 0)
        }
        let text = try boards.exposition(version: "1")
        #expect(value("proxy_gpt_login_failures_total", in: text) == 7)
    }

    /// A child that was just forked has such copies.
    @Test func `copies of descriptors keep no lock`() throws {
        let path = try directory()
        let boards = ScoreboardDirectory(path, registry)
        var copies: [Int32] = []
        defer { for copy in copies { close(copy) } }
        do {
            let dead = boards.makeScoreboard(.worker, name: "1", startedAt: 1).board
            dead.count(dead.registry.loginFailures, by: 5)
            dead.began(route: 0, at: 1)
            copies.append(dup(dead.counters.descriptor))
        }
        let lock = try boards.lock(tries: 1)
        copies.append(dup(lock))
        ScoreboardDirectory.unlock(lock)
        #expect(copies.allSatisfy { $0 >= 0 })
        let text = try boards.exposition(version: "1")
        #expect(value("proxy_gpt_login_failures_total", in: text) == 5)
        #expect(value(#"proxy_gpt_in_flight{process="worker"}"#, in: text) == 0)
    }

    @Test func `a dead process whose file cannot be added is not shown as running`() throws {
        let path = try directory()
        let boards = ScoreboardDirectory(path, registry)
        do {
            let dead = boards.makeScoreboard(.worker, name: "1", startedAt: 1).board
            dead.count(dead.registry.loginFailures, by: 5)
            dead.began(route: 0, at: 1)
            mkdir(path + "/past-" + String(registry.fingerprint, radix: 16) + ".new", 0o700)
        }
        let text = try boards.exposition(version: "1")
        #expect(value("proxy_gpt_login_failures_total", in: text) == 5)
        #expect(value(#"proxy_gpt_in_flight{process="worker"}"#, in: text) == 0)
        #expect(try boards.processes().isEmpty)
    }

    @Test func `foreign and broken files do no harm`() throws {
        let path = try directory()
        let boards = ScoreboardDirectory(path, registry)
        let (board, _) = boards.makeScoreboard(.worker, name: "1", startedAt: 1)
        board.count(registry.loginFailures)
        func write(_ name: String, _ bytes: [UInt8]) throws {
            let file = try #require(fopen(path + "/" + name, "w"))
            fwrite(bytes, 1, bytes.count, file)
            fclose(file)
        }
        try write("short.board", [1, 2, 3])
        try write("empty.board", [])
        try write(
            "past-" + String(registry.fingerprint, radix: 16), [UInt8](repeating: 0xFF, count: 4096)
        )
        mkdir(path + "/directory.board", 0o700)
        // Of another layout, and alive.
        let other = ScoreboardDirectory(path, MetricRegistry(routes: ["/c"]))
        let (stranger, _) = other.makeScoreboard(.worker, name: "2", startedAt: 1)
        stranger.count(stranger.registry.loginFailures, by: 100)
        let text = try boards.exposition(version: "1")
        #expect(value("proxy_gpt_login_failures_total", in: text) == 1)
        withExtendedLifetime((board, stranger)) {}
    }

    @Test func `a process without a directory counts in memory`() {
        let boards = ScoreboardDirectory("/proc/none/boards", registry)
        let (board, problem) = boards.makeScoreboard(.worker, name: "1", startedAt: 1)
        #expect(problem != nil)
        board.began(route: 0, at: 1)
        #expect(board.inFlight == 1)
        board.ended(route: 0, status: 503, after: 1)
        #expect(board.inFlight == 0 && board.requests == 1 && board.errors == 1)
        #expect(throws: ScoreboardDirectory.Busy.self) { try boards.exposition(version: "1") }
    }

    @Test func `at most 32 models have counters of their own`() throws {
        let path = try directory()
        let boards = ScoreboardDirectory(path, registry)
        let (board, _) = boards.makeScoreboard(.worker, name: "1", startedAt: 1)
        for number in 0..<100 { board.countTokens(model: "m\(number)", prompt: 1, completion: 1) }
        board.countTokens(model: "a \"quoted\" name\n", prompt: 1, completion: 0)
        board.countTokens(model: nil, prompt: 1, completion: 0)
        let text = try boards.exposition(version: "1")
        #expect(value(#"proxy_gpt_tokens_total{model="m31",kind="prompt"}"#, in: text) == 1)
        #expect(value(#"proxy_gpt_tokens_total{model="other",kind="prompt"}"#, in: text) == 70)
        #expect(!text.contains("quoted"))
    }

    @Test func `values out of range are not counted`() {
        let board = Scoreboard(registry)
        board.count(registry.requests, 10_000)
        board.count(registry.requests, -1)
        board.count(registry.loginFailures, by: -5)
        board.observe(registry.requestTime, 10_000, 1)
        board.observe(registry.upstreamTime, 0, -5)
        board.set(registry.subscribers, 7, 1)
        #expect(board.counters.all.dropFirst(CounterLayout.headCount).reduce(0, &+) == 2)
    }
}
