internal import Gateway
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix

/// The connections and their fan-out, on a thread of their own.
struct StreamServer: Sendable {
    /// A socket at which connections are accepted.
    struct Listening: Sendable {
        fileprivate let channel: any Channel
    }

    /// Decides about a request; the answer comes on any thread.
    typealias Decide =
        @Sendable (Request, @escaping @Sendable (ConnectionHandler.Decision) -> Void) -> Void

    /// How long the last ones may take: twice what a peer is given to close.
    private let drainLimit = TimeAmount.seconds(4)

    let fanOut: LoopBound<FanOut>
    let calls: LoopBound<RealtimeCalls>
    private let group: MultiThreadedEventLoopGroup
    private let connections: NIOLoopBound<Connections>
    private let ticks: RepeatedTask

    /// Starts the thread; connections are accepted from `listen` on.
    static func start(
        _ dependencies: FanOut.Dependencies, _ realtime: RealtimeCalls.Dependencies
    ) async throws -> StreamServer {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let loop = group.next()
        return try await loop.submit {
            let fanOut = FanOut(on: loop, dependencies)
            let bound = LoopBound(fanOut, loop)
            let calls = LoopBound(RealtimeCalls(on: loop, realtime), loop)
            let ticks = loop.scheduleRepeatedTask(
                initialDelay: .seconds(1), delay: .seconds(1)
            ) { _ in
                bound.onLoop.tick()
                calls.onLoop.tick()
            }
            return StreamServer(
                fanOut: bound, calls: calls, group: group,
                connections: NIOLoopBound(Connections(on: loop), eventLoop: loop), ticks: ticks)
        }.get()
    }

    /// Begins to accept connections at a bound socket.
    func listen(on listener: Int32, decide: @escaping Decide) async throws -> Listening {
        let (bound, calls, connections) = (fanOut, calls, connections)
        let bootstrap = ServerBootstrap(group: group)
            // What a subscriber waits for is here and not in a buffer below.
            .childChannelOption(.writeBufferWaterMark, value: .init(low: 1, high: 1))
            .childChannelOption(
                .recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: 2048)
            )
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let services = ConnectionHandler.Services(
                        fanOut: bound.onLoop, connections: connections.value,
                        calls: calls.onLoop, decide: decide)
                    services.connections.opened()
                    channel.closeFuture.whenComplete { _ in connections.value.closed() }
                    let pipeline = channel.pipeline.syncOperations
                    let decoder = HTTPRequestDecoder(leftOverBytesStrategy: .dropBytes)
                    let transcoder = HeadTranscodingHandler(.request)
                    try pipeline.addHandler(transcoder)
                    try pipeline.addHandler(ByteToMessageHandler(decoder))
                    try pipeline.addHandler(ConnectionHandler(services, behind: transcoder))
                }
            }
        let channel = try await bootstrap.withBoundSocket(listener).get()
        return Listening(channel: channel)
    }

    /// Says what is open, from the loop that has it: no answer means that the loop hangs.
    func report(to answer: @escaping @Sendable (String) -> Void) {
        let connections = connections
        fanOut.execute { [calls] fanOut in
            answer(
                "\(fanOut.count) streams and \(calls.onLoop.count) calls in flight, "
                    + "\(connections.value.total) requests so far, "
                    + "\(connections.value.turnedAway) turned away")
        }
    }

    /// Stops accepting, ends all streams and returns when the connections are closed.
    func drain(closing listener: Listening) async throws {
        let (bound, calls, connections, drainLimit) = (fanOut, calls, connections, drainLimit)
        try await listener.channel.close()
        try await group.next().flatSubmit {
            bound.onLoop.drain()
            calls.onLoop.drain()
            let loop = connections.value.loop
            let none = connections.value.whenNone()
            let timeout = loop.scheduleTask(in: drainLimit) {}
            none.whenComplete { _ in timeout.cancel() }
            return timeout.futureResult.recover { _ in }
        }.get()
        ticks.cancel()
        try await group.shutdownGracefully()
    }
}
