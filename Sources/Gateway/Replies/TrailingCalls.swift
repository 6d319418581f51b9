internal import ProxyGPT
internal import Synchronization

/// Calls whose reply is complete although the upstream has not ended its answer.
///
/// The end follows as a rule within a millisecond, and the connection can then serve the next call;
/// so the rest is read, and ignored. An upstream that does not end its answer is left after two ticks.
final class TrailingCalls: Sendable {
    /// The most bytes that are read behind a reply.
    private static let byteLimit = 64 * 1024

    private struct State {
        var calls: [Int: (reply: any UpstreamReply, ticks: Int)] = [:]
        var lastNumber = 0
    }

    private let background: any Background
    private let state = Mutex(State())

    init(_ background: any Background) {
        self.background = background
    }

    /// Reads the rest of an answer, which this object owns from now on.
    func drain(_ reply: any UpstreamReply) {
        let number = state.withLock { state in
            state.lastNumber += 1
            state.calls[state.lastNumber] = (reply, 0)
            return state.lastNumber
        }
        background.start(counts: false) {
            var count = 0
            do {
                while count <= Self.byteLimit, let bytes = try await reply.next() {
                    count += bytes.count
                }
            } catch {
                // The reply was whole: how the connection ends changes nothing.
            }
            await reply.cancel()
            self.state.withLock { $0.calls[number] = nil }
        }
    }

    /// Ends the calls that have been here for long. Called once a second.
    package func tick() async {
        let overdue = state.withLock { state in
            state.calls = state.calls.mapValues { ($0.reply, $0.ticks + 1) }
            return state.calls.values.filter { $0.ticks > 1 }.map(\.reply)
        }
        for reply in overdue { await reply.cancel() }
    }
}
