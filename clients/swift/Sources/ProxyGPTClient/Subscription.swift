internal import AsyncHTTPClient
internal import NIOCore

#if canImport(FoundationEssentials)
    internal import FoundationEssentials
#else
    internal import Foundation
#endif

/// Reads the events of a chat's stream, over as many connections as that takes.
///
/// A new connection begins after the last event that was handed out, so that no event is lost or repeated;
/// where the server cannot do that it says so by an event `reset`.
final class Subscription {
    /// Connections in a row that bring nothing before a stream is given up.
    static let attemptLimit = 10
    /// The longest time that the server may name for a reconnection.
    private static let longestRetry = Duration.seconds(10)

    private let connection: Connection
    private let chat: String
    /// The id of the last event that was handed out.
    private var lastID: String
    /// Whether an event has come: from there on a cut stream is resumed.
    private var hasBegun = false
    /// Failures since the stream brought something.
    private var attempts = 0
    private var retry: Duration?
    private var body: HTTPClientResponse.Body.AsyncIterator?
    private var parser = EventParser()

    init(_ connection: Connection, chat: String, after id: String = "") {
        self.connection = connection
        self.chat = chat
        lastID = id
    }

    /// Waits for the next event. One without data moves the place to resume from and says nothing else.
    /// - Throws: when the server refuses the stream, when it brings nothing for too long, and when the task
    ///   is cancelled.
    func next() async throws -> Event {
        try await begin()
        let event = parser.events.removeFirst()
        lastID = event.id
        return event
    }

    /// Waits until there is an event. With the first one the subscription stands: it has a place to resume
    /// from, so that every later frame of the chat arrives.
    func begin() async throws {
        while parser.events.isEmpty {
            do {
                try await advance()
            } catch let error as ProxyGPTError {
                close()
                try await pause(after: error)
            } catch {
                close()
                throw error
            }
        }
        hasBegun = true
    }

    /// Ends the connection.
    func close() {
        body = nil
        parser = EventParser()
    }

    /// Connects, or reads a piece.
    private func advance() async throws {
        guard var body else {
            self.body = try await connection.open(chat, after: lastID)
            parser = EventParser(id: lastID)
            return
        }
        let piece = try await Connection.next(of: &body)
        self.body = body
        guard let piece else { throw ProxyGPTError.connection("the server ended the stream") }
        let comments = parser.comments
        try parser.feed(piece.readableBytesView)
        retry = parser.retry ?? retry
        let leadsOn = parser.events.contains { $0.id != lastID }
        if leadsOn || parser.comments > comments { attempts = 0 }
    }

    /// Waits for the time of the next attempt, or throws the error where there is none.
    private func pause(after error: ProxyGPTError) async throws {
        guard attempts < (hasBegun ? Self.attemptLimit : connection.maxRetries), error.mayPass
        else {
            throw error
        }
        attempts += 1
        let growing = attempts > 1 || retry == nil ? backoff(attempts - 1) : .zero
        let told = min(retry ?? .zero, Self.longestRetry)
        try await connection.pause(error.retryAfter.map { .seconds($0) } ?? max(told, growing))
    }
}

/// The content of an event of a chat's stream.
struct MessageFrame: Decodable {
    let message: Message
    let partial: Bool

    /// The frame of an event; nil for an event of another kind.
    init?(_ event: Event) throws(ProxyGPTError) {
        guard event.name == "message", let data = event.data else { return nil }
        do {
            self = try JSONDecoder.forAnswers().decode(Self.self, from: Data(data))
        } catch {
            throw .unexpectedAnswer(
                status: 200, "A frame of the stream is not one of the API.", requestID: nil)
        }
    }
}
