// A server on a socket of its own that answers as a test says, well or badly.

internal import Foundation
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import ProxyGPTClient
internal import Synchronization

@testable import ProxyGPTClient

/// A request as the server got it.
struct Received: Sendable {
    let path: String
    let query: String
    let headers: HTTPHeaders
    let body: String

    var fields: [String: Any] {
        let json = try? JSONSerialization.jsonObject(with: Data(body.utf8))
        return json as? [String: Any] ?? [:]
    }
}

/// An answer of the server.
enum Answer: Sendable {
    case whole(Int, String, [(String, String)] = [])
    /// Sends a part of a stream, and ends the connection in one of several ways.
    case stream(String, Ending)
    /// Never answers.
    case silence

    enum Ending: Sendable {
        case cleanly, abruptly, byReset, never
    }
}

/// What a server answers at one path.
final class Handler: Sendable {
    private let answers: Mutex<[@Sendable (Received) async -> Answer]>

    /// Answers one after the other; the last one stays.
    init(_ answers: [@Sendable (Received) async -> Answer]) {
        self.answers = Mutex(answers)
    }

    func answer(_ request: Received) async -> Answer {
        let answer = answers.withLock { $0.count > 1 ? $0.removeFirst() : $0[0] }
        return await answer(request)
    }

    static func inTurn(_ answers: Answer...) -> Handler {
        Handler(answers.map { answer in { _ in answer } })
    }

    static func always(_ answer: @escaping @Sendable (Received) async -> Answer) -> Handler {
        Handler([answer])
    }
}

/// Listens on a port of the loopback until it is stopped.
final class FakeServer: Sendable {
    private struct State {
        var handlers: [String: Handler] = [:]
        var received: [Received] = []
        var pauses: [Duration] = []
        var waiters: [(path: String, continuation: CheckedContinuation<Void, Never>)] = []
    }

    private let state = Mutex(State())
    private let listener: any Channel
    private let connections = Mutex<[any Channel]>([])

    private init(_ listener: any Channel) {
        self.listener = listener
    }

    /// Runs a body with a server, and with a client of it whose pauses end at once.
    static func with(
        _ handlers: [String: Handler] = [:], maxRetries: Int = 2,
        timeout: Duration = .seconds(60), silenceTimeout: Duration = .seconds(60),
        path: String = "",
        _ body: (ProxyGPT, FakeServer) async throws -> Void
    ) async throws {
        let box = Mutex<FakeServer?>(nil)
        let listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    guard let server = box.withLock({ $0 }) else { return }
                    server.connections.withLock { $0.append(channel) }
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline()
                    try channel.pipeline.syncOperations.addHandler(RequestHandler(server))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let server = FakeServer(listener)
        box.withLock { $0 = server }
        server.state.withLock { $0.handlers = handlers }
        let port = listener.localAddress?.port ?? 0
        let client = try ProxyGPT(
            "http://127.0.0.1:\(port)\(path)", token: "pgpt_secret", maxRetries: maxRetries,
            timeout: timeout, silenceTimeout: silenceTimeout,
            pause: { duration in
                server.state.withLock { $0.pauses.append(duration) }
                try Task.checkCancellation()
            })
        do {
            try await body(client, server)
        } catch {
            await server.stop()
            throw error
        }
        await server.stop()
    }

    /// Closes the port and all connections.
    func stop() async {
        try? await listener.close()
        for connection in connections.withLock({ $0 }) { try? await connection.close() }
    }

    func handle(_ handlers: [String: Handler]) {
        state.withLock { state in state.handlers.merge(handlers) { $1 } }
    }

    /// The requests of a path.
    func requests(_ path: String) -> [Received] {
        state.withLock { $0.received.filter { $0.path == path } }
    }

    var allRequests: [Received] { state.withLock { $0.received } }

    /// The pauses that the client made.
    var pauses: [Duration] { state.withLock { $0.pauses } }

    func forget() {
        state.withLock {
            $0.received = []
            $0.pauses = []
        }
    }

    /// Waits for the first request of a path.
    func awaitRequest(_ path: String) async {
        await withCheckedContinuation { continuation in
            let isThere = state.withLock { state in
                if state.received.contains(where: { $0.path == path }) { return true }
                state.waiters.append((path, continuation))
                return false
            }
            if isThere { continuation.resume() }
        }
    }

    fileprivate func answer(_ request: Received) async -> Answer {
        let (handler, waiters) = state.withLock { state in
            state.received.append(request)
            let waiters = state.waiters.filter { $0.path == request.path }
            state.waiters.removeAll { $0.path == request.path }
            return (state.handlers[request.path], waiters)
        }
        for waiter in waiters { waiter.continuation.resume() }
        guard let handler else {
            return .whole(404, refusal("not_found"))
        }
        return await handler.answer(request)
    }
}

