internal import EventLoop
internal import ProxyGPT
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import SQLStorage

/// A log that knows how far the store has come, and remembers nothing else.
private final class AgingBus: Bus {
    private let state: Mutex<(mark: LogMark?, epochs: Int)>
    private let keepsCounts: Bool

    init(keepsCounts: Bool) {
        self.keepsCounts = keepsCounts
        state = Mutex((LogMark(epoch: "e1", storeCount: keepsCounts ? 0 : nil), 1))
    }

    var epoch: String? { state.withLock { $0.mark?.epoch } }

    func publish(_ frame: StreamFrame) {}
    func close() async {}
    func mark() async -> LogMark? { state.withLock { $0.mark } }

    func keep(storeCount: Int64, in epoch: String) async {
        guard keepsCounts else { return }
        state.withLock { $0.mark = LogMark(epoch: epoch, storeCount: storeCount) }
    }

    func beginAnew(after epoch: String) async -> Bool {
        state.withLock { state in
            guard state.mark?.epoch == epoch else { return true }
            state.epochs += 1
            state.mark = LogMark(epoch: "e\(state.epochs)", storeCount: keepsCounts ? 0 : nil)
            return true
        }
    }
}

@Suite struct AgeTests {
    @EventLoop private func hand(_ bus: AgingBus, to storages: SQLStorage...) {
        for storage in storages { storage.lease.bus = bus }
    }

    private func setBack(_ storage: SQLStorage, to count: Int64) async throws {
        _ = try await storage.database.transaction { transaction in
            try await transaction.execute(
                "UPDATE counters SET value = \(count) WHERE name = 'beats'")
        }
    }

    @Test(arguments: Engine.allCases)
    func `a log that knows of a later store begins anew, once for all processes`(
        on engine: Engine
    ) async throws {
        let place = try await Place(engine)
        let (one, other) = (try await place.open(), try await place.open())
        let bus = AgingBus(keepsCounts: true)
        await hand(bus, to: one, other)
        for storage in [one, other, one, other] { await storage.lease.compareAges() }
        #expect(bus.epoch == "e1")
        try await setBack(one, to: 1)
        for storage in [other, one, one, other] { await storage.lease.compareAges() }
        #expect(bus.epoch == "e2")
        // A process that starts knows nothing by itself.
        try await setBack(one, to: 1)
        let new = try await place.open()
        await hand(bus, to: new)
        try await new.lease.start()
        #expect(bus.epoch == "e3")
        for storage in [one, other, new] { await storage.close() }
    }

    @Test
    func `a server that was set back is noticed by processes that run, whatever the log knows`()
        async throws
    {
        let place = try await Place(.postgreSQL)
        let (one, other) = (try await place.open(), try await place.open())
        let bus = AgingBus(keepsCounts: false)
        await hand(bus, to: one, other)
        for storage in [one, other, one] { await storage.lease.compareAges() }
        try await setBack(one, to: 0)
        for storage in [one, other, one, other] { await storage.lease.compareAges() }
        #expect(bus.epoch == "e2")
        for storage in [one, other] { await storage.close() }
    }

    @Test func `nothing is counted where no log and no server could be of another age`()
        async throws
    {
        try await Place().with { storage in
            await hand(AgingBus(keepsCounts: false), to: storage)
            await storage.lease.compareAges()
            let count = try await storage.number(
                "SELECT value AS number FROM counters WHERE name = 'beats'")
            #expect(count == 0)
        }
    }
}
