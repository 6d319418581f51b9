internal import ProxyGPT

/// A caller that is told once how a write ended.
protocol Waiter: Sendable {
    /// Called once, on the loop, after the commit; with the reason when there was none.
    func finish(_ failure: (any Error)?)
}

/// One write of a batch.
enum WriteItem: Sendable {
    case transaction(any TransactionJob)
    /// The opening row of a call.
    case open(EventRow)
    /// A closing row, or a whole one.
    case whole(EventRow)

    /// The size in a batch, roughly, in bytes.
    var size: Int {
        switch self {
        case .transaction: 1024
        case .open(let row), .whole(let row): row.size
        }
    }
}

/// An event on its way to the table.
final class EventRow: Sendable {
    let event: Event
    /// The moment of `monotonicMilliseconds` from which the row starts a batch by itself.
    let deadline: Int64
    private let continuation: UnsafeContinuation<Void, any Error>?

    init(
        _ event: Event, deadline: Int64 = 0,
        continuation: UnsafeContinuation<Void, any Error>? = nil
    ) {
        self.event = event
        self.deadline = deadline
        self.continuation = continuation
    }

    var size: Int {
        512 + (event.requestBody?.count ?? 0) + (event.responseBody?.count ?? 0)
    }
}

extension EventRow: Waiter {
    func finish(_ failure: (any Error)?) {
        if let failure {
            continuation?.resume(throwing: failure)
        } else {
            continuation?.resume()
        }
    }
}

/// A task that waits for an opening row.
struct OpeningWaiter: Waiter {
    let continuation: UnsafeContinuation<Void, any Error>

    func finish(_ failure: (any Error)?) {
        if let failure {
            continuation.resume(throwing: failure)
        } else {
            continuation.resume()
        }
    }
}
