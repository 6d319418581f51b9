@testable import Gateway
import Metrics
import ProxyGPT
import Testing

@testable import HTTPAPI

@Suite struct OperatorEndpointTests {
    @Test("Every route is counted under its own name, and everything else under a few")
    func routes() {
        let names = Endpoints.countedRoutes
        #expect(Set(names).count == names.count)
        for route in Endpoints.all {
            #expect(names[Endpoints.countedIndex(of: route.path)] == route.path)
        }
        #expect(names[Endpoints.countedIndex(of: "/v1/chat/completions")] == "/v1/chat/completions")
        #expect(names[Endpoints.countedIndex(of: "/v1/anything/else")] == "/v1/*")
        let realtime = Endpoints.countedIndex(ofWebSocket: "/v1/realtime")
        #expect(names[realtime] == "/v1/realtime")
        let others = Endpoints.countedIndex(ofWebSocket: "/v1/responses")
        #expect(names[others] == "/v1/* websocket")
        for path in ["", "/", "/v1", "/wp-login.php", "/user/session/", "*"] {
            #expect(names[Endpoints.countedIndex(of: path)] == "other")
        }
    }

    private struct Health: StorageHealth {
        var well = true
        var hosts: Int? = 1
        var lead: Int64 = 0
        func isHealthy() async -> Bool { well }
        func clockLead() async -> Int64 { lead }
        func hostCount() async throws -> Int {
            guard let hosts else { throw Failure.hidden }
            return hosts
        }
    }

    private func endpoint(_ health: Health, redis: String = "") throws -> OperatorEndpoint {
        let settings = try Settings(
            values: ["API_URL": "http://localhost:1", "REDIS_ADDRESS": redis])
        return OperatorEndpoint(
            readiness: Readiness(storage: health, bus: NoBus(), settings: settings),
            boards: ScoreboardDirectory(
                "/proc/none", MetricRegistry(routes: Endpoints.countedRoutes)),
            version: "1", now: { Timestamp(milliseconds: 0) }, pause: {})
    }

    private func request(
        _ path: String, method: String = "GET", isOperators: Bool = false
    ) -> Request {
        Request(
            id: "r", method: method, target: path, headers: [], clientAddress: "", scheme: "http",
            contentLength: nil, body: EmptyBody(), isOperators: isOperators)
    }

    private struct EmptyBody: BodySource {
        let length: Int64? = nil
        func next() async throws -> [UInt8]? { nil }
    }

    @Test("A worker that reaches the database is ready, alone or with Redis")
    func readiness() async throws {
        func status(_ health: Health, redis: String = "") async throws -> Int? {
            try await endpoint(health, redis: redis).answer(request("/ready"))?.status
        }
        #expect(try await status(Health()) == 200)
        #expect(try await status(Health(well: false)) == 503)
        #expect(try await status(Health(hosts: 2)) == 503)
        #expect(try await status(Health(hosts: nil)) == 503)
        #expect(try await status(Health(hosts: 2), redis: "redis://localhost") == 200)
        #expect(try await status(Health(lead: -60)) == 200)
        #expect(try await status(Health(lead: 61)) == 503)
        #expect(try await status(Health(lead: -61)) == 503)
        let live = try await endpoint(Health(well: false)).answer(request("/live"))
        #expect(live?.status == 200)
    }

    @Test("Balancers may ask with GET, HEAD and OPTIONS, and the status is the answer")
    func methods() async throws {
        for (health, status) in [(Health(), 200), (Health(well: false), 503)] {
            let endpoint = try endpoint(health)
            for method in ["GET", "HEAD", "OPTIONS"] {
                let ready = await endpoint.answer(request("/ready", method: method))
                #expect(ready?.status == status)
                #expect(await endpoint.answer(request("/live", method: method))?.status == 200)
            }
            let refused = await endpoint.answer(request("/ready", method: "DELETE"))
            #expect(refused?.status == 405)
            let allowed = refused?.headers.first { $0.name == "Allow" }?.value
            #expect(allowed == "GET, HEAD, OPTIONS")
        }
        let figures = request("/metrics", method: "OPTIONS", isOperators: true)
        #expect(try await endpoint(Health()).answer(figures)?.status == 405)
    }

    @Test("Figures are for operators, and nobody waits for ever while they are read")
    func figures() async throws {
        let endpoint = try endpoint(Health())
        #expect(await endpoint.answer(request("/metrics"))?.status == nil)
        #expect(await endpoint.answer(request("/status?full"))?.status == nil)
        #expect(await endpoint.answer(request("/metrics", isOperators: true))?.status == 503)
        #expect(await endpoint.answer(request("/chat/index", isOperators: true))?.status == nil)
    }
}
