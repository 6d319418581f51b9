import EventLoop
import Logging
import ProxyGPT
import Synchronization
import Testing

@testable import Streaming

/// A bus that carries what it is given, or keeps it, or is away.
private final class FickleBus: Bus {
    struct State {
        var isThere = true
        var carries = true
        var carried: [Message.ID] = []
        var pending: Set<Message.ID> = []
        var epochs: [String] = ["e1"]
    }

    let state = Mutex(State())

    func publish(_ frame: StreamFrame) {
        state.withLock { state in
            if state.carries {
                state.carried.append(frame.messageID)
            } else {
                state.pending.insert(frame.messageID)
            }
        }
    }

    func isReachable() async -> Bool { state.withLock(\.isThere) }
    func isPending(_ id: Message.ID) -> Bool { state.withLock { $0.pending.contains(id) } }
    func close() async {}
    func mark() async -> LogMark? {
        state.withLock { LogMark(epoch: $0.epochs.last ?? "", storeCount: 0) }
    }
    func beginAnew(after epoch: String) async -> Bool {
        state.withLock { $0.epochs.append(epoch + "1") }
        return true
    }
}

private final class NotedEnds: MissedEndStore {
    let state = Mutex((noted: [Message.ID](), gone: Set<Message.ID>(), age: Int64(0)))

    var noted: [String] { state.withLock { $0.noted.map(\.text) } }

    func note(missedEnds ids: [Message.ID], now: Timestamp) async throws {
        state.withLock { $0.noted += ids }
    }

    func missedEnds(now: Timestamp) async throws -> MissedEnds {
        state.withLock { state in
            MissedEnds(
                ids: state.noted,
                frames: state.noted.filter { !state.gone.contains($0) }.map {
                    StreamFrame(chatID: chat, messageID: $0, userID: author, .ended)
                }, age: state.age)
        }
    }

    func forget(missedEnds ids: [Message.ID]) async throws {
        state.withLock { $0.noted.removeAll { ids.contains($0) } }
    }
}

private struct StillClock: Clock {
    func now() -> Timestamp { Timestamp(milliseconds: 0) }
    func monotonicMicroseconds() -> Int64 { 0 }
}

@Suite struct MissedEndReaderTests {
    private let bus = FickleBus()
    private let store = NotedEnds()

    private func poll() async {
        EventLoop.startOnOwnThread()
        await MissedEndReader(
            bus: bus, store: store, clock: StillClock(), logger: Logger(label: "test")
        ).poll()
    }

    private func note(_ ids: String...) async throws {
        try await store.note(
            missedEnds: ids.map { Message.ID($0) }, now: Timestamp(milliseconds: 0))
    }

    @Test("Missed ends are carried and forgotten, those of messages that are gone forgotten alone")
    func carries() async throws {
        try await note("m1", "m2")
        store.state.withLock { _ = $0.gone.insert(Message.ID("m2")) }
        await poll()
        #expect(bus.state.withLock { $0.carried.map(\.text) } == ["m1"])
        #expect(store.noted == [])
    }

    @Test("While the bus is away here, too, everything stays, and so does what it does not carry")
    func waits() async throws {
        try await note("m1")
        bus.state.withLock { $0.isThere = false }
        await poll()
        #expect(bus.state.withLock { $0.carried.isEmpty && $0.pending.isEmpty })
        bus.state.withLock { $0.isThere = true }
        bus.state.withLock { $0.carries = false }
        await poll()
        #expect(store.noted == ["m1"])
        bus.state.withLock { $0.pending = [] }
        bus.state.withLock { $0.carries = true }
        await poll()
        #expect(store.noted == [])
    }

    @Test("The log begins anew, and carries none, where ends are too many or too old")
    func beginsAnew() async throws {
        try await note("m1")
        store.state.withLock { $0.age = MissedEnds.lifetime + 1 }
        await poll()
        #expect(bus.state.withLock { $0.carried.isEmpty && $0.epochs == ["e1", "e11"] })
        #expect(store.noted == [])
        store.state.withLock { $0.age = 0 }
        for number in 0..<MissedEnds.limit { try await note("m\(number)") }
        await poll()
        #expect(bus.state.withLock { $0.carried.isEmpty && $0.epochs.count == 3 })
        #expect(store.noted == [])
    }
}
