internal import EventLoop
internal import Logging
internal import ProxyGPT

/// A connection that is subscribed to one channel, made anew whenever it was lost.
@EventLoop final class Subscription {
    private let dialer: Dialer
    private let channel: String
    private let connectTimeout: Int64
    private let identifiers: any IdentifierSource
    private let logger: Logger
    private let began: () -> Void
    private let receive: ([UInt8]) -> Void
    private var pauses = Breaker()
    private var connection: RedisConnection?
    private var attempt: Task<Void, Never>?
    private var isStopped = false
    private var lastProblem: String?
    private(set) var isLive = false

    /// - Parameters:
    ///   - began: called whenever the subscription is active from now on.
    ///   - receive: called with each message.
    init(
        _ address: RedisAddress, channel: String, connectTimeout: Int64,
        identifiers: any IdentifierSource, logger: Logger, began: @escaping () -> Void,
        receive: @escaping ([UInt8]) -> Void
    ) {
        dialer = Dialer(address)
        self.channel = channel
        self.connectTimeout = connectTimeout
        self.identifiers = identifiers
        self.logger = logger
        self.began = began
        self.receive = receive
    }

    func start() {
        tryLater(after: 0)
    }

    func stop() {
        isStopped = true
        attempt?.cancel()
        drop()
    }

    /// Gives up a connection that seems to be deaf.
    func renew() {
        guard connection != nil, !isStopped else { return }
        drop()
        tryLater(after: 0)
    }

    private func drop() {
        let dropped = connection
        connection = nil
        isLive = false
        dropped?.close()
    }

    private func tryLater(after milliseconds: Int64) {
        guard !isStopped else { return }
        attempt = EventLoop.spawn { [weak self] in
            await EventLoop.sleep(milliseconds: milliseconds)
            await self?.tryNow()
        }
    }

    private func tryNow() async {
        do {
            guard !isStopped else { return }
            let opened = try await dialer.open(connectTimeout: connectTimeout) {
                [weak self] connection, reason in
                guard let self, self.connection === connection else { return }
                lose(reason)
            }
            guard !isStopped else {
                opened.close()
                return
            }
            connection = opened
            guard opened.isOpen else {
                // It ended before it had an owner.
                lose("the connection ended at once")
                return
            }
            opened.subscribe(
                to: channel,
                subscribed: { [weak self] in
                    guard let self, connection === opened else { return }
                    isLive = true
                    lastProblem = nil
                    pauses.succeeded()
                    began()
                },
                receive: { [weak self] bytes in
                    guard let self, connection === opened else { return }
                    receive(bytes)
                })
            EventLoop.schedule(afterMilliseconds: connectTimeout) { [weak self] in
                guard let self, connection === opened, !isLive else { return }
                lose("no answer in time")
            }
        } catch {
            report("\(error)")
            tryLater(after: pauses.nextPause(jitter: identifiers.number))
        }
    }

    private func lose(_ problem: String) {
        report(problem)
        drop()
        tryLater(after: pauses.nextPause(jitter: identifiers.number))
    }

    /// A problem that lasts is logged once.
    private func report(_ problem: String) {
        guard problem != lastProblem else { return }
        lastProblem = problem
        logger.warning("bus is not heard", metadata: ["redis.error": "\(problem)"])
    }
}
