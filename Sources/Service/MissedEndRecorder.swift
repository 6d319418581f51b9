package import EventLoop
package import Logging
package import ProxyGPT

/// Notes ends in the store that the bus has not carried in time, so that another process carries
/// them: the bus may be away for this process alone.
@EventLoop package final class MissedEndRecorder {
    /// Milliseconds from one check to the next.
    package nonisolated static let interval: Int64 = 250
    /// Milliseconds that an end may wait for the bus.
    private nonisolated static let overdueDelay: Int64 = 500
    /// Ends that are noted with one statement.
    private nonisolated static let batchSize = 200

    private let bus: any Bus
    private let store: any MissedEndStore
    private let clock: any Clock
    private let logger: Logger
    private var hasFailed = false

    package nonisolated init(
        bus: any Bus, store: any MissedEndStore, clock: any Clock, logger: Logger
    ) {
        self.bus = bus
        self.store = store
        self.clock = clock
        self.logger = logger
    }

    /// Notes the overdue ends.
    package func tick() async { await record(after: Self.overdueDelay) }

    /// Notes all ends that the bus has not carried. Called once, when the bus is closed.
    package func finish() async { await record(after: 0) }

    private func record(after milliseconds: Int64) async {
        var ids = bus.takeOverdueEnds(after: milliseconds)[...]
        while !ids.isEmpty {
            let batch = Array(ids.prefix(Self.batchSize))
            do {
                try await store.note(missedEnds: batch, now: clock.now())
                hasFailed = false
            } catch {
                if !hasFailed {
                    logger.warning("missed ends not noted", metadata: ["error": "\(error)"])
                }
                hasFailed = true
                bus.putBack(overdue: Array(ids))
                return
            }
            ids = ids.dropFirst(batch.count)
        }
    }
}
