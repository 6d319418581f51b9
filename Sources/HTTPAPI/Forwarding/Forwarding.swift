// The way of a call below /v1/: out to the upstream and back, byte for byte, with its event row.
//
// What money is spent on is recorded: the opening row is committed before the first byte of an
// answer leaves, the closing row before the last. A short answer that is there as a whole needs
// the closing row alone.

internal import Formats
internal import Gateway
internal import Logging
internal import Metrics
internal import ProxyGPT

extension API {
    /// Passes a call on; returns its answer, or nil when the client has gone meanwhile.
    func forward(_ call: Call, _ target: RequestTarget) async throws -> Relay? {
        call.event.kind = .forward
        let request = call.request
        let url = try settings.upstream.url(path: target.path, query: target.query)
        guard request.contentLength ?? 0 <= settings.maxBody else {
            throw Failure(.tooLarge, "The body is larger than \(settings.maxBody) bytes.")
        }
        let tap = RequestTap(
            request.body, limit: settings.maxBody, isJSON: isJSON(request),
            keepsBeginning: settings.recordsBodies
                && !isPacked(request.value(of: "Content-Encoding")))
        ledger.open(call.event)
        if !ledger.isHealthy { try await opened(call) }
        let startedAt = clock.monotonicMicroseconds()
        let reply: any UpstreamReply
        do throws(UpstreamFailure) {
            reply = try await upstream.start(
                UpstreamCall(
                    method: request.method, url: url,
                    headers: ForwardedHeaders.request(request.headers, settings.forwardHeaders),
                    body: hasBody(request) ? tap : nil))
        } catch {
            note(tap, in: call)
            call.event.upstreamMicroseconds = clock.monotonicMicroseconds() - startedAt
            try throwFailure(error, tap, call)
            return nil
        }
        return Relay(api: self, call: call, tap: tap, reply: reply, startedAt: startedAt)
    }

    private func isJSON(_ request: Request) -> Bool {
        hasPrefixIgnoringCase(request.value(of: "Content-Type") ?? "", "application/json")
    }

    private func hasBody(_ request: Request) -> Bool {
        // `Content-Length: 0` stays, whatever the method.
        if request.contentLength != nil { return true }
        return !["GET", "HEAD", "OPTIONS", "DELETE"].contains(request.method)
    }

    /// Waits for the opening row. Throws `unavailable` when it cannot be written.
    func opened(_ call: Call) async throws(Failure) {
        let startedAt = monotonicMicroseconds()
        defer { meter.committed(call, since: startedAt) }
        try await ledger.opened(call.event)
    }

    /// Throws the caller's failure for an upstream that gave no answer, and notes the end.
    /// Returns when the caller has left.
    func throwFailure(_ error: UpstreamFailure, _ tap: RequestTap, _ call: Call) throws(Failure) {
        if tap.count > settings.maxBody {
            throw Failure(.tooLarge, "The body is larger than \(settings.maxBody) bytes.")
        }
        guard let clientFailure = error.clientFailure else { return }
        call.event.end = error.eventEnd
        logger.warning(
            "upstream failed",
            metadata: ["request.id": "\(call.request.id)", "upstream.failure": "\(error)"])
        throw clientFailure
    }

    /// Takes over into the row what is known of the request body.
    func note(_ tap: RequestTap, in call: Call) {
        call.event.bytesIn = tap.count
        call.event.model = tap.model
        if settings.recordsBodies {
            call.event.requestBody = keyMask.stored(tap.beginning, path: call.event.path)
        }
    }
}

/// The answer of the upstream on its way to the client. One task's own.
final class Relay {
    private let api: API
    private let call: Call
    private let tap: RequestTap
    private let reply: any UpstreamReply
    private let startedAt: Int64
    private let length: Int64?
    private let keepsBeginning: Bool
    private var meter: ReplyMeter
    private var mask: KeyMask
    private var received: Int64 = 0
    private var beginning: [UInt8] = []
    private var hasBegun = false

    init(api: API, call: Call, tap: RequestTap, reply: any UpstreamReply, startedAt: Int64) {
        self.api = api
        self.call = call
        self.tap = tap
        self.reply = reply
        self.startedAt = startedAt
        let head = reply.head
        meter = ReplyMeter(contentType: head.value(of: "Content-Type"))
        mask = api.keyMask
        keepsBeginning =
            api.settings.recordsBodies && !isPacked(head.value(of: "Content-Encoding"))
        length =
            Self.hasBody(call.request.method, head.status)
            ? head.value(of: "Content-Length").flatMap { Int64($0) } : 0
    }

