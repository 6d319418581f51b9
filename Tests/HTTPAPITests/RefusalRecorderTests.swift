@testable import HTTPAPI
import Credentials
import ProxyGPT
import Testing

@Suite struct RefusalRecorderTests {
    private let clock = ManualClock()
    private let events = ControlledEvents(Journal())
    private let recorder: RefusalRecorder

    init() {
        recorder = RefusalRecorder(
            events: events, clock: clock, identifiers: RandomIdentifiers(clock: clock))
    }

    private func refuse(_ count: Int) {
        for _ in 0..<count {
            recorder.record(Event(id: Event.ID("x"), timestamp: clock.now(), kind: .request))
        }
    }

    @Test("A hundred refusals a second have rows of their own, the rest are one row together")
    func countsBeyondTheRate() {
        refuse(350)
        #expect(events.recorded.count == 100)
        recorder.writeCount()
        #expect(events.recorded.count == 101)
        let row = events.recorded.last
        #expect(row?.kind == .refused && row?.end == .done)
        #expect(row?.detail == "250 more requests without a valid credential")
        recorder.writeCount()
        #expect(events.recorded.count == 101)
    }

    @Test("The next second has a hundred of its own")
    func startsAnew() {
        refuse(101)
        clock.advance(seconds: 1)
        refuse(100)
        #expect(events.recorded.count == 200)
        recorder.writeCount()
        #expect(events.recorded.last?.detail?.hasPrefix("1 more") == true)
    }

    @Test("Nothing refused, nothing written")
    func writesNothing() {
        refuse(100)
        recorder.writeCount()
        #expect(events.recorded.count == 100)
        #expect(events.recorded.allSatisfy { $0.kind == .request })
    }
}
