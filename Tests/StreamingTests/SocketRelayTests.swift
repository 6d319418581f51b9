import NIOCore
import NIOEmbedded
import ProxyGPT
import Testing

@testable import Streaming

/// A WebSocket call between two connections in memory, with a clock of its own.
private final class Relayed {
    let client = EmbeddedChannel()
    let upstream = EmbeddedChannel()
    let relay: SocketRelay
    let endings: () -> [RealtimeEnding]
    let setNow: (Int64) -> Void

    init() throws {
        var now: Int64 = 0
        var endings: [RealtimeEnding] = []
        relay = SocketRelay(
            SocketRelay.Limits(idleLimit: 100, answerTimeout: 30), now: { now },
            makeMask: { [9, 8, 7, 6] }
        ) { endings.append($0) }
        self.endings = { endings }
        setNow = { now = $0 }
        let legs = relay.legs(
            client: client, upstream: upstream, keyMask: KeyMask(key: nil), transcriptLimit: 0)
        for (channel, leg) in [(client, legs.client), (upstream, legs.upstream)] {
            try channel.connect(to: SocketAddress(unixDomainSocketPath: "/x")).wait()
            try channel.pipeline.syncOperations.addHandler(leg)
            leg.begin()
        }
    }

    func clientSays(_ bytes: [UInt8]) throws { try client.writeInbound(ByteBuffer(bytes: bytes)) }

    func upstreamSays(_ bytes: [UInt8]) throws {
        try upstream.writeInbound(ByteBuffer(bytes: bytes))
    }

    func heard(_ channel: EmbeddedChannel) throws -> [UInt8] {
        var bytes: [UInt8] = []
        while let piece = try channel.readOutbound(as: ByteBuffer.self) {
            bytes += piece.readableBytesView
        }
        return bytes
    }

    func runTimers(_ time: TimeAmount) {
        client.embeddedEventLoop.advanceTime(by: time)
        upstream.embeddedEventLoop.advanceTime(by: time)
    }
}

@Suite struct SocketRelayTests {
    private let mask: [UInt8] = [9, 8, 7, 6]

    @Test("Frames pass both ways")
    func passes() throws {
        let relayed = try Relayed()
        try relayed.clientSays(Wire.text("hello", mask: Wire.mask))
        #expect(try relayed.heard(relayed.upstream) == Wire.text("hello", mask: mask))
        try relayed.upstreamSays(Wire.text("world"))
        #expect(try relayed.heard(relayed.client) == Wire.text("world"))
        #expect(relayed.endings() == [])
    }

