// proxy-gpt-streamer: holds `/chat/stream` and the WebSockets of the upstream. Wires the modules together,
// serves until it is asked to stop, ends all streams in good order and ends. Writes nothing durable but
// event rows: when it is killed, its clients come back and resume.

internal import EventLoop
internal import Glibc
internal import Logging
internal import Metrics
internal import ProxyGPT
internal import RedisStorage
internal import SQLStorage
internal import Service
internal import Streaming

@main
struct StreamerProgram {
    static func main() {
        ServiceProcess.main(
            "streamer",
            purpose: "Holds the streams of Proxy GPT and its WebSockets to the upstream, behind "
                + "nginx."
        ) { try await Streamer($0).run() }
    }
}

@EventLoop private final class Streamer {
    private let service: ServiceProcess
    private let settings: Settings
    private let logger: Logger

    init(_ service: ServiceProcess) {
        self.service = service
        settings = service.settings
        logger = service.logger
    }

    /// Serves until a signal comes, then until all streams have ended.
    func run() async throws {
        let lock = try StreamerLock(stateDirectory: settings.stateDirectory)
        defer { withExtendedLifetime(lock) {} }
        let storage = try await ServiceStorage(service, kind: .streamer)
        // The bus carries the ends of replies whose process died: this process has no frames of its own.
        let (log, bus) = try busAndLog(storage)
        try await storage.start(bus: bus) { bus.publish(StreamFrame(endOf: $0)) }
        let streaming = try await StreamingService(
            StreamingService.Dependencies(
                settings: settings, store: storage.sql.store, events: storage.sql.events, bus: bus,
                log: log, operators: storage.operators(bus: bus), clock: storage.clock,
                identifiers: storage.identifiers, scoreboard: storage.scoreboard, logger: logger))
        try service.awaitSignals()
        let tickers =
            storage.tickers()
            + streaming.chores.map { ServiceProcess.tick(every: $0.interval, $0.run) }
        try await streaming.listen(on: try listener())
        storage.scoreboard.set(.ready)
        await service.serve(isProbedInDrain: false) { streaming.report(to: $0) }
        storage.scoreboard.set(.draining)
        logger.info("streamer draining")
        try await streaming.drain()
        for ticker in tickers { ticker.cancel() }
        await streaming.finish()
        await storage.close()
    }

    /// The bus that the settings name, and what it keeps; without Redis all processes of the host share a
    /// file.
    private func busAndLog(_ storage: ServiceStorage) throws -> (log: any BusLog, bus: any Bus) {
        if let redis = storage.redis { return (redis.log, redis.bus) }
        let log = try SQLiteBusLog.open(
            file: settings.busFile, wakeup: wakeup(), process: storage.process,
            identifiers: storage.identifiers, scoreboard: storage.scoreboard, logger: logger)
        let bus = try SQLiteBus.open(
            file: settings.busFile, wakeup: settings.bellSocket, process: storage.process,
            identifiers: storage.identifiers, clock: storage.clock, logger: logger)
        log.watch { bus.isWritten }
        return (log, bus)
    }

    // MARK: - The service manager

    private func listener() throws -> Int32 {
        if let given = service.descriptor(named: "streamer") { return given }
        let listener = try Sockets.listener(at: settings.streamerSocket)
        chmod(settings.streamerSocket, 0o660)
        return listener
    }

    private func wakeup() -> SQLiteBusLog.WakeupAddress {
        service.descriptor(named: "bell").map { .descriptor($0) } ?? .path(settings.bellSocket)
    }
}
