// Jumps of this host's clock, and its lead over the database's clock.

internal import EventLoop
internal import Logging
internal import ProxyGPT

extension ProcessLease {
    /// Microseconds for which nothing is deleted after a jump of the clock of more than a day.
    private nonisolated static let holdTime: Int64 = 3_600_000_000

    /// A clock that was set forward by more than a day makes every row old at once: nothing is
    /// deleted for a while, so that the operator has time to notice.
    func noteJump(_ times: (now: Timestamp, monotonic: Int64)) {
        defer { lastTimes = times }
        guard !database.dialect.hasServer, let lastTimes else { return }
        let jump =
            (times.now.milliseconds &- lastTimes.now.milliseconds)
            &- (times.monotonic &- lastTimes.monotonic) / 1000
        if jump > Timestamp.dayLength { hold(jump) }
    }

    func hold(_ jump: Int64) {
        holdsUntil = clock.monotonicMicroseconds() &+ Self.holdTime
        logger.warning(
            "the clock has jumped forward: nothing is deleted for an hour",
            metadata: ["clock.jump_seconds": "\(jump / 1000)"])
    }

    /// Keeps how far this host's clock is from the database's, which was read at some moment between
    /// `before` and `spent` microseconds later.
    func compareClocks(_ before: Timestamp, _ moment: Timestamp, spent: Int64) {
        guard database.dialect.clock != nil else { return }
        let lead = Self.lead(before, moment, spent: spent)
        let wasFar = abs(clockLead) > ClockTolerance.warning
        clockLead = lead
        if abs(lead) > ClockTolerance.warning, !wasFar {
            logger.warning(
                "this host's clock is not the database's",
                metadata: ["clock.ahead_ms": "\(lead)"])
        }
    }

    /// How far the host's clock is ahead at least, in milliseconds.
    private nonisolated static func lead(
        _ before: Timestamp, _ moment: Timestamp, spent: Int64
    ) -> Int64 {
        let early = before.milliseconds &- moment.milliseconds
        return early > 0 ? early : min(early &+ spent / 1000, 0)
    }

    /// Milliseconds that this host's clock is ahead of the database's, measured now; nil where that is its
    /// own.
    func measureClockLead() async throws -> Int64? {
        guard database.dialect.clock != nil else { return nil }
        let times = (now: clock.now(), monotonic: clock.monotonicMicroseconds())
        let moment = try await database.currentTime(times.now)
        return Self.lead(
            times.now, moment, spent: clock.monotonicMicroseconds() &- times.monotonic)
    }
}
