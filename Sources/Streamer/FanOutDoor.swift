internal import NIOCore

/// The way to the fan-out from other threads.
struct FanOutDoor: Sendable {
    private let fanOut: NIOLoopBound<FanOut>
    private let loop: any EventLoop

    /// Called on the loop.
    init(_ fanOut: FanOut, _ loop: any EventLoop) {
        self.fanOut = NIOLoopBound(fanOut, eventLoop: loop)
        self.loop = loop
    }

    /// The fan-out itself, for those who are on its loop.
    var fanOutOnLoop: FanOut { fanOut.value }

    /// Runs `body` on the fan-out's loop.
    func enter(_ body: @escaping @Sendable (FanOut) -> Void) {
        loop.execute { body(fanOut.value) }
    }
}
