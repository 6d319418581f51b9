internal import EventLoop
internal import Synchronization

/// What a test waited for did not come.
package struct Impatience: Error {
    package let place: String

    package init(file: String = #fileID, line: Int = #line) {
        place = "\(file):\(line)"
    }
}

/// Waits for `condition`, 15 s at most.
package func eventually(
    file: String = #fileID, line: Int = #line, _ condition: () async throws -> Bool
) async throws {
    for _ in 0..<3000 {
        if try await condition() { return }
        await EventLoop.sleep(milliseconds: 5)
    }
    throw Impatience(file: file, line: line)
}

/// Opens once; waiting tasks go on then, or when they are cancelled.
package final class Gate: Sendable {
    private struct State {
        var isOpen = false
        var waiters: [UnsafeContinuation<Void, Never>] = []
    }

    private let state = Mutex(State())

    package init() {}

    package func open() {
        let waiters = state.withLock { state in
            state.isOpen = true
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.resume() }
    }

    package func wait() async {
        await withTaskCancellationHandler {
            await withUnsafeContinuation { continuation in
                let isOpen = state.withLock { state in
                    if !state.isOpen { state.waiters.append(continuation) }
                    return state.isOpen
                }
                if isOpen { continuation.resume() }
            }
        } onCancel: {
            open()
        }
    }
}
