// The server's side of a WebSocket at `/v1/responses`, as a value: messages go in, steps come out.
//
// One response at a time; the next message waits until its answer is complete. A model's options
// stand behind its name, as everywhere. Owns no connection and no clock.

import Formats

/// Turns the messages of a WebSocket into the steps of answering them.
struct ResponseSocket {
    /// The next step of the connection.
    enum Step: Equatable {
        case pause(milliseconds: Int)
        case send([UInt8])
        /// Closes the connection although the answer is not complete.
        case cut
        /// Nothing more is to be sent until the next message.
        case idle
    }

    /// A response that is being sent.
    private struct Turn {
        var source: any PieceSource
        let behaviour: Behaviour
        var hasBegun = false
        var sentPieces = 0
        var waiting: Piece?
    }

    /// Milliseconds between the pieces of a response whose request does not say.
    private let chunkDelay: Int
    /// Microseconds since 1970.
    private let now: @Sendable () -> Int64
    private var message: [UInt8] = []
    private var messages: [[UInt8]] = []
    private var turn: Turn?

    init(chunkDelay: Int, now: @escaping @Sendable () -> Int64 = { unixMicroseconds() }) {
        self.chunkDelay = chunkDelay
        self.now = now
    }

    /// Takes a frame's payload.
    mutating func take(_ payload: some Sequence<UInt8>, endsMessage: Bool) {
        message += payload
        guard endsMessage else { return }
        messages.append(message)
        message = []
    }

    mutating func next() -> Step {
        while true {
            if turn == nil {
                guard !messages.isEmpty else { return .idle }
                turn = begin(messages.removeFirst())
            } else if let step = step() {
                return step
            } else {
                turn = nil
            }
        }
    }

    private func begin(_ message: [UInt8]) -> Turn? {
        var behaviour = Behaviour()
        do throws(Refusal) {
            let events = try ResponseAnswers.events(answering: message, &behaviour)
            guard let events else { return nil }
            if behaviour.chunkDelay == 0 { behaviour.chunkDelay = chunkDelay }
            return Turn(source: events, behaviour: behaviour)
        } catch {
            let event = SplitBody(ResponseAnswers.event(of: error).encoded, pieces: 1)
            return Turn(source: event, behaviour: behaviour)
        }
    }

    /// The next step of the response that is being sent, or nil when it is complete.
    private mutating func step() -> Step? {
        guard var current = turn else { return nil }
        defer { turn = current }
        let behaviour = current.behaviour
        if behaviour.hangs { return .idle }
        if !current.hasBegun {
            current.hasBegun = true
            if behaviour.headDelay > 0 { return .pause(milliseconds: behaviour.headDelay) }
        }
        if current.sentPieces == behaviour.cutAfter { return .cut }
        var piece: Piece
        if let ready = current.waiting {
            current.waiting = nil
            piece = ready
        } else {
            guard let made = current.source.next() else { return nil }
            piece = made
            if piece.isCounted, current.sentPieces > 0, behaviour.chunkDelay > 0 {
                current.waiting = piece
                return .pause(milliseconds: behaviour.chunkDelay)
            }
        }
        if piece.isCounted { current.sentPieces += 1 }
        if behaviour.hasMarks { Mark.stamp(&piece.bytes, at: now()) }
        return .send(piece.bytes)
    }
}
