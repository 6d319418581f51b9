package import Logging
package import ProxyGPT
internal import Synchronization

/// Says nothing.
package let silent = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })

/// Ids in ascending order.
package final class TestIdentifiers: IdentifierSource {
    private let count = Atomic<UInt64>(0)

    package init() {}

    package func next() -> String {
        let count = count.add(1, ordering: .relaxed).newValue
        return UUIDText.version7(
            milliseconds: 1_800_000_000_000 + Int64(count >> 12),
            counter: UInt16(truncatingIfNeeded: count) & 0xFFF, random: count)
    }
}

package let ids = TestIdentifiers()
package let now = Timestamp(milliseconds: 1_800_000_000_000)

/// A clock that stands until it is moved.
package final class TestClock: Clock {
    private let time: Mutex<Int64>

    package init(_ milliseconds: Int64 = 1_800_000_000_000) {
        time = Mutex(milliseconds)
    }

    package func now() -> Timestamp { time.withLock { Timestamp(milliseconds: $0) } }

    package func monotonicMicroseconds() -> Int64 { time.withLock { $0 * 1000 } }

    package func advance(seconds: Int64) { time.withLock { $0 += seconds * 1000 } }
}
