// The way of a prompt: from its stored row to the upstream and back into the row.
//
// The row is committed before the upstream is called, and the end of the reply is committed before
// anybody is told of it. A reply runs as a task that no request owns: a client that leaves does not
// end it, a stop, a deletion or the end of the process does.

internal import Logging
internal import Metrics
internal import ProxyGPT
internal import Synchronization

/// What a reply has come to, and what the upstream's call was like.
struct ReplyOutcome: Sendable {
    enum End: Sendable {
        /// The message as it is stored now.
        case stored(Message)
        /// The chat is gone, or another process has closed the message.
        case gone
        /// The end could not be stored yet; that goes on being tried.
        case unstored
    }

    var end = End.gone
    var eventEnd = Event.End.done
    var upstreamStatus: Int?
    var upstreamMicroseconds: Int64?
    var upstreamRequestID: String?
    var usage: Usage?
    var bytesOut: Int64 = 0
}

/// Runs prompts.
final class PromptRunner: Sendable {
    private let settings: Settings
    private let store: any MessageStore
    private let upstream: any Upstream
    private let bus: any Bus
    private let context: ContextSource
    private let clock: any Clock
    private let keyMask: KeyMask
    private let scoreboard: Scoreboard?
    private let logger: Logger
    let replies: RunningReplies
    /// Whether the upstream takes `stream_options`; what is found out once holds for the process.
    private let takesStreamOptions = Atomic(true)

