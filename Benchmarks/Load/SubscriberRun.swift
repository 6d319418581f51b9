// A run that subscribes and waits: all streams are opened, that is said, and what comes is measured
// until standard input ends.
//
// Owns all connections and the report; confined to one event loop.

import Glibc
import NIOCore
import NIOPosix

/// Opens the subscriptions and gathers what they receive.
final class SubscriberRun {
    /// Connections that are being made at once.
    private static let opening = 64

    private let options: Options
    private let loop: any EventLoop
    private let address: SocketAddress
    private let requests: [ByteBuffer]
    private let isOpen: EventLoopPromise<Void>
    private var started = 0
    private var open = 0
    private var failed = 0
    private var lost = 0
    private var bytes = 0
    /// Older marks were not meant for these subscribers: a chat's running replies come first.
    private(set) var begin = Int64.max
    private var latencies = Histogram()

    private init(_ options: Options, on loop: any EventLoop) throws {
        self.options = options
        self.loop = loop
        address = try options.address()
        requests = options.urls.map { options.requestBytes(to: $0) }
        isOpen = loop.makePromise()
    }

    /// Runs until standard input ends or time is over; prints a line when all streams are open and
    /// the report at the end.
    static func run(_ options: Options, on loop: any EventLoop) throws {
        let bound = try loop.submit {
            let run = try SubscriberRun(options, on: loop)
            for _ in 0..<min(opening, options.connections) { run.openNext() }
            return NIOLoopBound(run, eventLoop: loop)
        }.wait()
        try loop.flatSubmit { bound.value.isOpen.futureResult }.wait()
        print(try loop.submit { bound.value.json }.wait())
        fflush(nil)
        waitForEnd(options.seconds)
        print(try loop.submit { bound.value.json }.wait())
    }

    private static func waitForEnd(_ seconds: Double) {
        var input = pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0)
        _ = poll(&input, 1, Int32(seconds * 1000))
    }

    // MARK: - What subscriptions tell

    private func openNext() {
        guard started < options.connections else { return }
        let number = started
        started += 1
        let subscription = Subscription(
            self, requests[number % requests.count], isWebSocket: options.subscribes == .webSocket,
            isStalled: number < options.stalled)
        let bound = NIOLoopBound(subscription, eventLoop: loop)
        var bootstrap = ClientBootstrap(group: loop)
            // One look at each socket a turn: the others' bytes wait meanwhile.
            .channelOption(.maxMessagesPerRead, value: 1)
            .channelOption(
                .recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: 4096)
            )
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(bound.value)
                }
            }
        if subscription.isStalled {
            bootstrap = bootstrap.channelOption(.socketOption(.so_rcvbuf), value: 4096)
        }
        bootstrap.connect(to: address).assumeIsolated().whenFailure { _ in
            self.closed(subscription, wasOpen: false)
        }
    }

    func opened(_ subscription: Subscription) {
        open += 1
        proceed()
    }

    func closed(_ subscription: Subscription, wasOpen: Bool) {
        if wasOpen {
            open -= 1
            lost += 1
        } else {
            failed += 1
            proceed()
        }
    }

    private func proceed() {
        openNext()
        guard open + lost + failed == options.connections else { return }
        begin = Clock.microseconds()
        isOpen.succeed()
    }

    func received(_ count: Int) {
        bytes += count
    }

    func delivered(after microseconds: Int64) {
        latencies.record(nanoseconds: microseconds * 1000)
    }

    private var json: String {
        Report.object([
            ("open", "\(open)"), ("failed", "\(failed)"), ("lost", "\(lost)"),
            ("bytes_received", "\(bytes)"), ("deliveries", "\(latencies.count)"),
            ("latency_us", Report.object(latencies)),
        ])
    }
}

/// The time that marks are in: that of all processes of the host.
enum Clock {
    static func microseconds() -> Int64 {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        return Int64(now.tv_sec) * 1_000_000 + Int64(now.tv_nsec) / 1000
    }
}
