// The half of the streamer that waits for the database: on the storage loop, never on the loop of the
// connections. Each request comes with a closure for the answer, which is called on the storage loop.

internal import EventLoop
internal import Gateway
internal import Logging
internal import ProxyGPT

/// What the fan-out asks of the storage loop.
protocol StreamRequests: Sendable {
    /// Reads a history, for `viewer` only if it still may. Replies come in the order of the requests.
    /// - Parameter last: see `HistoryReader.history`.
    func readHistory(
        of chat: Chat.ID, _ resumption: Resumption, since last: FrameID?,
        for viewer: Subscription?,
        reply: @escaping @Sendable (HistoryReply) -> Void)

    /// Finds out of each whether it still may read; nil where that could not be found out.
    func check(
        _ subscriptions: [(number: Int, subscription: Subscription)],
        reply: @escaping @Sendable ([(number: Int, isAllowed: Bool?)]) -> Void)

    /// Finds out what has become of the messages.
    func findEnded(
        _ messages: [(chat: Chat.ID, message: Message.ID)],
        reply: @escaping @Sendable (FoundEnds) -> Void)

    /// Puts the end of a message into the log, unless it is there already.
    func publish(end: StreamFrame)

    /// Records the end of a stream.
    func record(_ subscription: Subscription, _ ending: Ending, bytesOut: Int64)
}

/// What has become of messages that subscribers saw running; messages that still run are left out.
struct FoundEnds: Sendable {
    var ended: [Message] = []
    /// Those that the store does not have: they went with their chat, or with a database that another one
    /// has replaced.
    var gone: [(chat: Chat.ID, message: Message.ID)] = []
}

/// Answers the loop of the connections out of store and bus.
@EventLoop final class StorageGateway: StreamRequests {
    private struct Reading: Sendable {
        let chat: Chat.ID
        let resumption: Resumption
        let last: FrameID?
        let viewer: Subscription?
        let reply: @Sendable (HistoryReply) -> Void
    }

    private nonisolated let streams: StreamEndpoint
    nonisolated let calls: RealtimeEndpoint
    private nonisolated let operators: OperatorEndpoint
    private nonisolated let store: any MessageStore
    private nonisolated let histories: HistoryReader
    private nonisolated let bus: any Bus
    nonisolated let logger: Logger
    /// One is read after the other; there are at most as many as there are subscribers.
    private var waiting: [Reading] = []
    private var isReading = false
    let records = PendingRecords()

    nonisolated init(
        streams: StreamEndpoint, calls: RealtimeEndpoint, operators: OperatorEndpoint,
        store: any MessageStore, histories: HistoryReader, bus: any Bus, logger: Logger
    ) {
        self.streams = streams
        self.calls = calls
        self.operators = operators
        self.store = store
        self.histories = histories
        self.bus = bus
        self.logger = logger
    }

    /// Decides about a request: the endpoint that its path belongs to does.
    nonisolated func answer(
        _ request: Request, reply: @escaping @Sendable (ConnectionHandler.Decision) -> Void
    ) {
        EventLoop.spawn { reply(await self.decision(on: request)) }
    }

    private func decision(on request: Request) async -> ConnectionHandler.Decision {
        if OperatorEndpoint.serves(request) {
            return .response(await operators.answerWhole(request))
        }
        if RealtimeEndpoint.serves(request) {
            return switch await calls.answer(request) {
            case .response(let response): .response(response)
            case .call(let call): .call(call)
            }
        }
        return switch await streams.answer(request) {
        case .response(let response): .response(response)
        case .subscription(let subscription): .subscription(subscription)
        }
    }

    // MARK: - Histories

    nonisolated func readHistory(
        of chat: Chat.ID, _ resumption: Resumption, since last: FrameID?,
        for viewer: Subscription?, reply: @escaping @Sendable (HistoryReply) -> Void
    ) {
        let reading = Reading(
            chat: chat, resumption: resumption, last: last, viewer: viewer, reply: reply)
        EventLoop.spawn {
            self.waiting.append(reading)
            await self.readWaiting()
        }
    }

    private func readWaiting() async {
        guard !isReading else { return }
        isReading = true
        defer { isReading = false }
        while !waiting.isEmpty {
            // All that wait at once, so that taking one costs nothing however many there are.
            let readings = waiting
            waiting = []
            for reading in readings { reading.reply(await read(reading)) }
        }
    }

    private func read(_ reading: Reading) async -> HistoryReply {
        do {
            // Once more, now that the subscriber is registered: rights that shrink from here on
            // are seen, and those that shrank before are seen here.
            if let viewer = reading.viewer, try await !streams.isStillAllowed(viewer) {
                return .notAllowed
            }
            return .history(
                try await histories.history(
                    of: reading.chat, reading.resumption, since: reading.last,
                    time: reading.viewer?.event.timestamp))
        } catch {
            report("history not read", error, ["chat.id": "\(reading.chat)"])
            return .failed
        }
    }

    // MARK: - The rest

    nonisolated func check(
        _ subscriptions: [(number: Int, subscription: Subscription)],
        reply: @escaping @Sendable ([(number: Int, isAllowed: Bool?)]) -> Void
    ) {
        EventLoop.spawn {
            reply(
                await verdicts(
                    on: subscriptions.map { (number: $0.number, subject: $0.subscription) }
                ) {
                    try await self.streams.isStillAllowed($0)
                } failed: { subscription, error in
                    self.report(
                        "stream not checked", error,
                        ["request.id": "\(subscription.requestID)"])
                })
        }
    }

    nonisolated func findEnded(
        _ messages: [(chat: Chat.ID, message: Message.ID)],
        reply: @escaping @Sendable (FoundEnds) -> Void
    ) {
        EventLoop.spawn {
            var found = FoundEnds()
            for (chat, id) in messages {
                do {
                    guard let message = try await self.store.message(id, in: chat) else {
                        found.gone.append((chat: chat, message: id))
                        continue
                    }
                    if !message.state.isRunning { found.ended.append(message) }
                } catch {
                    self.report("message not read", error, ["message.id": "\(id)"])
                }
            }
            reply(found)
        }
    }

    nonisolated func publish(end: StreamFrame) {
        bus.publish(end)
    }

    nonisolated func record(_ subscription: Subscription, _ ending: Ending, bytesOut: Int64) {
        EventLoop.spawn {
            await self.records.record {
                await self.streams.ended(
                    subscription, ending.eventEnd, bytesOut: bytesOut, detail: ending.detail)
            }
        }
    }

    /// Returns once every end that was handed in before is recorded.
    func finishRecording() async {
        await records.finish()
    }

    private func report(
        _ message: Logger.Message, _ error: any Error, _ metadata: Logger.Metadata
    ) {
        var metadata = metadata
        metadata["error"] = "\(String(describing: error))"
        logger.error(message, metadata: metadata)
    }
}
