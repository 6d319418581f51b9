@testable import Gateway
import Credentials
import Logging
import ProxyGPT
import Testing

@Suite struct LedgerTests {
    private let clock = ManualClock()
    private let events = ControlledEvents(Journal())
    private let ledger: Ledger

    init() {
        ledger = Ledger(
            events: events, clock: clock, identifiers: RandomIdentifiers(clock: clock),
            logger: Logger(label: "test"))
    }

    private func row(_ end: Event.End) -> Event {
        var row = ledger.rows.row(.stream)
        row.end = end
        return row
    }

    @Test(
        "A closing row that could not be written is written once rows can be, with the end that fits"
    )
    func writesLater() async {
        events.set { $0.closingsFail = true }
        // The caller of the first was answered 503; the second was a stream, which had ended anyway.
        #expect(await !ledger.close(row(.done)))
        #expect(await !ledger.close(row(.clientGone), orElse: nil))
        #expect(!ledger.isHealthy)
        ledger.tick()
        #expect(events.recorded.isEmpty)
        events.set { $0.closingsFail = false }
        #expect(await ledger.close(row(.done)))
        #expect(ledger.isHealthy)
        ledger.tick()
        #expect(events.recorded.compactMap(\.end?.rawValue).sorted() == ["client_gone", "error"])
        ledger.tick()
        #expect(events.recorded.count == 2)
    }

    @Test("A row that is closed after all is not written twice")
    func writesOnce() async {
        events.set { $0.closingsFail = true }
        let row = row(.done)
        #expect(await !ledger.close(row))
        events.set { $0.closingsFail = false }
        #expect(await ledger.close(row))
        ledger.tick()
        #expect(events.recorded.isEmpty)
        #expect(events.closed.map(\.id) == [row.id])
    }

    @Test("A further row of a request has its own id and the request's names")
    func makesFurtherRows() {
        var first = ledger.rows.row(.request)
        first.userID = User.ID("u")
        first.chatID = "c"
        first.groupID = "g"
        first.model = "m"
        let second = ledger.rows.row(.reply, beside: first)
        #expect(second.id != first.id && second.kind == .reply)
        #expect(second.userID == first.userID && second.chatID == "c")
        #expect(second.groupID == "g" && second.model == "m" && second.end == nil)
    }
}