    @Test("A relay ends when both sides have closed, in either order")
    func closes() throws {
        let relayed = try Relayed()
        try relayed.clientSays(Wire.close(1000, "bye", mask: Wire.mask))
        #expect(try relayed.heard(relayed.upstream) == Wire.close(1000, "bye", mask: mask))
        // What the upstream still says is passed on.
        try relayed.upstreamSays(Wire.text("last words") + Wire.close(1000, "bye"))
        #expect(
            try relayed.heard(relayed.client)
                == Wire.text("last words") + Wire.close(1000, "bye"))
        #expect(
            relayed.endings()
                == [.closed(by: .client, WebSocketClose(code: 1000, reason: "bye"))])
        relayed.runTimers(.zero)
        #expect(!relayed.client.isActive && !relayed.upstream.isActive)
    }

    @Test("A side that does not answer a close is not waited for longer than ten seconds")
    func closesAlone() throws {
        let relayed = try Relayed()
        try relayed.upstreamSays(Wire.close(4000))
        #expect(try relayed.heard(relayed.client) == Wire.close(4000))
        relayed.runTimers(.seconds(9))
        #expect(relayed.endings() == [] && relayed.client.isActive)
        relayed.runTimers(.seconds(1))
        #expect(
            relayed.endings()
                == [.closed(by: .upstream, WebSocketClose(code: 4000, reason: ""))])
        relayed.runTimers(.zero)
        #expect(!relayed.client.isActive && !relayed.upstream.isActive)
    }

    @Test("An upstream that is cut becomes 1011, or a cut within a frame")
    func isCut() throws {
        let relayed = try Relayed()
        try relayed.upstream.close().wait()
        #expect(
            try relayed.heard(relayed.client) == Wire.close(1011, "the upstream broke off"))
        #expect(relayed.endings() == [.upstreamCut])
        let within = try Relayed()
        try within.upstreamSays(Wire.text("hello").dropLast())
        _ = try within.heard(within.client)
        try within.upstream.close().wait()
        #expect(try within.heard(within.client) == [])
        #expect(!within.client.isActive && within.endings() == [.upstreamCut])
    }

    @Test("A client that goes away is told to the upstream, which is left at once")
    func isLeft() throws {
        let relayed = try Relayed()
        try relayed.client.close().wait()
        #expect(try relayed.heard(relayed.upstream) == Wire.close(1001, mask: mask))
        relayed.runTimers(.zero)
        #expect(!relayed.upstream.isActive && relayed.endings() == [.clientLeft])
    }

    @Test("A side that breaks the protocol is told, and the other side is closed")
    func isBroken() throws {
        let relayed = try Relayed()
        try relayed.clientSays(Wire.text("bare"))
        #expect(try relayed.heard(relayed.client) == Wire.close(1002, "protocol error"))
        #expect(try relayed.heard(relayed.upstream) == Wire.close(1001, mask: mask))
        let other = try Relayed()
        try other.upstreamSays(Wire.text("masked", mask: Wire.mask))
        #expect(
            try other.heard(other.upstream) == Wire.close(1002, "protocol error", mask: mask))
        #expect(
            try other.heard(other.client)
                == Wire.close(1011, "the upstream broke the protocol"))
        #expect(other.endings() == [.brokenProtocol(by: .upstream, .protocolError)])
    }

    @Test("A process that stops says 1012, and waits two seconds for the client's close")
    func stops() throws {
        let relayed = try Relayed()
        relayed.relay.finish(.restart)
        #expect(try relayed.heard(relayed.client) == Wire.close(1012, "restart"))
        #expect(try relayed.heard(relayed.upstream) == Wire.close(1001, mask: mask))
        // Frames that were on their way are nobody's.
        try relayed.clientSays(Wire.text("still here", mask: Wire.mask))
        #expect(try relayed.heard(relayed.upstream) == [])
        #expect(relayed.client.isActive)
        try relayed.clientSays(Wire.close(1012, mask: Wire.mask))
        #expect(!relayed.client.isActive && relayed.upstream.isActive)
        relayed.runTimers(.seconds(2))
        #expect(!relayed.upstream.isActive)
        #expect(relayed.endings() == [.restart])
    }

    @Test("After a silence both sides are asked, and what they answer stays here")
    func asks() throws {
        let relayed = try Relayed()
        relayed.setNow(99)
        relayed.relay.tick()
        #expect(try relayed.heard(relayed.client) == [])
        relayed.setNow(100)
        relayed.relay.tick()
        let payload = mask + mask
        #expect(try relayed.heard(relayed.client) == Wire.frame(.ping, payload))
        #expect(try relayed.heard(relayed.upstream) == Wire.frame(.ping, payload, mask: mask))
        try relayed.clientSays(Wire.frame(.pong, payload, mask: Wire.mask))
        try relayed.upstreamSays(Wire.frame(.pong, payload))
        #expect(try relayed.heard(relayed.client) == [])
        #expect(try relayed.heard(relayed.upstream) == [])
        relayed.setNow(199)
        relayed.relay.tick()
        #expect(relayed.endings() == [])
        relayed.setNow(200)
        relayed.relay.tick()
        try relayed.clientSays(Wire.frame(.pong, payload, mask: Wire.mask))
        relayed.setNow(230)
        relayed.relay.tick()
        #expect(relayed.endings() == [.silent(.upstream)])
        #expect(
            try relayed.heard(relayed.client).suffix(29)
                == Wire.close(1011, "nothing came for too long"))
    }

    @Test("A side is read no further than the other takes")
    func holdsBack() throws {
        let relayed = try Relayed()
        #expect(relayed.relay.mayRead(try leg(relayed.upstream)))
        relayed.client.isWritable = false
        #expect(!relayed.relay.mayRead(try leg(relayed.upstream)))
        #expect(relayed.relay.mayRead(try leg(relayed.client)))
        relayed.client.isWritable = true
        #expect(relayed.relay.mayRead(try leg(relayed.upstream)))
    }

    private func leg(_ channel: EmbeddedChannel) throws -> RelayLeg {
        try channel.pipeline.syncOperations.handler(type: RelayLeg.self)
    }
}
