internal import NIOCore

/// The way from other threads to what one loop owns.
struct LoopBound<Owned>: Sendable {
    private let owned: NIOLoopBound<Owned>
    private let loop: any EventLoop

    /// Called on the loop.
    init(_ owned: Owned, _ loop: any EventLoop) {
        self.owned = NIOLoopBound(owned, eventLoop: loop)
        self.loop = loop
    }

    /// What the loop owns. Called on the loop.
    var onLoop: Owned { owned.value }

    /// Runs `body` on the loop.
    func execute(_ body: @escaping @Sendable (Owned) -> Void) {
        loop.execute { body(owned.value) }
    }
}