/// Reads requests and writes answers on one connection.
private final class RequestHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private let server: FakeServer
    private var head: HTTPRequestHead?
    private var body: [UInt8] = []

    init(_ server: FakeServer) {
        self.server = server
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head): self.head = head
        case .body(let piece): body += piece.readableBytesView
        case .end:
            guard let head else { return }
            let parts = head.uri.split(separator: "?", maxSplits: 1)
            let request = Received(
                path: String(parts[0]), query: parts.count > 1 ? String(parts[1]) : "",
                headers: head.headers, body: String(decoding: body, as: UTF8.self))
            body = []
            Self.answer(request, of: server, on: context.channel)
        }
    }

    private static func answer(
        _ request: Received, of server: FakeServer, on channel: any Channel
    ) {
        Task {
            let answer = await server.answer(request)
            await write(answer, to: channel)
        }
    }

    private static func write(_ answer: Answer, to channel: any Channel) async {
        func send(_ part: HTTPServerResponsePart) async {
            try? await channel.writeAndFlush(part)
        }
        switch answer {
        case .silence: break
        case .whole(let status, let body, let more):
            var headers = HTTPHeaders([("Content-Length", "\(body.utf8.count)")])
            for (name, value) in more { headers.add(name: name, value: value) }
            await send(
                .head(
                    HTTPResponseHead(
                        version: .http1_1, status: HTTPResponseStatus(statusCode: status),
                        headers: headers)))
            await send(.body(.byteBuffer(ByteBuffer(string: body))))
            await send(.end(nil))
        case .stream(let text, let ending):
            let headers = HTTPHeaders([
                ("Content-Type", "text/event-stream"), ("Transfer-Encoding", "chunked"),
            ])
            await send(.head(HTTPResponseHead(version: .http1_1, status: .ok, headers: headers)))
            if !text.isEmpty { await send(.body(.byteBuffer(ByteBuffer(string: text)))) }
            switch ending {
            case .never: break
            case .cleanly: await send(.end(nil))
            case .abruptly: try? await channel.close()
            case .byReset:
                let options = channel as? any SocketOptionProvider
                try? await options?.setSoLinger(linger(l_onoff: 1, l_linger: 0)).get()
                try? await channel.close()
            }
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }
}

// MARK: - What the server says

let chatID = "019a0000-0000-7000-8000-00000000000c"
let messageID = "019a0000-0000-7000-8000-000000000001"

func refusal(_ code: String, param: String = "") -> String {
    #"{"error":{"message":"No.","type":"t","code":"\#(code)","param":"\#(param)"}}"#
}

func quoted(_ text: String) -> String {
    String(decoding: (try? JSONEncoder().encode(text)) ?? Data(), as: UTF8.self)
}

/// The JSON of the message whose reply the tests stream.
func message(
    _ state: String, _ reply: String, error: String = "null", id: String = messageID,
    updatedAt: String = "2026-11-30T12:00:01.000Z"
) -> String {
    #"{"id":"\#(id)","chat_id":"\#(chatID)","user_id":"u","username":null,"group_id":null,"#
        + #""prompt":"Hello","reply":\#(quoted(reply)),"model":"m","otr":false,"#
        + #""state":"\#(state)","error":\#(error),"usage":null,"#
        + #""created_at":"2026-11-30T12:00:00.000Z","updated_at":"\#(updatedAt)"}"#
}

/// The text of one event.
func sse(_ id: String, _ data: String? = nil, name: String? = nil) -> String {
    (name.map { "event: \($0)\n" } ?? "") + "id: \(id)\n" + (data.map { "data: \($0)\n" } ?? "")
        + "\n"
}

func partial(_ id: String, _ text: String, message: String = messageID) -> String {
    sse(
        id,
        #"{"message":{"id":"\#(message)","chat_id":"\#(chatID)","user_id":"u","#
            + #""reply":\#(quoted(text)),"state":"streaming"},"partial":true}"#)
}

func final(_ id: String, _ message: String) -> String {
    sse(id, #"{"message":\#(message),"partial":false}"#)
}

let reset = sse("reset:0", #"{"reset":true}"#, name: "reset")

/// The answer to a prompt whose reply is streamed.
let prompted = Handler.inTurn(.whole(200, #"{"message":\#(message("streaming", "")),"reply":""}"#))
let stopped = Handler.inTurn(
    .whole(200, #"{"message":\#(message("stopped", "one")),"reply":"one"}"#))

/// The error of a body that has to fail with one.
func thrown(by body: () async throws -> Void) async -> (any Error)? {
    do {
        try await body()
        return nil
    } catch {
        return error
    }
}

/// The deltas of a stream and their joined text, as far as the stream goes, and its error.
func collect(_ stream: ReplyStream) async -> (deltas: [Delta], text: String, error: (any Error)?) {
    var deltas: [Delta] = []
    let error = await thrown { for try await delta in stream { deltas.append(delta) } }
    return (deltas, deltas.map(\.text).joined(), error)
}
