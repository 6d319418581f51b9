// A WebSocket call that stands: two connections, and what passes between them.
//
// Confined to the loop of both. Frames pass in both directions until both sides have closed; each
// side is read only as fast as the other takes. However it ends, `ended` is called once.

internal import NIOCore
internal import ProxyGPT

/// Couples the client's WebSocket and the upstream's.
package final class SocketRelay {
    package struct Limits: Sendable {
        /// Milliseconds without a frame either way, after which both sides are asked whether they
        /// live.
        let idleLimit: Int64
        /// Milliseconds that they have to answer.
        let answerTimeout: Int64
    }

    private enum Phase {
        case open
        /// One side has closed.
        case closing(first: RealtimeSide, WebSocketClose?)
        case over
    }

    /// For the other side to close as well, and for a peer to take a last frame.
    private static let closeTimeout = TimeAmount.seconds(10)
    private static let closingTimeout = TimeAmount.seconds(2)

    private let limits: Limits
    private let makeMask: () -> [UInt8]
    private let ended: (RealtimeEnding) -> Void
    private var legs: (client: RelayLeg, upstream: RelayLeg)?
    private var phase = Phase.open
    private var askedAt: Int64?
    private var closeTimer: Scheduled<Void>?
    private let now: () -> Int64

    init(
        _ limits: Limits, now: @escaping () -> Int64, makeMask: @escaping () -> [UInt8],
        ended: @escaping (RealtimeEnding) -> Void
    ) {
        self.limits = limits
        self.now = now
        self.makeMask = makeMask
        self.ended = ended
    }

    /// Makes the handlers of both connections; called once, first.
    func legs(
        client: any Channel, upstream: any Channel, keyMask: KeyMask, transcriptLimit: Int
    ) -> (client: RelayLeg, upstream: RelayLeg) {
        func leg(_ side: RealtimeSide, _ channel: any Channel) -> RelayLeg {
            RelayLeg(
                side, channel,
                FrameRelay(
                    from: side, keyMask: keyMask, transcriptLimit: transcriptLimit,
                    makeMask: makeMask),
                of: self, now: now())
        }
        let legs = (client: leg(.client, client), upstream: leg(.upstream, upstream))
        self.legs = legs
        return legs
    }

    private func other(_ leg: RelayLeg) -> RelayLeg? {
        leg.side == .client ? legs?.upstream : legs?.client
    }

    private var isOver: Bool {
        if case .over = phase { true } else { false }
    }

    // MARK: - Frames

    func take(_ bytes: ByteBuffer, from leg: RelayLeg) {
        guard let other = other(leg) else { return }
        leg.heardAt = now()
        var input = bytes
        // What the other side still receives; nothing, when the call is over.
        var output = leg.channel.allocator.buffer(capacity: bytes.readableBytes + 16)
        let outcome = leg.relay.take(&input, into: &output)
        if isOver {
            if case .closed = outcome { leg.channel.close(promise: nil) }
            return
        }
        leg.bytesRead += Int64(bytes.readableBytes)
        other.write(output)
        switch outcome {
        case .open: break
        case .failed(let close): finish(.brokenProtocol(by: leg.side, close))
        case .closed(let close):
            // Bytes behind a close frame are discarded.
            guard !leg.hasClosed else { return }
            leg.hasClosed = true
            other.channel.flush()
            sideClosed(leg.side, close, other)
        }
    }

    private func sideClosed(_ side: RealtimeSide, _ close: WebSocketClose?, _ other: RelayLeg) {
        switch phase {
        case .open where other.isGone: finish(.closed(by: side, close))
        case .open:
            phase = .closing(first: side, close)
            let loop = other.channel.eventLoop.assumeIsolated()
            closeTimer = loop.scheduleTask(in: Self.closeTimeout) {
                self.finish(.closed(by: side, close))
            }
        case .closing(let first, let close): finish(.closed(by: first, close))
        case .over: break
        }
    }

    func flush(behind leg: RelayLeg) {
        other(leg)?.channel.flush()
    }

    func mayRead(_ leg: RelayLeg) -> Bool {
        guard !isOver, let other = other(leg) else { return true }
        return other.isGone || other.channel.isWritable
    }

    func canTakeMore(_ leg: RelayLeg) {
        other(leg)?.resume()
    }

    // MARK: - Time

    /// Asks both sides for a sign of life after a long silence, and ends what gives none. Called
    /// once a second.
    func tick() {
        guard case .open = phase, let legs else { return }
        let now = now()
        guard let asked = askedAt else {
            guard now - max(legs.client.heardAt, legs.upstream.heardAt) >= limits.idleLimit else {
                return
            }
            askedAt = now
            ask(legs.client)
            ask(legs.upstream)
            return
        }
        // Who takes nothing keeps the other from being heard.
        let silent = [legs.client, legs.upstream].filter { $0.heardAt < asked }
        if silent.isEmpty {
            askedAt = nil
        } else if now - asked >= limits.answerTimeout {
            let blocked = [legs.client, legs.upstream].first { !$0.channel.isWritable }
            finish(.silent((blocked ?? silent[0]).side))
        }
    }

    private func ask(_ leg: RelayLeg) {
        let payload = makeMask() + makeMask()
        guard leg.channel.isWritable, putIn(.ping, payload, for: leg) else { return }
        leg.relay.awaitedPong = payload
        leg.channel.flush()
    }

    /// Writes a frame of our own between those of the other side; false within one.
    private func putIn(
        _ opcode: FrameHead.Opcode, _ payload: [UInt8], for leg: RelayLeg
    ) -> Bool {
        guard let source = other(leg) else { return false }
        var output = ByteBuffer()
        guard source.relay.makeRoom(in: &output) else { return false }
        output.writeBytes(source.relay.frame(opcode, payload))
        leg.write(output)
        return true
    }

    // MARK: - The end

    /// Takes note that a connection has ended, or never came to be one of the call.
    func lost(_ leg: RelayLeg) {
        guard !leg.isGone else { return }
        leg.isGone = true
        guard let other = other(leg) else { return }
        switch phase {
        case .over: break
        case .open: finish(leg.side == .client ? .clientLeft : .upstreamCut)
        case .closing(let first, let close):
            // The side that closed may leave before the other's answer comes; the other one has
            // answered in its own way.
            if first != leg.side || other.isGone { finish(.closed(by: first, close)) }
        }
        // Resume reading the other side so that its remaining bytes are drained and discarded.
        other.resume()
        if other.isGone { legs = nil }
    }

    func finish(_ ending: RealtimeEnding) {
        guard !isOver, let legs else { return }
        phase = .over
        closeTimer?.cancel()
        for (leg, other) in [(legs.client, legs.upstream), (legs.upstream, legs.client)] {
            leave(leg, ending, hasHadClose: other.hasClosed)
        }
        ended(ending)
    }

    private func leave(_ leg: RelayLeg, _ ending: RealtimeEnding, hasHadClose: Bool) {
        guard !leg.isGone else { return }
        let channel = leg.channel
        // The peer's own close is awaited, or its having read ours is not sure.
        var awaitsPeer = false
        if !hasHadClose, let close = ending.close(for: leg.side) {
            let isBlocked = !channel.isWritable && ending.isAtOnce
            guard !isBlocked, putIn(.close, close.payload, for: leg) else {
                leg.cut()
                return
            }
            awaitsPeer = ending != .clientLeft && !leg.hasClosed
        }
        let written = channel.eventLoop.makePromise(of: Void.self)
        channel.writeAndFlush(ByteBuffer(), promise: written)
        if !awaitsPeer {
            written.futureResult.whenComplete { _ in channel.close(promise: nil) }
        }
        // What still waits for a slow reader gets more time than a closing alone.
        let isShort = ending.isAtOnce || channel.isWritable
        channel.eventLoop.assumeIsolated().scheduleTask(
            in: isShort ? Self.closingTimeout : Self.closeTimeout
        ) { leg.cut() }
        leg.resume()
    }
}
