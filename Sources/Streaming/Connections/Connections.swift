internal import NIOCore

/// Counts the connections of the streamer. Confined to the fan-out's loop.
final class Connections {
    /// Requests that are being decided about; more are turned away at once.
    static let waitingLimit = 1024

    let loop: any EventLoop
    private var open = 0
    /// How many there have been, and how many of them for which there was no place.
    private(set) var total = 0
    private(set) var turnedAway = 0
    private var none: [EventLoopPromise<Void>] = []
    var waiting = 0

    init(on loop: any EventLoop) {
        self.loop = loop
    }

    var isFull: Bool { waiting >= Self.waitingLimit }

    func opened() {
        open += 1
        total += 1
    }

    func wasTurnedAway() {
        turnedAway += 1
    }

    func closed() {
        open -= 1
        guard open == 0 else { return }
        for promise in none { promise.succeed() }
        none = []
    }

    /// Succeeds as soon as none is open.
    func whenNone() -> EventLoopFuture<Void> {
        let promise = loop.makePromise(of: Void.self)
        if open == 0 { promise.succeed() } else { none.append(promise) }
        return promise.futureResult
    }
}
