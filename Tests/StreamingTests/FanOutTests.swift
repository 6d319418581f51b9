import Gateway
import NIOCore
import NIOEmbedded
import ProxyGPT
import Testing

@testable import Streaming

@Suite struct FanOutTests {
    @Test("Frames go to the subscribers of their chat, on either transport, with the same bytes")
    func fansOut() throws {
        let hall = FanOutStage()
        let first = try hall.join()
        let second = try hall.join()
        let socket = try hall.join(.webSocket(accept: "a"))
        let stranger = try hall.join(chat: Chat.ID("chat-2"))
        hall.tell(History(position: id(0)))
        for seat in [first, second, socket, stranger] { _ = try seat.text() }
        hall.send(delta("a", 1), delta("b", 2))
        #expect(try first.ids() == ["e1-1", "e1-2"])
        #expect(try second.ids() == ["e1-1", "e1-2"])
        #expect(try socket.text().contains("\"event_id\":\"e1-2\"}"))
        #expect(try stranger.text() == "")
    }

    @Test("A chat is watched from the first subscriber to the last")
    func watches() throws {
        let hall = FanOutStage()
        let frames = [logged(1, "m1", .ended)]
        #expect(hall.watched.watched(frames).isEmpty)
        let (first, second) = (try hall.join(), try hall.join())
        #expect(hall.watched.watched(frames).count == 1)
        _ = try first.channel.finish()
        #expect(hall.watched.watched(frames).count == 1)
        _ = try second.channel.finish()
        #expect(hall.watched.watched(frames).isEmpty)
        #expect(hall.fanOut.count == 0)
        #expect(hall.storage.endings == [.left, .left])
    }

    @Test("Live frames are held back until history is there, and those that it has are left out")
    func registersFirst() throws {
        let hall = FanOutStage()
        let seat = try hall.join(resumption: .after(id(3)))
        hall.send(delta("d", 4), delta("e", 5), delta("f", 6))
        #expect(try seat.text() == "")
        hall.tell(History(frames: [delta("d", 4), delta("e", 5)], position: id(5)))
        #expect(try seat.ids() == ["e1-4", "e1-5", "e1-6"])
        hall.send(delta("g", 7))
        #expect(try seat.ids() == ["e1-7"])
    }

    @Test("Live frames that history has already are left out although they come after it")
    func historyIsAhead() throws {
        let hall = FanOutStage()
        let seat = try hall.join(resumption: .after(id(3)))
        hall.tell(History(frames: [delta("d", 4), delta("e", 5)], position: id(5)))
        hall.send(delta("d", 4))
        hall.send(delta("e", 5), delta("f", 6))
        #expect(try seat.ids() == ["e1-4", "e1-5", "e1-6"])
    }

    @Test("A message whose end came out of the store does not end twice")
    func settles() throws {
        let hall = FanOutStage()
        let seat = try hall.join()
        let end = Frame.last(message("m1"), id: id(2))
        hall.tell(History(frames: [end], position: id(2), ended: [Message.ID("m1")]))
        _ = try seat.text()
        hall.send(Frame.last(message("m1"), id: id(3)))
        // A subscriber that resumes from here does not get it again.
        #expect(try seat.text() == "id: e1-3\n\n")
        hall.send(delta("x", 4, of: "m2"))
        #expect(try seat.ids() == ["e1-4"])
    }

    @Test("A stream without history begins with an id to resume from")
    func beginsWithAnID() throws {
        let hall = FanOutStage()
        let seat = try hall.join()
        hall.tell(History(position: id(41)))
        #expect(try seat.text() == "id: e1-41\n\n")
    }

