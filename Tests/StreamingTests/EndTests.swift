import Gateway
import NIOCore
import NIOEmbedded
import ProxyGPT
import Testing

@testable import Streaming

/// Ends that get lost, come late or overtake a history, and chats that begin anew.
@Suite struct EndTests {
    /// A hall whose one subscriber has been told the first words of `m1`.
    private static func withRunningMessage() throws -> (FanOutStage, SubscriberProbe) {
        let hall = FanOutStage()
        let seat = try hall.join()
        hall.tell(History(position: id(0)))
        hall.send(delta("a", 1))
        return (hall, seat)
    }

    @Test("A chat of which a frame is missing begins anew, as soon as the store can be read")
    func startsBrokenChatOver() throws {
        let hall = FanOutStage()
        let (seat, other) = (try hall.join(), try hall.join(chat: Chat.ID("chat-2")))
        hall.tell(History(position: id(0)))
        let late = try hall.join(resumption: .after(id(1)))
        let tooLate = hall.storage.takeHistories()
        _ = (try seat.text(), try other.text())
        hall.fanOut.receive(LiveBatch(frames: [delta("a", 1)], last: id(3), broken: [chat]))
        for request in tooLate { request.reply(.history(History(position: id(1)))) }
        hall.send(delta("b", 4, of: "m2"))
        #expect(try seat.text() == "" && late.text() == "", "what was missed comes first")
        for attempt in 1...3 {
            let requests = hall.storage.takeHistories()
            #expect(requests.map(\.resumption) == [.impossible])
            let history = History(
                frames: [.reset(chat, id: .nowhere), .last(message("m1"), id: id(3))],
                position: id(3), ended: [Message.ID("m1")])
            for request in requests { request.reply(attempt < 3 ? .failed : .history(history)) }
            hall.loop.run()
            hall.loop.advanceTime(by: .seconds(1))
        }
        #expect(hall.storage.takeHistories().isEmpty)
        for seat in [seat, late] { #expect(try seat.ids() == ["reset-0", "e1-3", "e1-4"]) }
        #expect(try other.text() == "")
        #expect(hall.storage.endings == [])
    }

    @Test("A chat begins anew where a message is in no database any more, and the log forgets it")
    func startsOverWithoutTheLost() throws {
        let (hall, seat) = try Self.withRunningMessage()
        _ = try seat.text()
        hall.advance(seconds: 60)
        hall.fanOut.tick()
        for (ids, reply) in hall.storage.takePolls() {
            reply(FoundEnds(gone: ids.map { (chat: chat, message: $0) }))
        }
        hall.loop.run()
        #expect(hall.storage.published == [Message.ID("m1")])
        let requests = hall.storage.takeHistories()
        #expect(requests.map(\.resumption) == [.impossible])
        let history = History(frames: [.reset(chat, id: .nowhere)], position: id(2))
        for request in requests { request.reply(.history(history)) }
        hall.loop.run()
        #expect(try seat.text().contains("event: reset"))
        hall.advance(seconds: 60)
        hall.fanOut.tick()
        #expect(hall.storage.takePolls().isEmpty, "nobody waits for it any more")
    }

    @Test("A subscriber that comes after an end was delivered from the store gets it too")
    func untakenEndForLatecomers() throws {
        let hall = FanOutStage()
        let (seat, held) = (try hall.join(), try hall.join())
        hall.tell(History(position: id(0)))
        hall.send(delta("a", 1))
        let ended = message("m1", .failed, reply: "a")
        for _ in 1...5 { hall.pollEnds([ended]) }
        let waiting = try hall.join(resumption: .after(id(1)))
        hall.pollEnds([ended])
        for seat in [seat, held] { #expect(try seat.ids() == ["e1-1", "e1-1"]) }
        let late = try hall.join(resumption: .after(id(1)))
        hall.tell(History(position: id(1), running: [ended.id]))
        #expect(try waiting.ids() == ["e1-1"])
        // The store may be away for a moment.
        for answer in [[], [ended]] {
            #expect(try late.ids() == [])
            let polls = hall.storage.takePolls()
            #expect(polls.map(\.0) == [[ended.id]])
            for (_, reply) in polls { reply(FoundEnds(ended: answer)) }
            hall.loop.run()
            hall.loop.advanceTime(by: .seconds(1))
        }
        #expect(try late.ids() == ["e1-1"])
        #expect(hall.storage.takePolls().isEmpty)
        for seat in [seat, held, waiting] { #expect(try seat.ids() == []) }
    }

    @Test("An end out of the store has no smaller id than the history before it")
    func storeEndBehindHistory() throws {
        let (hall, first) = try Self.withRunningMessage()
        let ended = message("m1", .failed, reply: "a")
        for _ in 1...5 { hall.pollEnds([ended]) }
        let seat = try hall.join(resumption: .after(id(1)))
        hall.pollEnds([ended])
        #expect(try first.ids() == ["e1-1", "e1-1"])
        hall.tell(History(frames: [delta("b", 3, of: "m2")], position: id(3)))
        #expect(try seat.ids() == ["e1-3", "e1-3"])
    }

    @Test("The past is asked for from the newest frame that was passed on")
    func knowsItsBeginning() throws {
        let hall = FanOutStage()
        hall.fanOut.receive(LiveBatch(last: id(7)))
        _ = try hall.join()
        #expect(hall.storage.takeHistories().map(\.last) == [id(7)])
    }

    @Test("An end that the log takes while it is read from the store is told once")
    func takenWhileTold() throws {
        for startsOver in [false, true] {
            let (hall, first) = try Self.withRunningMessage()
            let ended = message("m1", .failed, reply: "a")
            for _ in 1...6 { hall.pollEnds([ended]) }
            #expect(try first.ids() == ["e1-1", "e1-1"])
            let late = try hall.join(resumption: .after(id(1)))
            hall.tell(History(position: id(1), running: [ended.id]))
            _ = try late.text()
            let polls = hall.storage.takePolls()
            if startsOver { hall.fanOut.receive(LiveBatch(last: id(1), broken: [chat])) }
            hall.send(.last(ended, id: id(2)))
            #expect(try late.ids() == (startsOver ? [] : ["e1-2"]))
            for (_, reply) in polls { reply(FoundEnds(ended: [ended])) }
            hall.loop.run()
            let end = Frame.last(ended, id: id(2))
            hall.tell(History(frames: [.reset(chat, id: .nowhere), end], position: id(2)))
            #expect(try late.ids() == (startsOver ? ["reset-0", "e1-2"] : []))
        }
    }

    @Test("A subscriber without access is closed although the chat began anew meanwhile")
    func refusalOutlivesStartingOver() throws {
        let hall = FanOutStage()
        let (refused, unknown) = (try hall.join(), try hall.join())
        let first = hall.storage.takeHistories()
        hall.fanOut.receive(LiveBatch(last: id(1), broken: [chat]))
        for (request, reply) in zip(first, [HistoryReply.notAllowed, .failed]) {
            request.reply(reply)
        }
        hall.loop.run()
        #expect(hall.storage.endings == [.notAllowed, .failed])
        let history = History(frames: [.reset(chat, id: id(1))], position: id(1))
        for request in hall.storage.takeHistories() { request.reply(.history(history)) }
        hall.loop.run()
        for seat in [refused, unknown] {
            #expect(try !seat.text().contains("reset"))
            #expect(!seat.channel.isActive)
        }
    }

    @Test("History that was read for subscribers that left reaches none that came later")
    func historyOfTheGone() throws {
        let hall = FanOutStage()
        let gone = try hall.join()
        let late = hall.storage.takeHistories()
        _ = try gone.channel.finish()
        let seat = try hall.join()
        hall.tell(History(position: id(2)))
        let ended = message("m1")
        for request in late {
            request.reply(.history(History(position: id(1), running: [ended.id])))
        }
        hall.loop.run()
        _ = try seat.text()
        for _ in 1...7 { hall.pollEnds([ended]) }
        #expect(hall.storage.published == [])
        #expect(try seat.ids() == [])
    }

    @Test("A chat that cannot be read for a minute lets its subscribers go")
    func givesUpBrokenChat() throws {
        let hall = FanOutStage()
        _ = try hall.join()
        hall.tell(History(position: id(0)))
        hall.fanOut.receive(LiveBatch(last: id(1), broken: [chat]))
        for attempt in 1...60 {
            #expect(hall.storage.endings == [])
            let requests = hall.storage.takeHistories()
            #expect(requests.count == 1, "attempt \(attempt)")
            for request in requests { request.reply(.failed) }
            hall.loop.run()
            hall.loop.advanceTime(by: .seconds(1))
        }
        #expect(hall.storage.endings == [.failed])
        #expect(hall.storage.takeHistories().isEmpty)
    }

    @Test("An end that came while a history was read is looked for no more")
    func endOvertakesHistory() throws {
        let (hall, seat) = try Self.withRunningMessage()
        let late = try hall.join()
        let ended = message("m1", reply: "a")
        hall.send(.last(ended, id: id(2)))
        hall.tell(History(frames: [delta("a", 1)], position: id(1), running: [ended.id]))
        for seat in [seat, late] { #expect(try seat.ids() == ["e1-1", "e1-2"]) }
        for _ in 1...7 { hall.pollEnds([ended]) }
        #expect(hall.storage.published == [])
        for seat in [seat, late] { #expect(try seat.ids() == []) }
    }

    @Test("The end of a message that ended in silence is published, at the second sight of it")
    func lostEnd() throws {
        let (hall, seat) = try Self.withRunningMessage()
        _ = try seat.text()
        let ended = message("m1", .failed, reply: "a")
        for expected in [[], [ended.id]] {
            hall.pollEnds([ended])
            #expect(hall.storage.published == expected)
        }
        hall.send(.last(ended, id: id(2)))
        #expect(try seat.ids() == ["e1-2"])
        hall.pollEnds([ended])
        #expect(hall.storage.published.count == 1)
    }

    @Test("An end that the log does not take is told out of the store, once")
    func untakenEnd() throws {
        let (hall, seat) = try Self.withRunningMessage()
        _ = try seat.text()
        let ended = message("m1", .failed, reply: "a")
        for expected in [[], [], [], [], [], ["e1-1"], []] {
            hall.pollEnds([ended])
            #expect(try seat.ids() == expected)
        }
        #expect(hall.storage.published == [ended.id])
        // The frame itself, late: a subscriber that resumes from here does not get it again.
        hall.advance(seconds: 600)
        hall.fanOut.tick()
        _ = try seat.text()
        hall.send(.last(ended, id: id(2)))
        #expect(try seat.text() == "id: e1-2\n\n")
    }
}