    private static func hasBody(_ method: String, _ status: Int) -> Bool {
        method != "HEAD" && status != 204 && status != 304
    }

    func run() async {
        call.event.upstreamStatus = reply.head.status
        call.event.upstreamRequestID = reply.head.value(of: "X-Request-Id").map {
            api.keyMask.masked(String($0.prefix(200)))
        }
        do {
            if reply.head.refusesKey { throw keyRefused() }
            let last = try await relayBody()
            noteReply(status: reply.head.status)
            call.event.end = .done
            guard await api.close(call) else {
                call.event.end = .error
                throw Failure.unrecorded
            }
            try await begin()
            let writtenFrom = monotonicMicroseconds()
            if !last.isEmpty { try await call.writer.write(last, flush: false) }
            await call.writer.finish()
            call.stages.add(monotonicMicroseconds() - writtenFrom, to: .write)
        } catch let failure as UpstreamFailure {
            await fail(failure)
        } catch is ClientGone {
            await fail(.cancelled)
        } catch {
            await end(with: api.failure(for: error, in: call))
        }
    }

    /// Sends the body as it comes, but for the last bytes of one whose length is known (or of one
    /// that came as a whole): those wait for the closing row, and are returned.
    private func relayBody() async throws -> [UInt8] {
        var last: [UInt8] = []
        // Who reads events wants to know at once that the stream is open.
        if meter.readsEvents { try await begin(streamed: true, flush: true) }
        while let piece = try await reply.next() {
            if received == 0, meter.readsEvents {
                api.meter.firstToken(since: startedAt, isReply: false)
            }
            received += Int64(piece.count)
            meter.feed(piece)
            if keepsBeginning && beginning.count < Event.bodyLimit {
                beginning.append(contentsOf: piece.prefix(Event.bodyLimit - beginning.count))
            }
            let bytes = mask.feed(piece)
            if let length, received >= length {
                last += bytes
                continue
            }
            try await begin(streamed: true)
            if !bytes.isEmpty { try await call.writer.write(bytes, flush: true) }
        }
        return last + mask.finish()
    }

    /// Sends the head once. For a streamed answer the opening row is committed before.
    private func begin(streamed: Bool = false, flush: Bool = false) async throws {
        guard !hasBegun else { return }
        if streamed { try await api.opened(call) }
        var headers = ForwardedHeaders.response(
            reply.head, mask: api.keyMask)
        headers += api.admission.commonHeaders(call.request)
        call.stages.set(.upstream, to: api.clock.monotonicMicroseconds() - startedAt)
        if let header = api.meter.serverTiming(call) { headers.append(header) }
        // nginx must not gather what is to leave at once; it takes this header out again.
        if streamed { headers.append(Header("X-Accel-Buffering", "no")) }
        hasBegun = true
        call.forgetHeaders()
        try await call.writer.begin(status: reply.head.status, headers: headers)
        if flush { try await call.writer.write([], flush: true) }
    }

    private func keyRefused() -> Failure {
        api.logger.error(
            "upstream refused the key", metadata: ["request.id": "\(call.request.id)"])
        return .keyRefused
    }

    /// Takes over into the row what is known of the reply.
    /// - Parameter status: what the client got to see, nil for nothing.
    private func noteReply(status: Int?) {
        meter.finish()
        api.note(tap, in: call)
        call.event.status = status
        call.event.bytesOut = received
        call.event.upstreamMicroseconds = api.clock.monotonicMicroseconds() - startedAt
        call.event.promptTokens = meter.usage?.promptTokens
        call.event.completionTokens = meter.usage?.completionTokens
        call.event.model = meter.model ?? call.event.model
        if api.settings.recordsBodies {
            call.event.responseBody = api.keyMask.stored(beginning, path: call.event.path)
        }
    }

    /// Ends a call that the upstream, or the client, did not let come to its end.
    private func fail(_ error: UpstreamFailure) async {
        do throws(Failure) {
            try api.throwFailure(error, tap, call)
        } catch {
            await end(with: error)
            return
        }
        call.event.end = await api.endOfAbandoned(call)
        await breakOff()
    }

    private func end(with failure: Failure) async {
        if hasBegun {
            call.event.end = call.event.end ?? .error
            await breakOff()
        } else {
            await reply.cancel()
            noteReply(status: nil)
            await api.answer(call, Response(failure))
        }
    }

    /// Ends an answer of which a part may be out: the client must see that it is not the whole.
    private func breakOff() async {
        await reply.cancel()
        noteReply(status: hasBegun ? reply.head.status : nil)
        _ = await api.close(call)
        await call.writer.abort()
    }
}
