internal import Formats
internal import Gateway
internal import Metrics
internal import ProxyGPT

extension API {
    /// `/chat/prompt`: stores the prompt and answers with the reply, or at once with `stream`.
    func prompt(_ call: Call) async throws -> Response {
        let caller = try call.authenticated()
        let parameters = try call.parsedParameters()
        let isStreamed = try parameters.value(of: Known.stream) ?? false
        let isOffRecord = try parameters.value(of: Known.offRecord) ?? false
        let contextLimit = try parameters.value(of: Known.context) ?? settings.contextMessages
        let new = NewMessage(
            id: Message.ID(identifiers.next()), chatID: try chatID(call), userID: caller.user.id,
            prompt: try parameters.required(Known.prompt), isOffRecord: isOffRecord,
            state: isOffRecord ? .done : isStreamed ? .streaming : .pending,
            idempotencyKey: try idempotencyKey(call.request), createdAt: clock.now())
        let stored: StoredPrompt
        do {
            stored = try await store.begin(
                new, limit: settings.maxRepliesPerUser, model: { settings.resolved(model: $0) })
        } catch let failure as Failure where failure == .mayHaveBeenDone {
            prompts.noteDoubtful(new.id)
            throw failure
        }
        switch stored {
        case .known(let message):
            note(message, in: call)
            return try await answer(known: message, isStreamed: isStreamed, call)
        case .new(let message, let contextVersion):
            note(message, in: call)
            if isOffRecord {
                prompts.announceEnd(of: message)
                return await Response(message)
            }
            let reply = PendingReply(
                message: message, contextVersion: contextVersion, contextLimit: contextLimit)
            return isStreamed
                ? try await start(reply, call) : try await awaitReply(reply, call)
        }
    }

    /// `/chat/stop`: ends a running reply, and answers with the message when it has ended.
    func stopReply(_ call: Call) async throws -> Response {
        let caller = try call.authenticated()
        let id = try call.parsedParameters().required(Known.message)
        let chat = try chatID(call)
        let message = try await store.requestStop(of: id, in: chat, by: caller.user.id)
        if message.state.isRunning {
            // At once here, within two polls at another live worker; after three seconds the
            // message is shown as it stands.
            await prompts.replies.poll()
            await prompts.replies.awaitEnd(of: id, in: chat, maxPolls: 12)
        }
        guard let message = try await store.message(id, in: chat) else {
            throw Failure.notFound("chat")
        }
        return await Response(message)
    }

    // MARK: - Replies

    /// A stored prompt whose reply is to be run.
    private struct PendingReply: Sendable {
        let message: Message
        let contextVersion: Int64
        let contextLimit: Int
    }

    private func run(_ reply: PendingReply) async -> ReplyOutcome {
        await prompts.run(
            reply.message, contextVersion: reply.contextVersion,
            contextLimit: reply.contextLimit)
    }

    /// Runs a reply to its end, whether the client stays for it or not.
    private func awaitReply(_ reply: PendingReply, _ call: Call) async throws -> Response {
        ledger.open(call.event)
        let outcome = await withUnsafeContinuation { continuation in
            let task = background.start(counts: false) {
                continuation.resume(returning: await run(reply))
            }
            prompts.replies.began(reply.message.id, task)
        }
        note(outcome, in: &call.event)
        if Task.isCancelled { throw ClientGone() }
        switch outcome.end {
        case .gone:
            // Deleted, or closed by others after this process had stood still for too long.
            let message = reply.message
            guard let closed = try await store.message(message.id, in: message.chatID),
                try await store.access(to: message.chatID, of: message.userID) != nil
            else { throw Failure.notFound("chat") }
            throw closed.failure?.failure ?? Failure.hidden
        case .unstored:
            throw Failure(.unavailable, "Nothing can be stored just now.", retryAfter: 5)
        case .stored(let message):
            if message.state == .failed {
                throw message.failure?.failure ?? Failure.hidden
            }
            return await Response(message)
        }
    }

    /// Answers at once and runs the reply as a task of its own, with an event row of its own.
    private func start(_ reply: PendingReply, _ call: Call) async throws -> Response {
        let event = ledger.rows.row(.reply, beside: call.event)
        ledger.open(event)
        let startedAt = clock.monotonicMicroseconds()
        let task = background.start(counts: true) {
            let outcome = await run(reply)
            await close(event, with: outcome, startedAt: startedAt)
        }
        prompts.replies.began(reply.message.id, task)
        // A call that costs money is recorded before the caller gets an answer.
        try? await ledger.opened(event)
        return await Response(reply.message)
    }

    private func close(_ event: Event, with outcome: ReplyOutcome, startedAt: Int64) async {
        var event = event
        note(outcome, in: &event)
        event.end = outcome.eventEnd
        ledger.stamp(&event, since: startedAt)
        meter.upstreamEnded(event)
        _ = await ledger.close(event)
    }

    /// Answers a prompt that came before, with the reply that it got or is getting.
    private func answer(
        known message: Message, isStreamed: Bool, _ call: Call
    ) async throws -> Response {
        var message = message
        if message.state.isRunning && !isStreamed {
            // Whoever follows the events sees long calls from their beginning.
            ledger.open(call.event)
            let began = clock.monotonicMicroseconds()
            await prompts.replies.awaitEnd(of: message.id, in: message.chatID, maxPolls: .max)
            call.stages.add(clock.monotonicMicroseconds() - began, to: .upstream)
            if Task.isCancelled { throw ClientGone() }
            guard let ended = try await store.message(message.id, in: message.chatID) else {
                throw Failure.notFound("chat")
            }
            message = ended
        }
        if message.state == .failed { throw message.failure?.failure ?? Failure.hidden }
        return await Response(message)
    }

    private func note(_ message: Message, in call: Call) {
        call.event.chatID = message.chatID.text
        call.event.groupID = message.groupID?.text
        if !message.isOffRecord { call.event.model = message.model }
    }

    private func note(_ outcome: ReplyOutcome, in event: inout Event) {
        event.upstreamStatus = outcome.upstreamStatus
        event.upstreamMicroseconds = outcome.upstreamMicroseconds
        event.upstreamRequestID = outcome.upstreamRequestID
        event.promptTokens = outcome.usage?.promptTokens
        event.completionTokens = outcome.usage?.completionTokens
        if event.kind == .reply { event.bytesOut = outcome.bytesOut }
        if outcome.eventEnd != .done { event.end = outcome.eventEnd }
    }

    // MARK: - Parameters

    private func idempotencyKey(_ request: Request) throws(Failure) -> String? {
        let keys = request.values(of: "Idempotency-Key")
        guard let key = keys.first else { return nil }
        guard keys.count == 1, (1...255).contains(key.utf8.count),
            key.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F })
        else {
            throw .invalid(
                "Idempotency-Key", "The key has 1 to 255 printing ASCII characters.")
        }
        return key
    }
}

extension Response {
    /// The answer to a prompt: a reply of megabytes, twice, is encoded in several turns.
    init(
        _ message: Message, pause: @escaping () async -> Void = { await Task.yield() }
    ) async {
        let capacity = message.size + message.reply.utf8.count + 1024
        var answer = PagedAnswer(capacity: capacity, pause: pause)
        await answer.add("message", message.view)
        await answer.add("reply", .string(message.reply))
        self = answer.response()
    }
}
