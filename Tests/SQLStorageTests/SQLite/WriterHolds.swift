internal import Glibc
internal import Synchronization
internal import TestSupport

@testable internal import SQLStorage

/// Measures for how long a transaction has the writer, in processor time: what the machine does beside
/// is not ours.
final class WriterHolds: Sendable {
    private let state = Mutex((entered: UInt64(0), longest: UInt64(0)))

    /// What `SQLStorage.Tuning.observe` calls.
    var observer: @Sendable (Writer.Step) -> Void {
        { [self] step in
            let time = threadNanoseconds()
            state.withLock { state in
                switch step {
                case .entered: state.entered = time
                case .leaving: state.longest = max(state.longest, time - state.entered)
                default: break
                }
            }
        }
    }

    /// The longest so far, in milliseconds.
    var longest: UInt64 { state.withLock { $0.longest } / 1_000_000 }

    func startOver() {
        state.withLock { $0.longest = 0 }
    }
}
