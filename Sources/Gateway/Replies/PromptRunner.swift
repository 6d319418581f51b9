// The way of a prompt: from its stored row to the upstream and back into the row.
//
// The row is committed before the upstream is called, and the end of the reply is committed before
// it is published. A reply runs as a task that no request owns: a client that leaves does not
// end it, a stop, a deletion or the end of the process does.

package import Logging
package import Metrics
package import ProxyGPT
internal import Synchronization

/// What a reply has come to, and what the upstream's call was like.
package struct ReplyOutcome: Sendable {
    package enum End: Sendable {
        /// The message as it is stored now.
        case stored(Message)
        /// The chat is gone, or another process has closed the message.
        case gone
        /// The end could not be stored yet; that goes on being tried.
        case unstored
    }

    package var end = End.gone
    package var eventEnd = Event.End.done
    package var upstreamStatus: Int?
    package var upstreamMicroseconds: Int64?
    package var upstreamRequestID: String?
    package var usage: Usage?
    package var bytesOut: Int64 = 0
}

/// Runs prompts.
package final class PromptRunner: Sendable {
    private let settings: Settings
    private let store: any MessageStore
    private let upstream: any Upstream
    private let bus: any Bus
    private let context: ContextSource
    private let clock: any Clock
    private let keyMask: KeyMask
    private let upstreamText: UpstreamText
    private let trailing: TrailingCalls
    private let scoreboard: Scoreboard?
    private let logger: Logger
    package let replies: RunningReplies
    /// Whether the upstream takes `stream_options`; what is found out once holds for the process.
    private let takesStreamOptions = Atomic(true)

    package init(
        settings: Settings, store: any MessageStore, upstream: any Upstream, bus: any Bus,
        cache: any ContextCache, background: any Background, clock: any Clock,
        keyMask: KeyMask, scoreboard: Scoreboard? = nil, logger: Logger
    ) {
        upstreamText = UpstreamText(keyMask)
        trailing = TrailingCalls(background)
        self.scoreboard = scoreboard
        self.settings = settings
        self.store = store
        self.upstream = upstream
        self.bus = bus
        context = ContextSource(store: store, cache: cache, budget: settings.contextTokens)
        self.clock = clock
        self.keyMask = keyMask
        self.logger = logger
        replies = RunningReplies(store: store, logger: logger)
    }

    /// Forgets the context window of a chat that is gone.
    package func forget(_ chat: Chat.ID) async {
        await context.cache.forget(chat)
    }

    /// Runs the reply to a stored prompt and stores it. Called by a task that does nothing else.
    package func run(
        _ message: Message, contextVersion: Int64, contextLimit: Int
    ) async -> ReplyOutcome {
        let isStreamed = message.state == .streaming
        if isStreamed { publish(message, .delta("", prompt: message.prompt)) }
        var outcome = ReplyOutcome()
        var end: ReplyEnd
        do {
            var turns = try await context.turns(
                before: message, limit: contextLimit, version: contextVersion)
            turns.append(Turn(.user, message.prompt))
            var mask = keyMask
            func publish(_ delta: [UInt8]) {
                guard isStreamed, !delta.isEmpty else { return }
                let delta = String(decoding: delta, as: UTF8.self)
                self.publish(message, .delta(delta, prompt: nil))
            }
            // The last letters of a word do not wait for the next one.
            end = await call(message, turns, &outcome) {
                publish(mask.feed(Array($0.utf8), keepingAtLeast: 4))
            }
            publish(mask.finish())
            end.reply = keyMask.masked(end.reply)
        } catch let failure as Failure {
            end = failed(
                ReplyFailure(failure.code, failure.message, mayBeRepeated: true), &outcome)
        } catch {
            logger.error("context not read", metadata: ["error": "\(String(describing: error))"])
            end = failed(
                ReplyFailure(.internal, Failure.hidden.message, mayBeRepeated: true), &outcome)
        }
        if case .gone = replies.verdict(on: message.id) {
            outcome.eventEnd = .stopped
        } else {
            outcome.end = await store(end, of: message.id)
        }
        replies.ended(message.id)
        return outcome
    }

    /// Does what falls due with time. Called once a second.
    package func tick() async {
        await trailing.tick()
        await storeUnwritten()
    }

    /// Stores ends that could not be stored before.
    package func storeUnwritten() async {
        for (id, end) in replies.takeUnwritten() { _ = await store(end, of: id) }
        for id in replies.takeDoubtful() {
            let failure = ReplyFailure(
                .unavailable, "The database was lost at the last moment.", mayBeRepeated: true)
            let end = await store(ReplyEnd(.failed, reply: "", failure: failure), of: id)
            if case .gone = end { continue }
            replies.settle(id)
        }
    }

    /// Notes a prompt that was refused although its row may have been stored: no task runs its reply, and
    /// if there is a row it must not wait for one.
    package func noteDoubtful(_ id: Message.ID) {
        replies.doubt(id)
    }

    /// Publishes the end of a message to the chat's subscribers.
    package func announceEnd(of message: Message) {
        bus.publish(StreamFrame(endOf: message))
    }

    private func publish(_ message: Message, _ content: StreamFrame.Content) {
        bus.publish(
            StreamFrame(
                chatID: message.chatID, messageID: message.id, userID: message.userID, content))
    }

    private func store(_ end: ReplyEnd, of id: Message.ID) async -> ReplyOutcome.End {
        do {
            guard let (message, version) = try await store.finish(id, end, now: clock.now()) else {
                return .gone
            }
            await context.note(message, version: version)
            announceEnd(of: message)
            return .stored(message)
        } catch {
            logger.error(
                "reply not stored",
                metadata: [
                    "message.id": "\(id)", "error": "\(String(describing: error))",
                ])
            replies.keep(end, of: id)
            return .unstored
        }
    }

    // MARK: - The upstream's call

    private func call(
        _ message: Message, _ turns: [Turn], _ outcome: inout ReplyOutcome,
        _ onDelta: (String) -> Void
    ) async -> ReplyEnd {
        let startedAt = clock.monotonicMicroseconds()
        defer { outcome.upstreamMicroseconds = clock.monotonicMicroseconds() - startedAt }
        var reader = ReplyReader()
        do {
            let answer = try await start(message.model, turns)
            outcome.upstreamStatus = answer.head.status
            outcome.upstreamRequestID = answer.head.value(of: "X-Request-Id").map {
                keyMask.masked(String(decoding: $0.utf8.prefix(200), as: UTF8.self))
            }
            guard (200...299).contains(answer.head.status) else {
                return failed(await refusal(answer, message), &outcome)
            }
            var hasOutput = false
            try await read(answer, &reader, &outcome) { delta in
                if !hasOutput { noteFirstToken(since: startedAt) }
                hasOutput = true
                onDelta(delta)
            }
            return ReplyEnd(.done, reply: reader.reply, usage: reader.usage)
        } catch let failure as Failure {
            return failed(ReplyFailure(failure.code, failure.message), &outcome)
        } catch let problem as ReplyReader.Problem {
            return end(for: problem, reader, message, &outcome)
        } catch let failure as UpstreamFailure {
            return end(for: failure, reader, message, &outcome)
        } catch {
            return failed(
                ReplyFailure(.internal, Failure.hidden.message), reply: reader.reply, &outcome)
        }
    }

    /// The most bytes that are read before other tasks have their turn.
    private static let turnSize = 16 * 1024

    /// Reads a reply to its end, which may come before that of the upstream's answer.
    private func read(
        _ answer: any UpstreamReply, _ reader: inout ReplyReader, _ outcome: inout ReplyOutcome,
        _ onDelta: (String) -> Void
    ) async throws {
        defer { outcome.usage = reader.usage }
        do {
            while !reader.isDone, let bytes = try await nextBytes(of: answer, reader) {
                outcome.bytesOut += Int64(bytes.count)
                for start in stride(from: 0, to: bytes.count, by: Self.turnSize) {
                    if start > 0 { await Task.yield() }
                    let end = min(start + Self.turnSize, bytes.count)
                    let delta = try reader.feed(
                        end - start == bytes.count ? bytes : Array(bytes[start..<end]))
                    if !delta.isEmpty { onDelta(delta) }
                }
            }
            let delta = try reader.finish()
            if !delta.isEmpty { onDelta(delta) }
        } catch {
            // The money stops here.
            await answer.cancel()
            throw error
        }
        if reader.isDone { trailing.drain(answer) }
    }

    /// The next bytes of an answer; nil at its end.
    private func nextBytes(
        of answer: any UpstreamReply, _ reader: borrowing ReplyReader
    ) async throws(UpstreamFailure) -> [UInt8]? {
        do {
            return try await answer.next()
        } catch {
            // Behind the reply's last word a connection that breaks or falls silent takes nothing away.
            guard reader.isComplete, error != .cancelled else { throw error }
            await answer.cancel()
            return nil
        }
    }

    private func noteFirstToken(since startedAt: Int64) {
        guard let scoreboard else { return }
        scoreboard.observe(
            scoreboard.registry.firstToken, 1, clock.monotonicMicroseconds() - startedAt)
    }

    /// Starts the call; once more without what an older server has refused to understand.
    private func start(_ model: String, _ turns: [Turn]) async throws -> any UpstreamReply {
        let url = try settings.upstream.url(path: Endpoints.chatCompletions, query: nil)
        let asks = takesStreamOptions.load(ordering: .relaxed)
        let answer = try await start(url, model, turns, wantsUsage: asks)
        guard asks, answer.head.status == 400 || answer.head.status == 422 else { return answer }
        let body = await beginning(of: answer)
        guard Self.namesStreamOptions(body) else {
            return RefusedReply(head: answer.head, body: body)
        }
        let second = try await start(url, model, turns, wantsUsage: false)
        // Else the error only quoted the word, out of a prompt or a model's name.
        if (200...299).contains(second.head.status) {
            takesStreamOptions.store(false, ordering: .relaxed)
        }
        return second
    }

    private func start(
        _ url: [UInt8], _ model: String, _ turns: [Turn], wantsUsage: Bool
    ) async throws(UpstreamFailure) -> any UpstreamReply {
        let request = CompletionRequest(model: model, turns: turns, wantsUsage: wantsUsage)
        return try await upstream.start(
            UpstreamCall(
                method: "POST", url: url, headers: CompletionRequest.headers,
                body: WholeBody(request.body)))
    }

    private static func namesStreamOptions(_ body: [UInt8]) -> Bool {
        let name = Array("stream_options".utf8)
        return body.indices.contains { body[$0] == name[0] && body[$0...].starts(with: name) }
    }

    /// The most bytes that are read of an error.
    private static let errorLimit = 64 * 1024

    private func beginning(of answer: any UpstreamReply) async -> [UInt8] {
        var body: [UInt8] = []
        do {
            while body.count < Self.errorLimit, let bytes = try await answer.next() {
                body += bytes.prefix(Self.errorLimit - body.count)
            }
        } catch {
            logger.debug("upstream's error broke off", metadata: ["upstream.failure": "\(error)"])
        }
        await answer.cancel()
        return body
    }

    // MARK: - Ends

    private func failed(
        _ failure: ReplyFailure, reply: String = "", _ outcome: inout ReplyOutcome,
        as eventEnd: Event.End = .error
    ) -> ReplyEnd {
        outcome.eventEnd = eventEnd
        return ReplyEnd(.failed, reply: reply, failure: failure, usage: outcome.usage)
    }

    private func end(
        for problem: ReplyReader.Problem, _ reader: ReplyReader, _ message: Message,
        _ outcome: inout ReplyOutcome
    ) -> ReplyEnd {
        let failure = ReplyFailure(problem, upstreamText)
        warn(message, failure.message)
        return failed(
            failure, reply: reader.reply, &outcome,
            as: problem == .incomplete ? .upstreamCut : .error)
    }

    private func end(
        for failure: UpstreamFailure, _ reader: ReplyReader, _ message: Message,
        _ outcome: inout ReplyOutcome
    ) -> ReplyEnd {
        guard failure != .cancelled else {
            outcome.eventEnd = .stopped
            if replies.verdict(on: message.id) != nil {
                return ReplyEnd(.stopped, reply: reader.reply, usage: reader.usage)
            }
            return failed(
                ReplyFailure(.unavailable, "The server was stopped."), reply: reader.reply,
                &outcome, as: .stopped)
        }
        warn(message, "\(failure)")
        guard let clientFailure = failure.clientFailure else {
            return failed(ReplyFailure(.internal, Failure.hidden.message), &outcome)
        }
        return failed(
            ReplyFailure(
                clientFailure.code, clientFailure.message, mayBeRepeated: failure.isBeforeRequest),
            reply: reader.reply, &outcome,
            as: failure.eventEnd)
    }

    /// What is said of an answer that is no reply.
    private func refusal(_ answer: any UpstreamReply, _ message: Message) async -> ReplyFailure {
        let status = answer.head.status
        let failure = ReplyFailure(
            answer.head, body: await beginning(of: answer), upstreamText, now: clock.now())
        if failure.code == .upstreamAuthentication {
            logger.error(
                "upstream refused the key",
                metadata: ["message.id": "\(message.id)", "upstream.status": "\(status)"])
        } else {
            warn(message, "status \(status)")
        }
        return failure
    }

    private func warn(_ message: Message, _ failure: String) {
        logger.warning(
            "upstream failed",
            metadata: ["message.id": "\(message.id)", "upstream.failure": "\(failure)"])
    }
}

/// An answer whose body has been read already.
private final class RefusedReply: UpstreamReply {
    let head: UpstreamHead
    private let body: TakenOnce<[UInt8]>

    init(head: UpstreamHead, body: [UInt8]) {
        self.head = head
        self.body = TakenOnce(body)
    }

    func next() async throws(UpstreamFailure) -> [UInt8]? {
        body.take().flatMap { $0.isEmpty ? nil : $0 }
    }

    func cancel() async {}
}
