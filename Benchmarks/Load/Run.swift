// A whole run: who calls when, and when it is over.
//
// Owns all connections and the report; confined to one event loop, so nothing here is locked. In
// a closed loop every slot calls again as soon as it has its answer. With a rate, calls are due at
// fixed moments and take whichever slot is free; one that is late keeps its due moment, so that a
// slow server cannot make its own figures better by slowing us down.

import NIOCore
import NIOPosix

/// Starts the calls of a run and gathers what they show.
final class Run {
    private let options: Options
    private let loop: any EventLoop
    private let request: ByteBuffer
    private let address: SocketAddress
    private let finished: EventLoopPromise<Report>

    private var report = Report()
    private var begin = NIODeadline.now()
    private var lastEnd = NIODeadline.now()
    private var started = 0
    /// Calls taken and not yet ended, those whose connection is being made included.
    private var open = 0
    private var isOver = false
    private var connections: [Connection?]
    /// The call that a slot makes as soon as it is connected, when each call has its connection.
    private var pending: [NIODeadline?]
    private var idle: [Int] = []
    private var timer: Scheduled<Void>?

    private init(_ options: Options, on loop: any EventLoop) throws {
        self.options = options
        self.loop = loop
        request = options.requestBytes(to: options.url)
        address = try options.address()
        finished = loop.makePromise()
        connections = Array(repeating: nil, count: options.connections)
        pending = Array(repeating: nil, count: options.connections)
        report.isStream = options.expectsStream
    }

    /// Begins a run; the future holds its report.
    static func start(_ options: Options, on loop: any EventLoop) throws -> EventLoopFuture<Report>
    {
        let run = try Run(options, on: loop)
        let spacing = options.ramp / Double(options.connections)
        for slot in 0..<options.connections {
            let delay = TimeAmount.nanoseconds(Int64(spacing * Double(slot) * 1e9))
            loop.assumeIsolated().scheduleTask(in: delay) { run.enter(slot) }
        }
        run.look()
        if options.rate != nil { run.setTimer() }
        return run.finished.futureResult
    }

    // MARK: - Calls that begin

    /// Takes the next call that is due and gives its moment.
    private func takeCall() -> NIODeadline? {
        let now = NIODeadline.now()
        guard mayStart(at: now) else { return nil }
        let due = nextDue ?? now
        guard due <= now else { return nil }
        started += 1
        open += 1
        return due
    }

    private func mayStart(at now: NIODeadline) -> Bool {
        if let requests = options.requests, started >= requests { return false }
        return !isOver && (now - begin).seconds < options.seconds
    }

    private var nextDue: NIODeadline? {
        options.rate.map { begin + .nanoseconds(Int64(Double(started) / $0 * 1e9)) }
    }

    private func setTimer() {
        guard let due = nextDue, !isOver else { return }
        let next = max(due, .now() + .microseconds(50))
        timer = loop.assumeIsolated().scheduleTask(deadline: next) {
            while let slot = self.idle.last, let due = self.takeCall() {
                self.idle.removeLast()
                self.make(due, in: slot)
            }
            self.setTimer()
        }
    }

    /// Gives a slot without a connection its first work.
    private func enter(_ slot: Int) {
        guard !isOver else { return }
        if options.keepsAlive {
            connect(slot)
        } else {
            offer(slot)
        }
    }

    /// Lets a slot make the next call, or wait for one.
    private func offer(_ slot: Int) {
        if let due = takeCall() {
            make(due, in: slot)
        } else {
            idle.append(slot)
            finishIfDone()
        }
    }

    private func make(_ due: NIODeadline, in slot: Int) {
        guard let connection = connections[slot] else {
            pending[slot] = due
            connect(slot)
            return
        }
        report.inFlight += 1
        report.maxInFlight = max(report.maxInFlight, report.inFlight)
        connection.begin(request, due: due)
    }

    private func connect(_ slot: Int) {
        let connection = Connection(slot: slot, run: self, options: options)
        let bound = NIOLoopBound(connection, eventLoop: loop)
        ClientBootstrap(group: loop)
            .connectTimeout(.nanoseconds(Int64(options.timeout * 1e9)))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(bound.value)
                }
            }
            .connect(to: address)
            .assumeIsolated()
            .whenFailure { _ in self.couldNotConnect(slot) }
    }

    // MARK: - What connections tell

    func connected(_ connection: Connection) {
        report.connectionsOpened += 1
        connections[connection.slot] = connection
        if let due = pending[connection.slot] {
            pending[connection.slot] = nil
            make(due, in: connection.slot)
        } else {
            offer(connection.slot)
        }
    }

    func isFree(_ connection: Connection) {
        offer(connection.slot)
    }

    func disconnected(_ connection: Connection) {
        let slot = connection.slot
        connections[slot] = nil
        idle.removeAll { $0 == slot }
        finishIfDone()
        enter(slot)
    }

    private func couldNotConnect(_ slot: Int) {
        if pending[slot] != nil || takeCall() != nil {
            pending[slot] = nil
            ended(.connect)
        }
        loop.assumeIsolated().scheduleTask(in: .milliseconds(10)) { self.enter(slot) }
    }

    func answerBegan() {
        report.answering += 1
        report.maxAnswering = max(report.maxAnswering, report.answering)
    }

    func received(_ count: Int) {
        report.bytesReceived += count
    }

    func pieceCame(after gap: TimeAmount?) {
        guard options.expectsStream else { return }
        report.pieces += 1
        if let gap { report.gaps.record(nanoseconds: gap.nanoseconds) }
    }

    func answered(_ outcome: Connection.Outcome) {
        report.inFlight -= 1
        report.answering -= 1
        report.statuses[outcome.status, default: 0] += 1
        guard (200..<300).contains(outcome.status) else {
            ended(.status)
            return
        }
        if options.expectsStream {
            guard outcome.endsInDone else {
                ended(.cut)
                return
            }
            report.complete += 1
            if let first = outcome.firstPiece {
                report.firstPiece.record(nanoseconds: (first - outcome.due).nanoseconds)
            }
        }
        report.firstByte.record(nanoseconds: (outcome.head - outcome.due).nanoseconds)
        report.lastByte.record(nanoseconds: (outcome.end - outcome.due).nanoseconds)
        ended(nil)
    }

    func failed(_ error: CallError, hadHead: Bool) {
        report.inFlight -= 1
        if hadHead { report.answering -= 1 }
        ended(error)
    }

    // MARK: - Ends

    private func ended(_ error: CallError?) {
        if let error {
            report.errors[error, default: 0] += 1
        } else {
            report.succeeded += 1
        }
        open -= 1
        lastEnd = .now()
        finishIfDone()
    }

    /// Gives up what has taken too long, and sees that time is over when nothing else happens.
    private func look() {
        let moment = NIODeadline.now() - .nanoseconds(Int64(options.timeout * 1e9))
        for connection in connections { connection?.expire(sentBefore: moment) }
        finishIfDone()
        guard !isOver else { return }
        loop.assumeIsolated().scheduleTask(in: .milliseconds(20)) { self.look() }
    }

    private func finishIfDone() {
        guard !isOver, open == 0, !mayStart(at: .now()) else { return }
        isOver = true
        timer?.cancel()
        report.seconds = (lastEnd - begin).seconds
        if let rate = options.rate {
            let due = Int(min(options.seconds, (NIODeadline.now() - begin).seconds) * rate)
            report.neverStarted = max(0, min(due, options.requests ?? .max) - started)
        }
        for connection in connections { connection?.close() }
        finished.succeed(report)
    }
}

extension TimeAmount {
    var seconds: Double { Double(nanoseconds) / 1e9 }
}
