// All randomness of the product, from libcrypto's generator, and the system's clock.

internal import COpenSSL
internal import Glibc
package import ProxyGPT
internal import Synchronization

package enum Randomness {
    /// Returns unpredictable bytes, fit for secrets. RAND_bytes(3): fails only when the operating
    /// system gives no entropy at all, and then nothing here may go on.
    package static func bytes(_ count: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        let result = RAND_bytes(&bytes, Int32(count))
        precondition(result == 1, "the system gives no randomness")
        return bytes
    }
}

/// The system's clocks.
package struct SystemClock: Clock {
    package init() {}

    package func now() -> Timestamp {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Timestamp(milliseconds: Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000)
    }

    package func monotonicMicroseconds() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1000
    }
}

/// Makes UUIDs of version 7 that sort by the order of their creation within a process: a counter
/// orders those of one millisecond (RFC 9562, section 6.2, method 1).
package final class RandomIdentifiers: IdentifierSource {
    private struct State {
        var milliseconds: Int64 = 0
        var counter: UInt16 = 0
        /// Random bytes in advance: the generator's call costs more than all the rest.
        var randomness: [UInt8] = []

        mutating func random() -> UInt64 {
            if randomness.count < 8 { randomness = Randomness.bytes(512) }
            var number: UInt64 = 0
            for byte in randomness.suffix(8) { number = number << 8 | UInt64(byte) }
            randomness.removeLast(8)
            return number
        }
    }

    private let clock: any Clock
    private let state = Mutex(State())

    package init(clock: any Clock) {
        self.clock = clock
    }

    package func next() -> String {
        let now = clock.now().milliseconds
        let (milliseconds, counter, random) = state.withLock { state in
            let random = state.random()
            if now > state.milliseconds {
                state.milliseconds = now
                // Half the range is left for those that follow in this millisecond.
                state.counter = UInt16(truncatingIfNeeded: random >> 53)
            } else if state.counter < 0x0FFF {
                state.counter += 1
            } else {
                // Borrowed from the future, also when the clock was set back.
                state.milliseconds += 1
                state.counter = 0
            }
            return (state.milliseconds, state.counter, random)
        }
        return UUIDText.version7(milliseconds: milliseconds, counter: counter, random: random)
    }
}
