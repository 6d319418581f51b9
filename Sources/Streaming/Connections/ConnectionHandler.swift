// A connection from nginx until it is known what it is: one request is read, decided about on the
// storage loop, and answered, or the connection becomes a subscriber's.
//
// Only nginx reaches the socket, and sets and overwrites the four headers that are believed here:
// X-Real-IP, X-Forwarded-Proto, X-Server-Name and X-Request-Id.

internal import Formats
internal import Gateway
internal import NIOCore
internal import NIOHTTP1
internal import ProxyGPT
internal import Synchronization

/// Reads one request and finds out what becomes of it.
final class ConnectionHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart

    /// What a connection needs of the program.
    struct Services {
        let fanOut: FanOut
        let connections: Connections
        let calls: RealtimeCalls
        /// Decides about a request; the answer comes on another loop.
        let decide: @Sendable (Request, @escaping @Sendable (Decision) -> Void) -> Void
    }

    /// The outcome of a request.
    enum Decision: Sendable {
        case response(Response)
        case subscription(Subscription)
        case call(RealtimeCall)
    }

    private enum Phase {
        case reading(HTTPRequestHead?, [UInt8])
        /// The request is being decided about.
        case waiting
        /// It is answered, or about to be a subscriber's. Further bytes are discarded: a client waits
        /// for the answer before it sends more.
        case done
    }

    /// Time for nginx to hand over a request that it has as a whole.
    private static let requestTimeout = TimeAmount.seconds(30)

    private let services: Services
    private let transcoder: HeadTranscodingHandler
    private var phase = Phase.reading(nil, [])
    private var timeout: Scheduled<Void>?

    /// - Parameter transcoder: what the head has come through.
    init(_ services: Services, behind transcoder: HeadTranscodingHandler) {
        self.services = services
        self.transcoder = transcoder
    }

    func handlerAdded(context: ChannelHandlerContext) {
        let channel = context.channel
        timeout = context.eventLoop.scheduleTask(in: Self.requestTimeout) {
            channel.close(promise: nil)
        }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        timeout?.cancel()
    }

    func channelInactive(context: ChannelHandlerContext) {
        timeout?.cancel()
        context.fireChannelInactive()
    }

    // MARK: - The request

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch phase {
        case .waiting, .done: break
        case .reading(let head, var body):
            phase = .done
            switch unwrapInboundIn(data) {
            case .head(let head): phase = .reading(head, [])
            case .body(let piece):
                // One byte over the limit is enough to be refused.
                let room = Int(StreamEndpoint.maxBody) + 1 - body.count
                body.append(contentsOf: piece.readableBytesView.prefix(max(0, room)))
                phase = .reading(head, body)
            case .end:
                guard let head else {
                    context.close(promise: nil)
                    return
                }
                submit(head, body, context)
            }
        }
    }

    private func submit(_ head: HTTPRequestHead, _ body: [UInt8], _ context: ChannelHandlerContext)
    {
        timeout?.cancel()
        let request = Self.request(head, transcoder.target, body)
        let services = services
        guard !services.connections.isFull else {
            services.connections.wasTurnedAway()
            turnAway(isWebSocket: request.value(of: "Upgrade") != nil, context)
            return
        }
        phase = .waiting
        services.connections.waiting += 1
        let bound = NIOLoopBound((handler: self, context: context), eventLoop: context.eventLoop)
        let loop = context.eventLoop
        services.decide(request) { answer in
            loop.execute {
                let (handler, context) = bound.value
                handler.services.connections.waiting -= 1
                handler.take(answer, context)
            }
        }
    }

    private static func request(
        _ head: HTTPRequestHead, _ target: [UInt8]?, _ body: [UInt8]
    ) -> Request {
        // One more than may be is enough to be refused.
        let headers = head.headers.prefix(Request.headerLimit + 1).map {
            Header(transcoded: $0.name, $0.value)
        }
        func first(_ name: String) -> String? {
            headers.first { equalIgnoringCase($0.name, name) }?.value
        }
        return Request(
            id: first("X-Request-Id") ?? "", method: head.method.rawValue,
            target: target.map { String(decoding: $0, as: UTF8.self) } ?? head.uri,
            rawTarget: target, headers: headers, clientAddress: first("X-Real-IP") ?? "",
            scheme: first("X-Forwarded-Proto") == "https" ? "https" : "http",
            serverName: first("X-Server-Name") ?? "",
            contentLength: Int64(body.count), body: ReadBody(body))
    }

    // MARK: - The answer

    private func take(_ decision: Decision, _ context: ChannelHandlerContext) {
        switch decision {
        case .response(let response): end(with: AnswerHead.whole(response), context)
        case .subscription(let subscription):
            if subscription.isHeadOnly {
                services.fanOut.record(subscription, .closed(nil))
                end(with: AnswerHead.eventStream(subscription.headers), context)
            } else if !context.channel.isActive {
                services.fanOut.record(subscription, .left)
            } else {
                begin(subscription, context)
            }
        case .call(let call): begin(call, context)
        }
    }

    // MARK: - WebSockets to the upstream

    private func begin(_ call: RealtimeCall, _ context: ChannelHandlerContext) {
        phase = .done
        // What is sent before the 101 waits in the socket.
        let options = context.channel.syncOptions
        try? options?.setOption(.autoRead, value: false)
        services.calls.begin(call, on: context.channel) { step in
            switch step {
            case .answer(let response): self.end(with: AnswerHead.whole(response), context)
            case .close: context.close(promise: nil)
            case .open(let headers, let leg):
                self.open(AnswerHead.webSocket(call.accept, headers), leg, context)
            }
        }
    }

    private func open(_ head: ByteBuffer, _ leg: RelayLeg, _ context: ChannelHandlerContext) {
        context.writeAndFlush(NIOAny(head), promise: nil)
        let pipeline = context.pipeline.syncOperations
        do {
            let options = context.channel.syncOptions
            try options?.setOption(.writeBufferWaterMark, value: RelayLeg.waterMark)
            try options?.setOption(.recvAllocator, value: RelayLeg.receiveAllocator)
            try options?.setOption(.maxMessagesPerRead, value: 1)
            let decoder = try pipeline.handler(
                type: ByteToMessageHandler<HTTPRequestDecoder>.self)
            pipeline.removeHandler(decoder, promise: nil)
            try pipeline.addHandler(leg)
            pipeline.removeHandler(self, promise: nil)
            try options?.setOption(.autoRead, value: true)
        } catch {
            context.close(promise: nil)
            leg.abandon()
        }
    }

    // MARK: - Streams

    private func begin(_ subscription: Subscription, _ context: ChannelHandlerContext) {
        let fanOut = services.fanOut
        var head: ByteBuffer
        switch subscription.transport {
        case .serverSentEvents: head = AnswerHead.eventStream(subscription.headers)
        case .webSocket(let accept): head = AnswerHead.webSocket(accept, subscription.headers)
        }
        guard fanOut.hasRoom(for: subscription) else {
            let ending = fanOut.isDraining ? Ending.restart : .overload
            fanOut.record(subscription, ending)
            var closing = fanOut.closingBytes(ending, subscription.transport)
            head.writeBuffer(&closing)
            end(with: head, context)
            return
        }
        if subscription.transport == .serverSentEvents {
            var retry = fanOut.retry(ServerSentEvents.retry)
            head.writeBuffer(&retry)
        }
        phase = .done
        context.write(NIOAny(head), promise: nil)
        // The decoder first: a subscriber takes bytes and nothing else.
        let pipeline = context.pipeline.syncOperations
        let decoder = Result {
            try pipeline.handler(type: ByteToMessageHandler<HTTPRequestDecoder>.self)
        }
        guard case .success(let decoder) = decoder else { return context.close(promise: nil) }
        pipeline.removeHandler(decoder).assumeIsolated().whenSuccess {
            let subscriber = fanOut.add(subscription, on: context.channel)
            do {
                try pipeline.addHandler(subscriber)
                context.flush()
                pipeline.removeHandler(self, promise: nil)
            } catch {
                subscriber.finish(.failed)
            }
        }
    }

    /// Refuses a request for now: an EventSource comes back only after a 200.
    private func turnAway(isWebSocket: Bool, _ context: ChannelHandlerContext) {
        if isWebSocket {
            let busy = Failure.allPlacesTaken(retryAfter: services.calls.pause())
            end(with: AnswerHead.whole(Response(busy)), context)
        } else {
            var bytes = AnswerHead.eventStream([])
            var closing = services.fanOut.closingBytes(.overload, .serverSentEvents)
            bytes.writeBuffer(&closing)
            end(with: bytes, context)
        }
    }

    private func end(with bytes: ByteBuffer, _ context: ChannelHandlerContext) {
        phase = .done
        let channel = context.channel
        context.writeAndFlush(NIOAny(bytes)).whenComplete { _ in channel.close(promise: nil) }
        services.fanOut.closeLater(channel)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if error is HTTPParserError, case .reading = phase {
            let failure = Failure(.invalidRequest, "The request is not valid HTTP.")
            end(with: AnswerHead.whole(Response(failure)), context)
        } else {
            context.close(promise: nil)
        }
    }
}

/// A body that was read before.
private final class ReadBody: BodySource {
    let length: Int64?
    private let rest: Mutex<[UInt8]?>

    init(_ bytes: [UInt8]) {
        length = Int64(bytes.count)
        rest = Mutex(bytes.isEmpty ? nil : bytes)
    }

    func next() async throws -> [UInt8]? {
        rest.withLock { rest in
            defer { rest = nil }
            return rest
        }
    }
}