    init(
        settings: Settings, store: any MessageStore, upstream: any Upstream, bus: any Bus,
        cache: any ContextCache, clock: any Clock, keyMask: KeyMask,
        scoreboard: Scoreboard? = nil, logger: Logger
    ) {
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

    /// Forgets what a model was told of a chat that is gone.
    func forget(_ chat: Chat.ID) async {
        await context.cache.forget(chat)
    }

    /// Runs the reply to a stored prompt and stores it. Called by a task that does nothing else.
    func run(
        _ message: Message, contextVersion: Int64, contextLimit: Int
    ) async -> ReplyOutcome {
        let isStreamed = message.state == .streaming
        if isStreamed { publish(message, .words("", prompt: message.prompt)) }
        var outcome = ReplyOutcome()
        var end: ReplyEnd
        do {
            var turns = try await context.turns(
                before: message, limit: contextLimit, version: contextVersion)
            turns.append(Turn(.user, message.prompt))
            var mask = keyMask
            func tell(_ words: [UInt8]) {
                guard isStreamed, !words.isEmpty else { return }
                let words = String(decoding: words, as: UTF8.self)
                publish(message, .words(words, prompt: nil))
            }
            // The last letters of a word do not wait for the next one.
            end = await call(message, turns, &outcome) {
                tell(mask.feed(Array($0.utf8), keepingAtLeast: 4))
            }
            tell(mask.finish())
            end.reply = keyMask.masked(end.reply)
        } catch let failure as Failure {
            end = failed(ReplyFailure(failure.code, failure.message), &outcome)
        } catch {
            logger.error("context not read", metadata: ["error": "\(String(describing: error))"])
            end = failed(
                ReplyFailure(.internal, Failure.hidden.message), &outcome)
        }
        if case .gone = replies.verdict(on: message.id) {
            outcome.eventEnd = .stopped
        } else {
            outcome.end = await store(end, of: message.id)
        }
        replies.ended(message.id)
        return outcome
    }

    /// Stores ends that could not be stored before. Called once a second.
    func storeUnwritten() async {
        for (id, end) in replies.takeUnwritten() { _ = await store(end, of: id) }
        for id in replies.takeDoubtful() {
            let failure = ReplyFailure(.unavailable, "The database was lost at the last moment.")
            let end = await store(ReplyEnd(.failed, reply: "", failure: failure), of: id)
            if case .gone = end { continue }
            replies.settle(id)
        }
    }

    /// Notes a prompt that was refused although its row may have been stored: nobody runs its reply, and
    /// if there is a row it must not wait for one.
    func mayHaveBegun(_ id: Message.ID) {
        replies.doubt(id)
    }

    /// Tells the chat's subscribers of a message that has its final form.
    func announceEnd(of message: Message) {
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
        _ said: (String) -> Void
    ) async -> ReplyEnd {
        let startedAt = clock.monotonicMicroseconds()
        defer { outcome.upstreamMicroseconds = clock.monotonicMicroseconds() - startedAt }
        var reader = ReplyReader(contentType: nil)
        var hasSaid = false
        do {
            let answer = try await start(message.model, turns)
            outcome.upstreamStatus = answer.head.status
            outcome.upstreamRequestID = answer.head.value(of: "X-Request-Id").map {
                keyMask.masked(String($0.prefix(200)))
            }
            guard (200...299).contains(answer.head.status) else {
                return failed(await refusal(answer, message), &outcome)
            }
            reader = ReplyReader(contentType: answer.head.value(of: "Content-Type"))
            do {
                while let bytes = try await answer.next() {
                    outcome.bytesOut += Int64(bytes.count)
                    let words = try reader.feed(bytes)
                    if words.isEmpty { continue }
                    if !hasSaid { noteFirstToken(since: startedAt) }
                    hasSaid = true
                    said(words)
                }
                let words = try reader.finish()
                if !words.isEmpty { said(words) }
            } catch {
                // The money stops here.
                await answer.cancel()
                throw error
            }
            outcome.usage = reader.usage
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

    private func noteFirstToken(since startedAt: Int64) {
        guard let scoreboard else { return }
        scoreboard.observe(
            scoreboard.catalog.firstToken, 1, clock.monotonicMicroseconds() - startedAt)
    }

    /// Starts the call; once more without what an older server has refused to understand.
    private func start(_ model: String, _ turns: [Turn]) async throws -> any UpstreamReply {
        let url = try settings.upstream.url(path: Router.chatCompletions, query: nil)
        let asks = takesStreamOptions.load(ordering: .relaxed)
        let answer = try await start(url, model, turns, wantsUsage: asks)
        guard asks, answer.head.status == 400 || answer.head.status == 422 else { return answer }
        let body = await beginning(of: answer)
        guard String(decoding: body, as: UTF8.self).contains("stream_options") else {
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
        _ url: String, _ model: String, _ turns: [Turn], wantsUsage: Bool
    ) async throws(UpstreamFailure) -> any UpstreamReply {
        let request = CompletionRequest(model: model, turns: turns, wantsUsage: wantsUsage)
        return try await upstream.start(
            UpstreamCall(
                method: "POST", url: url, headers: CompletionRequest.headers,
                body: WholeBody(request.body)))
    }

    private func beginning(of answer: any UpstreamReply) async -> [UInt8] {
        var body: [UInt8] = []
        do {
            while body.count < 64 * 1024, let bytes = try await answer.next() { body += bytes }
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
        let sentence: String
        switch problem {
        case .told(let text): sentence = "The upstream says: \(shown(text))"
        case .malformed: sentence = "The upstream's answer is not a model's reply."
        case .incomplete: sentence = "The upstream broke off its answer."
        case .tooLong:
            // As if somebody had stopped it: what has come is a reply.
            outcome.eventEnd = .stopped
            return ReplyEnd(.stopped, reply: reader.reply, usage: reader.usage)
        }
        warn(message, sentence)
        return failed(
            ReplyFailure(.upstreamError, sentence), reply: reader.reply, &outcome,
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
        guard let told = failure.told else {
            return failed(ReplyFailure(.internal, Failure.hidden.message), &outcome)
        }
        return failed(
            ReplyFailure(told.code, told.message), reply: reader.reply, &outcome,
            as: failure.eventEnd)
    }

    /// What is said of an answer that is no reply.
    private func refusal(_ answer: any UpstreamReply, _ message: Message) async -> ReplyFailure {
        let body = await beginning(of: answer)
        let status = answer.head.status
        if status == 401 || status == 403 {
            logger.error(
                "upstream refused the key",
                metadata: ["message.id": "\(message.id)", "upstream.status": "\(status)"])
            return ReplyFailure(
                .upstreamAuthentication, "The upstream did not accept this server's key.")
        }
        let text = (try? JSONValue(parsing: body)).flatMap { ReplyReader.error(in: $0) }
        let said = text.map { ": \(shown($0))" } ?? "."
        warn(message, "status \(status)")
        return ReplyFailure(.upstreamError, "The upstream answered with status \(status)\(said)")
    }

    /// A foreign text, shortened, on one line and without our key.
    private func shown(_ text: String) -> String {
        let masked = keyMask.masked(text)
        let line = String(
            String.UnicodeScalarView(
                masked.unicodeScalars.prefix(500).map { $0.value < 0x20 ? " " : $0 }))
        return line
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
