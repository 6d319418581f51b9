// Stops statements of SQLite that take too long.
//
// A thread of its own, since a check of pages is one instruction of SQLite's machine: it calls no
// progress handler, but checks whether it was interrupted (sqlite3_interrupt).

internal import CSQLite
internal import EventLoop
internal import Glibc
internal import Synchronization

/// Interrupts whatever a connection runs, from a moment on, until it is stopped itself.
final class InterruptTimer: Sendable {
    private struct State {
        /// Nil once the timer is stopped: the connection may be closed then.
        nonisolated(unsafe) var connection: OpaquePointer?
        var hasFired = false
    }

    private let state: Mutex<State>

    init(_ connection: OpaquePointer, after milliseconds: Int64) {
        state = Mutex(State(connection: connection))
        let end = monotonicMilliseconds() &+ milliseconds
        startThread(name: "sqlite-timer") { [self] in
            // Again and again, since between two statements there is nothing to interrupt.
            while fire(at: end) { usleep(1000) }
        }
    }

    /// Interrupts if it is time; false once the timer is stopped.
    private func fire(at end: Int64) -> Bool {
        state.withLock { state in
            guard let connection = state.connection else { return false }
            if monotonicMilliseconds() >= end {
                state.hasFired = true
                sqlite3_interrupt(connection)
            }
            return true
        }
    }

    /// Interrupts nothing any more; returns whether it has.
    func stop() -> Bool {
        state.withLock { state in
            state.connection = nil
            return state.hasFired
        }
    }
}
