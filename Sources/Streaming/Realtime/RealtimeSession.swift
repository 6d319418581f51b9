internal import Gateway
internal import NIOCore
internal import ProxyGPT

/// One WebSocket call, from the moment it is granted to its last byte. Confined to the loop of its
/// connections.
final class RealtimeSession {
    /// What the client's connection is to do.
    enum Step {
        /// Sends an answer and ends.
        case answer(Response)
        /// Sends a 101 with these headers and leaves the connection to the handler, which begins
        /// with what comes next.
        case open([Header], RelayLeg)
        /// Closes the connection without an answer: the client has left.
        case close
    }

    private enum Phase {
        case opening(UpstreamOpening)
        /// The client's answer is being recorded.
        case answering
        case relaying(SocketRelay, RelayLeg, RelayLeg)
        case over
    }

    let number: Int
    let call: RealtimeCall
    var checkAt: Int64

    private let owner: RealtimeCalls
    private let client: any Channel
    private let startedAt: Int64
    private let proceed: (Step) -> Void
    private var phase = Phase.over
    private var upstreamRequestID: String?

    init(
        _ number: Int, _ call: RealtimeCall, on client: any Channel, of owner: RealtimeCalls,
        checkAt: Int64, proceed: @escaping (Step) -> Void
    ) {
        self.number = number
        self.call = call
        self.client = client
        self.owner = owner
        self.checkAt = checkAt
        self.proceed = proceed
        startedAt = owner.dependencies.microseconds()
    }

    private var elapsed: Int64 { owner.dependencies.microseconds() - startedAt }

    // MARK: - Opening

    /// Answers the client with the reason why it gets no call.
    func turnAway(_ failure: Failure) {
        phase = .answering
        owner.record(.stopped(failure), of: self)
    }

    package func start() {
        guard let location = UpstreamLocation(call.url) else {
            fail(.unreachable("the address cannot be read"))
            return
        }
        let opening = UpstreamOpening(call, to: location, by: owner.dependencies.route) {
            [weak self] outcome in self?.take(outcome)
        }
        phase = .opening(opening)
        // The client may leave before it is answered.
        client.closeFuture.assumeIsolated().whenComplete { [weak self] _ in self?.clientLeft() }
        opening.start(on: client.eventLoop)
    }

    private func take(_ outcome: UpstreamOpening.Outcome) {
        guard case .opening(let opening) = phase else { return }
        switch outcome {
        case .opened(let upstream, let head): relay(upstream, head, opening)
        case .refused(let head, let body):
            phase = .answering
            owner.record(.refused(head, body, elapsed), of: self)
        case .failed(let failure): fail(failure)
        }
    }

    private func fail(_ failure: UpstreamFailure) {
        phase = .answering
        owner.record(.failed(failure, elapsed), of: self)
    }

    /// Sends the client's answer, now that it is recorded.
    func answer(_ response: Response?) {
        guard case .answering = phase else { return }
        phase = .over
        proceed(response.map { .answer($0) } ?? .close)
    }

    private func clientLeft() {
        guard case .opening(let opening) = phase else { return }
        opening.cancel()
        fail(.cancelled)
    }

    // MARK: - Relaying

    private func relay(_ upstream: any Channel, _ head: UpstreamHead, _ opening: UpstreamOpening) {
        let dependencies = owner.dependencies
        upstreamRequestID = dependencies.endpoint.upstreamRequestID(head)
        let relay = SocketRelay(
            dependencies.limits, now: dependencies.now, makeMask: dependencies.makeMask
        ) { [weak self] ending in self?.ended(ending) }
        let legs = relay.legs(
            client: client, upstream: upstream, keyMask: dependencies.endpoint.keyMask,
            transcriptLimit: dependencies.endpoint.settings.recordsBodies ? Event.bodyLimit : 0)
        var headers = dependencies.endpoint.openingHeaders(call, head)
        if let chosen = head.value(of: "Sec-WebSocket-Protocol") {
            headers.append(Header("Sec-WebSocket-Protocol", chosen))
        }
        do {
            try opening.handOver(to: legs.upstream).assumeIsolated().whenComplete { result in
                // The client may have left, or the process stopped, in between.
                guard case .opening = self.phase else { return relay.lost(legs.upstream) }
                guard case .success = result else {
                    opening.cancel()
                    return self.fail(.cut("the connection ended with the handshake"))
                }
                self.phase = .relaying(relay, legs.client, legs.upstream)
                // The client first: what the upstream has sent behind its head goes there.
                self.proceed(.open(headers, legs.client))
                legs.client.begin()
                legs.upstream.begin()
            }
        } catch {
            opening.cancel()
            fail(.cut("the connection ended with the handshake"))
        }
    }

    private func ended(_ ending: RealtimeEnding) {
        guard case .relaying(_, let client, let upstream) = phase else { return }
        phase = .over
        var end = RealtimeEnd(ending.eventEnd, detail: ending.detail)
        end.upstreamRequestID = upstreamRequestID
        end.upstreamMicroseconds = elapsed
        end.bytesIn = client.bytesRead
        end.bytesOut = client.bytesWritten
        end.clientTranscript = client.relay.transcript
        end.upstreamTranscript = upstream.relay.transcript
        end.usage = upstream.relay.usage
        end.model = upstream.relay.model
        owner.record(.ended(end), of: self)
    }

    // MARK: - From outside

    func tick() {
        guard case .relaying(let relay, _, _) = phase else {
            if case .opening(let opening) = phase,
                elapsed / 1000 >= owner.dependencies.endpoint.settings.callTimeout
            {
                opening.cancel()
                fail(.callTimeout)
            }
            return
        }
        if elapsed / 1000 >= owner.dependencies.endpoint.settings.callTimeout {
            relay.finish(.timeLimit)
        } else {
            relay.tick()
        }
    }

    /// Ends the call at once, because the process stops or the session has ended.
    func stop(_ ending: RealtimeEnding, _ failure: Failure) {
        switch phase {
        case .opening(let opening):
            opening.cancel()
            phase = .answering
            owner.record(.stopped(failure), of: self)
        case .relaying(let relay, _, _): relay.finish(ending)
        case .answering, .over: break
        }
    }
}
