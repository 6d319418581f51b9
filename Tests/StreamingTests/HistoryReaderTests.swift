import EventLoop
import Formats
import Gateway
import Logging
import ProxyGPT
import Synchronization
import Testing

@testable import Streaming

@Suite(.timeLimit(.minutes(5))) struct HistoryReaderTests {
    private let log = MemoryLog()
    private let store = MemoryMessages()
    private let reader: HistoryReader

    init() {
        EventLoop.startOnOwnThread()
        reader = HistoryReader(
            log: log, store: store, resolver: FrameResolver(store: store))
    }

    private func read(
        _ resumption: Resumption, since last: FrameID? = nil
    ) async throws -> History {
        try await reader.history(of: chat, resumption, since: last)
    }

    /// A frame in short: its message and words, or `end`, or `reset`.
    private func short(_ frame: Frame) -> String {
        switch frame.content {
        case .delta(let text, let prompt, _):
            "\(frame.messageID) \(prompt.map { "[\($0)]" } ?? "")\(text)"
        case .last(let json):
            "\(frame.messageID) end "
                + ((try? JSONValue(parsing: json))?["message"]?["reply"]?.stringValue ?? "?")
        case .reset: "reset"
        }
    }

    @Test(
        "While the log is away, what ends after a history was read is news, before any look as well"
    )
    func endsAfterHistory() async throws {
        let (ended, watched) = (EndedMessages(), WatchedChats())
        let reader = HistoryReader(
            log: log, store: store, resolver: FrameResolver(store: store), endedMessages: ended)
        let told = Mutex<[String]>([])
        let watch = StoreWatch(
            log: log, store: store, watched: watched, endedMessages: ended,
            logger: Logger(label: "test")
        ) { ended, areNew in
            told.withLock { $0 += ended.map { $0.id.text + (areNew ? " new" : "") } }
        }
        log.change { $0.isAway = true }
        store.put(message("m1", .done, reply: "old"))
        for (resumption, id, seq) in [(Resumption.none, "m2", 2), (.impossible, "m3", 3)] {
            watched.insert(chat)
            _ = try await reader.history(of: chat, resumption, since: nil)
            store.put(message(id, .done, reply: "quick", seq: Int64(seq)))
            await watch.poll()
            #expect(told.withLock { $0 } == [id + " new"])
            // Nobody watches for a while.
            told.withLock { $0 = [] }
            watched.remove(chat)
            await watch.poll()
        }
    }

    @Test("A new subscriber gets the running replies from their beginning")
    func running() async throws {
        store.put(message("m1", .done, reply: "old"))
        store.put(message("m2", .streaming, prompt: "hi"))
        log.publish("m1", .delta("old", prompt: "p"))
        log.publish("m1", .ended)
        log.publish("m2", .delta("a", prompt: "hi"))
        log.publish("m2", .delta("b", prompt: nil))
        let history = try await read(.none)
        #expect(history.frames.map(short) == ["m2 [hi]ab"])
        #expect(history.frames.last?.id == id(4))
        #expect(history.position == id(4))
        #expect(history.running == [Message.ID("m2")])
        #expect(history.ended.isEmpty)
    }

    @Test("A new subscriber gets the ends of what has ended since it came")
    func endsSinceRegistration() async throws {
        for (number, state) in [(1, Message.State.done), (2, .done), (3, .streaming), (4, .done)] {
            store.put(message("m\(number)", state, reply: "r\(number)"))
        }
        log.publish("m1", .ended)
        log.publish("m2", .delta("r2", prompt: "p"))
        log.publish("m2", .ended)
        log.publish("m3", .delta("a", prompt: "hi"))
        log.publish("m4", .ended)
        log.publish("m3", .delta("b", prompt: nil))
        let history = try await read(.none, since: id(2))
        #expect(history.frames.map(short) == ["m2 end r2", "m4 end r4", "m3 [hi]ab"])
        #expect(history.frames.map(\.id) == [id(3), id(5), id(6)])
        #expect(history.position == id(6))
        #expect(history.ended == [Message.ID("m2"), Message.ID("m4")])
        #expect(history.running == [Message.ID("m3")])
        for last in [nil, id(5), id(6), id(2, epoch: "e0")] {
            #expect(try await read(.none, since: last).frames.map(short) == ["m3 [hi]ab"])
        }
    }

    @Test("While the log is away the store says what is running")
    func runningWithoutLog() async throws {
        store.put(message("m1", .done, seq: 1))
        store.put(message("m2", .pending, seq: 2))
        #expect(try await read(.none).running.isEmpty)
        log.change { $0.isAway = true }
        #expect(try await read(.none).running == [Message.ID("m2")])
    }

    @Test("While the log is away, what ended while a history was waited for is in it")
    func endsBeforeHistory() async throws {
        log.change { $0.isAway = true }
        store.put(message("m1", .done, reply: "quick", seq: 1))
        store.put(message("m2", .pending, seq: 2))
        for (time, frames) in [(Int64(0), ["m1 end quick"]), (999, ["m1 end quick"]), (1001, [])] {
            let history = try await reader.history(
                of: chat, .none, since: nil, time: Timestamp(milliseconds: time))
            #expect(history.frames.map(short) == frames)
            #expect(history.ended.count == frames.count)
            #expect(history.running == [Message.ID("m2")])
        }
    }

    @Test("A subscriber that resumes gets everything after its id")
    func resumes() async throws {
        store.put(message("m1", .done, reply: "ab"))
        store.put(message("m2", .streaming, prompt: "hi"))
        log.publish("m1", .delta("a", prompt: "p"))
        log.publish("m1", .delta("b", prompt: nil))
        log.publish("m1", .ended)
        log.publish("m2", .delta("c", prompt: "hi"))
        let history = try await read(.after(id(1)))
        #expect(history.frames.map(short) == ["m1 [p]b", "m1 end ab", "m2 [hi]c"])
        #expect(history.frames.map(\.id) == [id(2), id(3), id(4)])
        #expect(history.ended == [Message.ID("m1")])
        #expect(history.running == [Message.ID("m2")])
        #expect(try await read(.after(id(4))).frames.isEmpty)
        #expect(try await read(.after(id(4))).position == id(4))
    }

    @Test(
        "A place that is not there leads to a reset",
        arguments: [
            FrameID(epoch: "e0", sequence: 1), FrameID(epoch: epoch, sequence: 99),
            FrameID(epoch: epoch, sequence: 1), FrameID.nowhere,
        ])
    func resets(place: FrameID) async throws {
        store.put(message("m1", .done, reply: "ab", seq: 1))
        store.put(message("m2", .streaming, prompt: "hi", seq: 2))
        log.publish("m1", .ended)
        log.publish("m2", .delta("c", prompt: "hi"))
        log.change { $0.trimmed = 2 }
        let history = try await read(.after(place))
        #expect(history.frames.map(short) == ["reset", "m1 end ab", "m2 [hi]c"])
        // Until the last one has come, a client that resumes starts over.
        #expect(history.frames.map(\.id) == [.nowhere, .nowhere, id(2)])
        #expect(history.position == id(2))
        #expect(history.ended == [Message.ID("m1")])
    }

    @Test("A reset of an empty chat is a reset with an id")
    func resetsEmptyChat() async throws {
        let history = try await read(.impossible)
        #expect(history.frames.map(short) == ["reset"])
        #expect(history.frames.map(\.id) == [id(0)])
    }

    @Test("A reset has the hundred newest messages, or as many as are a megabyte")
    func resetLimits() async throws {
        for number: Int64 in 1...130 {
            store.put(message("m\(number)", reply: "r", seq: number))
        }
        let frames = try await read(.impossible).frames
        #expect(frames.count == 101)
        #expect(frames[1].messageID.text == "m31" && frames[100].messageID.text == "m130")
        let large = String(repeating: "x", count: 300_000)
        for number: Int64 in 131...140 {
            store.put(message("m\(number)", reply: large, seq: number))
        }
        #expect(try await read(.impossible).frames.count == 4)
    }

    @Test("A message that the store has ended goes on running until the log has its end too")
    func lostEnds() async throws {
        store.put(message("m1", .failed, reply: "a"))
        log.publish("m1", .delta("a", prompt: "p"))
        for resumption in [Resumption.none, .after(id(1)), .after(id(0)), .impossible] {
            let history = try await read(resumption)
            #expect(!history.frames.map(short).contains("m1 end a"), "\(resumption)")
            #expect(history.ended.isEmpty)
            #expect(history.running == [Message.ID("m1")])
        }
        // Delivered once, to the subscriber that had not come so far.
        log.publish("m1", .ended)
        #expect(try await read(.after(id(1))).frames.map(short) == ["m1 end a"])
        #expect(try await read(.after(id(2))).frames.isEmpty)
    }

    @Test("Short prompts stand in every frame, long ones in the first")
    func prompts() async throws {
        let long = String(repeating: "x", count: 1025)
        store.put(message("m1", .streaming, prompt: long))
        store.put(message("m2", .streaming, prompt: "short"))
        log.publish("m1", .delta("a", prompt: long))
        log.publish("m2", .delta("b", prompt: "short"))
        log.publish("m1", .delta("c", prompt: nil))
        log.publish("m2", .delta("d", prompt: nil))
        let frames = try await read(.none).frames.map(short)
        #expect(frames == ["m1 [\(long)]a", "m2 [short]b", "m1 c", "m2 [short]d"])
        // Also for a subscriber that comes when the first frame is gone.
        let rest = HistoryReader(log: log, store: store, resolver: FrameResolver(store: store))
        let later = try await rest.history(of: chat, .after(id(2)), since: nil).frames.map(short)
        #expect(later == ["m1 c", "m2 [short]d"])
    }
}
