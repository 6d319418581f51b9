// Epoll and the table of watches, see epoll(7).

internal import CLinux
internal import Glibc

/// The readiness of a descriptor, or the readiness that a watch waits for.
package struct Readiness: OptionSet, Sendable {
    package let rawValue: UInt32

    package init(rawValue: UInt32) {
        self.rawValue = rawValue
    }

    package static let readable = Readiness(rawValue: EPOLLIN.rawValue)
    package static let writable = Readiness(rawValue: EPOLLOUT.rawValue)
    /// The peer closed its sending side.
    package static let peerClosed = Readiness(rawValue: EPOLLRDHUP.rawValue)
    /// Both sides are closed, or the descriptor has an error. Always reported, never requested.
    package static let hungUp = Readiness(rawValue: EPOLLHUP.rawValue | EPOLLERR.rawValue)
    /// Reports changes only, not states: the handler must find out by itself what is left.
    package static let edgeTriggered = Readiness(rawValue: EPOLLET.rawValue)
}

/// One descriptor on the loop.
@EventLoop package final class Watch {
    package nonisolated let descriptor: Int32
    fileprivate let generation: UInt32
    fileprivate let handler: @EventLoop (Readiness) -> Void
    private weak var poller: Poller?

    fileprivate init(
        _ descriptor: Int32, generation: UInt32, poller: Poller,
        handler: @escaping @EventLoop (Readiness) -> Void
    ) {
        self.descriptor = descriptor
        self.generation = generation
        self.poller = poller
        self.handler = handler
    }

    /// Waits for something else from now on; an empty set pauses the watch.
    package func change(to interest: Readiness) throws(SystemError) {
        try poller?.change(self, to: interest)
    }

    /// Ends the watch; the handler is not called again, not even for events that the kernel has
    /// already reported in this turn. No effect the second time.
    package func cancel() {
        poller?.remove(self)
        poller = nil
    }
}

@EventLoop final class Poller {
    let timers = TimerQueue()
    private let epoll: Int32
    private var watches: [Watch?] = []
    private var generation: UInt32 = 0
    private var isStopped = false
    private var endOfTurn: [@EventLoop () -> Void] = []
    /// Gets the microseconds of each turn, from the ready events to the next wait.
    var turnObserver: (@EventLoop (_ microseconds: Int64) -> Void)?

    init() {
        epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
        precondition(epoll >= 0, "epoll_create1 failed: no event loop is possible")
    }

    func stop() {
        isStopped = true
    }

    func atEndOfTurn(_ action: @escaping @EventLoop () -> Void) {
        endOfTurn.append(action)
    }

    private func endTurn() {
        while !endOfTurn.isEmpty {
            let actions = endOfTurn
            endOfTurn.removeAll(keepingCapacity: true)
            for action in actions { action() }
        }
    }

    func watch(
        _ descriptor: Int32, for interest: Readiness,
        handler: @escaping @EventLoop (Readiness) -> Void
    ) throws(SystemError) -> Watch {
        generation &+= 1
        let watch = Watch(descriptor, generation: generation, poller: self, handler: handler)
        try control(EPOLL_CTL_ADD, watch, interest)
        let index = Int(descriptor)
        if index >= watches.count {
            watches.append(contentsOf: repeatElement(nil, count: index - watches.count + 64))
        }
        watches[index] = watch
        return watch
    }

    func change(_ watch: Watch, to interest: Readiness) throws(SystemError) {
        let index = Int(watch.descriptor)
        guard index < watches.count, watches[index] === watch else { return }
        try control(EPOLL_CTL_MOD, watch, interest)
    }

    func remove(_ watch: Watch) {
        let index = Int(watch.descriptor)
        guard index < watches.count, watches[index] === watch else { return }
        watches[index] = nil
        var event = epoll_event()
        epoll_ctl(epoll, EPOLL_CTL_DEL, watch.descriptor, &event)
    }

    private func control(
        _ operation: Int32, _ watch: Watch, _ interest: Readiness
    ) throws(SystemError) {
        var event = epoll_event()
        event.events = interest.rawValue
        event.data.u64 =
            UInt64(watch.generation) << 32 | UInt64(UInt32(bitPattern: watch.descriptor))
        guard epoll_ctl(epoll, operation, watch.descriptor, &event) == 0 else {
            throw SystemError("epoll_ctl")
        }
    }

    /// Turns until stopped: wait, handle ready descriptors, fire timers, run jobs.
    func serve(_ executor: LoopExecutor) {
        let wakeup = try? watch(executor.wakeup, for: .readable) { _ in executor.takeSignal() }
        precondition(wakeup != nil, "the loop cannot watch its own wakeup")
        defer { wakeup?.cancel() }
        var events = [epoll_event](repeating: epoll_event(), count: 256)
        var began = monotonicMicroseconds()
        while !isStopped {
            executor.runJobs()
            endTurn()
            if isStopped { break }
            let now = monotonicMicroseconds()
            turnObserver?(now - began)
            let timeout = executor.hasJobs ? 0 : timers.millisecondsToNext(now: now / 1000)
            let count = epoll_wait(epoll, &events, Int32(events.count), timeout)
            began = monotonicMicroseconds()
            for event in events.prefix(Int(max(0, count))) {
                let index = Int(UInt32(truncatingIfNeeded: event.data.u64))
                guard index < watches.count, let watch = watches[index],
                    watch.generation == UInt32(truncatingIfNeeded: event.data.u64 >> 32)
                else { continue }
                watch.handler(Readiness(rawValue: event.events))
            }
            timers.fire(now: monotonicMilliseconds())
        }
    }
}
