@testable import Gateway
import HTTPAPI
import ProxyGPT
import TestSupport
import Testing

/// When what leaves: the order of rows, upstream and answer.
@Suite(.timeLimit(.minutes(5))) struct ForwardingTests {
    private let stage: Stage
    private let sse = Header("Content-Type", "text/event-stream")

    init() throws {
        stage = try Stage()
    }

    private func length(_ count: Int) -> Header { Header("Content-Length", String(count)) }

    private func isThere(_ entry: String) -> Bool { stage.journal.entries.contains(entry) }

    @Test("A short answer that is there as a whole needs the closing row alone")
    func answersWholeAnswers() async throws {
        let token = try await stage.user()
        stage.upstream.play(.init(headers: [length(5)], steps: [.bytes("01234")]))
        let writer = await stage.get("/v1/models", token: token)
        #expect(
            stage.journal.entries
                == ["open", "start", "close?", "closed", "begin 200", "write 01234", "finish"])
        #expect(writer.value(of: "Content-Length") == "5")
        #expect(writer.value(of: "X-Accel-Buffering") == nil)
    }

    @Test("The last byte of an answer of known length waits for the closing row")
    func holdsBackTheLastPiece() async throws {
        let token = try await stage.user()
        let closings = Gate()
        stage.events.set { $0.closings = closings }
        stage.upstream.play(
            .init(headers: [length(10)], steps: [.bytes("VWXYZ"), .bytes("UVW"), .bytes("XY")]))
        async let served = stage.get("/v1/files/f/content", token: token)
        await stage.journal.wait(for: "close?")
        #expect(
            stage.journal.entries == [
                "open", "start", "opened?", "opened", "begin 200", "write VWXYZ!", "write UVW!",
                "close?",
            ])
        closings.open()
        #expect(await served.text == "VWXYZUVWXY")
        #expect(stage.journal.entries.suffix(3) == ["closed", "write XY", "finish"])
    }

    @Test("A streamed answer waits for the opening row before its first byte")
    func waitsForTheOpeningRow() async throws {
        let token = try await stage.user()
        let openings = Gate()
        stage.events.set { $0.openings = openings }
        stage.upstream.play(
            .init(headers: [sse], steps: [.bytes("data: 1\n\n"), .bytes("data: 2\n\n")]))
        async let served = stage.post("/v1/chat/completions", "{}", token: token)
        await stage.journal.wait(for: "opened?")
        #expect(stage.journal.entries == ["open", "start", "opened?"])
        openings.open()
        let writer = await served
        #expect(
            stage.journal.entries == [
                "open", "start", "opened?", "opened", "begin 200", "write !", "write data: 1\n\n!",
                "write data: 2\n\n!", "close?", "closed", "finish",
            ])
        #expect(writer.value(of: "X-Accel-Buffering") == "no")
    }

    @Test("A piece leaves at once, while the upstream has yet to send the next")
    func passesPiecesAtOnce() async throws {
        let token = try await stage.user()
        let (first, second) = (Gate(), Gate())
        stage.upstream.play(
            .init(
                headers: [sse], steps: [.wait(first), .bytes("one"), .wait(second), .bytes("two")]))
        async let served = stage.post("/v1/chat/completions", "{}", token: token)
        // The head of a stream leaves before its first event.
        await stage.journal.wait(for: "write !")
        first.open()
        await stage.journal.wait(for: "write one!")
        #expect(!isThere("close?"))
        second.open()
        #expect(await served.text == "onetwo")
    }

    @Test("The end of an answer of unknown length waits for the closing row")
    func holdsBackTheEnd() async throws {
        let token = try await stage.user()
        let closings = Gate()
        stage.events.set { $0.closings = closings }
        stage.upstream.play(.init(steps: [.bytes("all of it")]))
        async let served = stage.get("/v1/models", token: token)
        await stage.journal.wait(for: "close?")
        #expect(isThere("write all of it!") && !isThere("finish"))
        closings.open()
        #expect(await served.status == 200)
        #expect(stage.journal.entries.suffix(2) == ["closed", "finish"])
    }

    @Test("An empty answer is one, too", arguments: [200, 204, 304])
    func answersEmptyAnswers(status: Int) async throws {
        let token = try await stage.user()
        stage.upstream.play(.init(status: status, headers: status == 304 ? [length(99)] : []))
        let writer = await stage.get("/v1/models", token: token)
        #expect(writer.status == status)
        #expect(stage.journal.entries.suffix(3) == ["closed", "begin \(status)", "finish"])
    }

    @Test("Without its closing row a call is not answered, but by 503")
    func refusesWithoutTheClosingRow() async throws {
        let token = try await stage.user()
        stage.events.set { $0.closingsFail = true }
        stage.upstream.play(.init(headers: [length(5)], steps: [.bytes("01234")]))
        let writer = await stage.get("/v1/models", token: token)
        #expect(writer.status == 503)
        #expect(writer.errorCode == "unavailable")
        #expect(writer.value(of: "Retry-After") == "5")
        #expect(!writer.text.contains("01234"))
    }

    @Test("A stream whose closing row cannot be written is broken off, not ended")
    func abortsWithoutTheClosingRow() async throws {
        let token = try await stage.user()
        stage.events.set { $0.closingsFail = true }
        stage.upstream.play(.init(headers: [sse], steps: [.bytes("data: 1\n\n")]))
        await stage.post("/v1/chat/completions", "{}", token: token)
        #expect(stage.journal.entries.last == "abort")
        #expect(!isThere("finish"))
    }

    @Test("A stream whose opening row cannot be written is refused before its first byte")
    func refusesWithoutTheOpeningRow() async throws {
        let token = try await stage.user()
        stage.events.set { $0.openingsFail = true }
        stage.upstream.play(.init(headers: [sse], steps: [.bytes("data: 1\n\n")]))
        let writer = await stage.post("/v1/chat/completions", "{}", token: token)
        #expect(writer.status == 503)
        #expect(isThere("cancel") && !isThere("begin 200"))
    }

    @Test("While rows cannot be written no call goes upstream, and once they can, calls do again")
    func stopsSpending() async throws {
        let token = try await stage.user()
        stage.events.set { rules in
            rules.closingsFail = true
            rules.openingsFail = true
        }
        stage.upstream.play(.init(headers: [length(2)], steps: [.bytes("ok")]))
        await stage.get("/v1/models", token: token)
        #expect(stage.upstream.calls.count == 1)
        for _ in 0..<3 {
            let writer = await stage.get("/v1/models", token: token)
            #expect(writer.status == 503)
        }
        #expect(stage.upstream.calls.count == 1)
        stage.events.set { $0 = .init() }
        #expect(await stage.get("/v1/models", token: token).text == "ok")
        stage.journal.clear()
        #expect(await stage.get("/v1/models", token: token).text == "ok")
        // All is well again: nobody waits for the opening row of a short call.
        #expect(!isThere("opened?"))
    }

    @Test("A client that leaves before the head cancels the call and closes the row as client_gone")
    func recordsAnEarlyLeave() async throws {
        let token = try await stage.user()
        stage.upstream.play(.init(head: Gate()))
        let stage = stage
        let serving = Task { await stage.get("/v1/models", token: token) }
        await stage.journal.wait(for: "start")
        serving.cancel()
        let writer = await serving.value
        #expect(writer.status == nil)
        #expect(stage.journal.entries == ["open", "start", "close?", "closed", "abort"])
        #expect(stage.events.closed.map(\.end) == [.clientGone])
        #expect(stage.events.closed.first?.status == nil)
    }

    @Test("A client that leaves in mid-stream cancels the call and closes the row as client_gone")
    func recordsALateLeave() async throws {
        let token = try await stage.user()
        stage.upstream.play(
            .init(headers: [sse], steps: [.bytes("one"), .bytes("two"), .bytes("three")]))
        await stage.serve(
            Stage.request("POST", "/v1/chat/completions", token: token, body: "{}"),
            leavesAfterWrites: 1)
        #expect(stage.journal.entries.suffix(4) == ["cancel", "close?", "closed", "abort"])
        let row = try #require(stage.events.closed.first)
        #expect(row.end == .clientGone)
        #expect(row.status == 200)
        #expect(row.bytesOut == 6)
    }

    @Test("A call that this server gives up because it stops is recorded as stopped")
    func recordsAStop() async throws {
        let token = try await stage.user()
        stage.upstream.play(.init(headers: [sse], steps: [.bytes("one"), .bytes("two")]))
        let request = Stage.request("POST", "/v1/chat/completions", token: token, body: "{}")
        await stage.serve(request, leavesAfterWrites: 1, stops: true)
        stage.upstream.play(.init(failure: .cancelled))
        await stage.serve(request, stops: true)
        #expect(stage.events.closed.map(\.end) == [.stopped, .stopped])
        #expect(stage.journal.entries.last == "abort")
    }

    @Test("A client that leaves as the last bytes go out leaves its row as it was committed")
    func closesOnce() async throws {
        let token = try await stage.user()
        stage.upstream.play(.init(headers: [length(4)], steps: [.bytes("last")]))
        await stage.serve(Stage.request("GET", "/v1/models", token: token), leavesAfterWrites: 0)
        #expect(stage.events.closed.map(\.end) == [.done])
        #expect(stage.journal.entries.last == "abort")
        #expect(stage.journal.entries.filter { $0 == "close?" }.count == 1)
    }
}