    @Test("When the log begins anew everybody is told how the chat stands, by one reading")
    func startsOver() throws {
        let hall = FanOutStage()
        let seats = [try hall.join(), try hall.join()]
        let late = hall.storage.takeHistories()
        hall.fanOut.receive(LiveBatch(startsOver: true))
        let requests = hall.storage.takeHistories()
        #expect(requests.map(\.resumption) == [.impossible])
        // What was read of the old log comes too late.
        for request in late { request.reply(.history(History(position: id(9)))) }
        hall.loop.run()
        for seat in seats { #expect(try seat.text() == "") }
        let new = FrameID(epoch: "e2", sequence: 1)
        let history = History(frames: [.reset(chat, id: new)], position: new)
        for request in requests { request.reply(.history(history)) }
        hall.loop.run()
        for seat in seats { #expect(try seat.text().hasPrefix("event: reset\nid: e2-1\n")) }
    }

    // MARK: - Slow readers

    @Test("A slow reader is let go with its queue full, and slows nobody")
    func slowReader() throws {
        let hall = FanOutStage()
        let (slow, quick) = (try hall.join(), try hall.join())
        hall.tell(History(position: id(0)))
        slow.block()
        hall.send(delta("a", 1))
        let large = String(repeating: "x", count: 60_000)
        for number: Int64 in 2...7 { hall.send(delta(large, number, of: "m\(number)")) }
        #expect(hall.storage.endings == [.slow])
        #expect(try quick.ids().count == 7)
        #expect(hall.fanOut.count == 1)
    }

    @Test("What waits ten seconds for a reader lets it go")
    func staleReader() throws {
        let hall = FanOutStage()
        let seat = try hall.join()
        hall.tell(History(position: id(0)))
        seat.block()
        hall.send(delta("a", 1))
        hall.send(delta("b", 2))
        hall.advance(seconds: 10)
        hall.fanOut.tick()
        #expect(hall.storage.endings == [])
        hall.advance(seconds: 1)
        hall.fanOut.tick()
        #expect(hall.storage.endings == [.slow])
    }

    @Test("A reader that was slow for a moment goes on in order")
    func catchesUp() throws {
        let hall = FanOutStage()
        let seat = try hall.join()
        hall.tell(History(position: id(0)))
        _ = try seat.text()
        seat.block()
        hall.send(delta("a", 1))
        for number: Int64 in 2...9 { hall.send(delta("b", number)) }
        _ = try seat.text()
        seat.unblock()
        hall.send(delta("c", 10))
        #expect(try seat.ids() == (2...10).map { "e1-\($0)" })
    }

    // MARK: - Time

    @Test("Keep-alives come every fifteen seconds, and move the place to resume from")
    func keepAlives() throws {
        let hall = FanOutStage()
        let (seat, socket) = (try hall.join(), try hall.join(.webSocket(accept: "a")))
        hall.tell(History(position: id(0)))
        hall.fanOut.receive(LiveBatch(last: id(77)))
        _ = (try seat.text(), try socket.text())
        for _ in 0..<15 {
            hall.advance(seconds: 1)
            hall.fanOut.tick()
        }
        #expect(try seat.text() == ": keep-alive\nid: e1-77\n\n")
        #expect(try socket.received() == [])
        for _ in 0..<10 {
            hall.advance(seconds: 1)
            hall.fanOut.tick()
        }
        #expect(try socket.received() == [0x89, 0])
    }

    @Test("A peer that answers no ping is gone; one that answers stays")
    func deadPeers() throws {
        let hall = FanOutStage()
        let (dead, live) = (
            try hall.join(.webSocket(accept: "a")), try hall.join(.webSocket(accept: "a"))
        )
        hall.tell(History(position: id(0)))
        for _ in 0..<50 {
            hall.advance(seconds: 1)
            hall.fanOut.tick()
            // An empty pong, masked.
            if try live.received() == [0x89, 0] {
                try live.channel.writeInbound(ByteBuffer(bytes: [0x8A, 0x80, 1, 2, 3, 4]))
            }
        }
        #expect(hall.storage.endings == [.dead])
        #expect(!dead.channel.isActive && live.channel.isActive)
    }

    @Test("Session and membership are checked again before long, and after every doubt")
    func checksAgain() throws {
        let hall = FanOutStage()
        let seat = try hall.join(.webSocket(accept: "a"))
        hall.tell(History(position: id(0)))
        hall.advance(seconds: 481)
        hall.fanOut.tick()
        for verdict: Bool? in [nil, true] {
            let checks = hall.storage.takeChecks()
            #expect(checks.count == 1)
            for (numbers, reply) in checks {
                reply(numbers.map { (number: $0, isAllowed: verdict) })
            }
            hall.loop.run()
            hall.fanOut.tick()
        }
        #expect(hall.storage.takeChecks().isEmpty)
        #expect(hall.storage.endings == [])
        #expect(seat.channel.isActive)
    }

    // MARK: - Rights and limits

    @Test("A revoked subscriber gets nothing more")
    func revokes() throws {
        let hall = FanOutStage()
        let (event, socket) = (
            try hall.join(session: "s1"), try hall.join(.webSocket(accept: "a"), session: "s1")
        )
        let other = try hall.join(session: "s2")
        hall.tell(History(position: id(0)))
        for seat in [event, socket, other] { _ = try seat.text() }
        hall.fanOut.receive([Revocation(session: Session.ID("s1"))])
        let checks = hall.storage.takeChecks()
        #expect(checks.flatMap(\.0).count == 2)
        for (numbers, reply) in checks { reply(numbers.map { (number: $0, isAllowed: false) }) }
        hall.loop.run()
        hall.send(delta("secret", 1))
        #expect(try event.text() == "")
        #expect(!event.channel.isActive)
        #expect(Array(try socket.received().prefix(4)) == [0x88, 19, 0x03, 0xF0])
        #expect(try other.ids() == ["e1-1"])
        #expect(hall.storage.endings == [.notAllowed, .notAllowed])
    }

    @Test("A revocation concerns those whom all that it names fits")
    func revocationIndex() {
        let subscription = Subscription.made(
            user: author, session: Session.ID("s1"), chat: chat, transport: .serverSentEvents)
        func concerns(_ revocation: Revocation) -> Bool {
            RevocationIndex([revocation]).concerns(subscription)
        }
        #expect(concerns(Revocation(user: author)))
        #expect(concerns(Revocation(user: author, chat: chat)))
        #expect(concerns(Revocation(chat: chat)))
        #expect(!concerns(Revocation(user: author, chat: Chat.ID("chat-2"))))
        #expect(!concerns(Revocation(user: User.ID("user-2"), chat: chat)))
        #expect(!concerns(Revocation(group: Group.ID("g"))))
        #expect(concerns(Revocation(holder: author)), "it is the chat's owner")
        #expect(!concerns(Revocation(holder: User.ID("user-2"))))
        #expect(!concerns(Revocation()))
    }

    @Test("Streams are limited by user, by address and in all, and a place that is left is free")
    func limits() throws {
        let hall = FanOutStage(perUser: 2, perAddress: 3, total: 4)
        func hasRoom(_ user: String, _ address: String) -> Bool {
            hall.fanOut.hasRoom(
                for: .made(
                    user: User.ID(user), session: Session.ID("s"), chat: chat,
                    transport: .serverSentEvents, address: address))
        }
        let first = try hall.join(user: User.ID("a"), address: "1")
        _ = try hall.join(user: User.ID("a"), address: "1")
        #expect(!hasRoom("a", "2") && hasRoom("b", "1"))
        _ = try hall.join(user: User.ID("b"), address: "1")
        #expect(!hasRoom("c", "1") && hasRoom("c", "2"))
        _ = try hall.join(user: User.ID("c"), address: "2")
        #expect(!hasRoom("d", "3"))
        _ = try first.channel.finish()
        #expect(hasRoom("a", "3"))
    }

    @Test("A stop tells browsers when to come back, and WebSockets why")
    func drains() throws {
        let hall = FanOutStage()
        let (event, socket) = (try hall.join(), try hall.join(.webSocket(accept: "a")))
        hall.tell(History(position: id(0)))
        _ = (try event.text(), try socket.text())
        hall.fanOut.drain()
        hall.loop.run()
        #expect(try event.text() == "retry: 1000\n\n")
        #expect(!event.channel.isActive)
        #expect(Array(try socket.received().prefix(4)) == [0x88, 9, 0x03, 0xF4])
        #expect(socket.channel.isActive)
        hall.loop.advanceTime(by: .seconds(2))
        #expect(!socket.channel.isActive)
    }
}
