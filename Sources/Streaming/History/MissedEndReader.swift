internal import EventLoop
internal import Logging
internal import ProxyGPT

/// Carries ends that the bus did not take from the processes that wrote them, twice a second: it may be away for
/// those alone. The log takes each end once, whichever process brings it.
@EventLoop final class MissedEndReader {
    /// Milliseconds between polls.
    nonisolated static let interval: Int64 = 500

    private let bus: any Bus
    private let store: any MissedEndStore
    private let clock: any Clock
    private let logger: Logger

    nonisolated init(
        bus: any Bus, store: any MissedEndStore, clock: any Clock, logger: Logger
    ) {
        self.bus = bus
        self.store = store
        self.clock = clock
        self.logger = logger
    }

    /// Carries what there is. While the bus is away here as well everything stays where it is.
    func poll() async {
        do {
            guard await bus.isReachable() else { return }
            let missed = try await store.missedEnds(now: clock.now())
            if missed.ids.isEmpty { return }
            if missed.demandNewEpoch {
                guard let mark = await bus.mark(), await bus.beginAnew(after: mark.epoch) else {
                    return
                }
                logger.notice(
                    "bus log lacks too many ends: it begins anew",
                    metadata: ["bus.missed_ends": "\(missed.ids.count)"])
                try await store.forget(missedEnds: missed.ids)
                return
            }
            for frame in missed.frames where !bus.isPending(frame.messageID) { bus.publish(frame) }
            await bus.flush()
            guard await bus.isReachable() else { return }
            let carried = missed.ids.filter { !bus.isPending($0) }
            if !carried.isEmpty { try await store.forget(missedEnds: carried) }
        } catch {
            logger.error("missed ends not read", metadata: ["error": "\(error)"])
        }
    }
}
