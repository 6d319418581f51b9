@testable import Gateway
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

    private func refuse(_ count: Int, _ kind: Event.Kind = .request, status: Int = 401) {
        for _ in 0..<count {
            var event = Event(id: Event.ID("x"), timestamp: clock.now(), kind: kind)
            event.status = status
            recorder.record(event)
        }
    }

    private var counts: [Event] { events.recorded.filter { $0.kind == .refused } }

    @Test("A hundred refusals have rows of their own, the rest are one row a minute and reason")
    func countsBeyondTheLimit() {
        refuse(350)
        refuse(20, status: 404)
        refuse(7, .loginFailure)
        #expect(events.recorded.count == 100)
        clock.advance(seconds: 59)
        recorder.writeCounts()
        #expect(events.recorded.count == 100)
        clock.advance(seconds: 1)
        recorder.writeCounts()
        #expect(counts.allSatisfy { $0.end == .done })
        #expect(
            Set(counts.compactMap(\.detail)) == [
                "250 more requests without a valid credential",
                "20 more requests without a valid credential",
                "7 more failed logins without a valid credential",
            ])
        #expect(counts.map(\.status).sorted { ($0 ?? 0) < ($1 ?? 0) } == [401, 401, 404])
        recorder.writeCounts()
        #expect(events.recorded.count == 103)
    }

    @Test("Of a stranger's path a row has 512 bytes")
    func cutsPaths() {
        for count in [512, 513, 5000] {
            recorder.record(
                Event(
                    id: Event.ID("x"), timestamp: clock.now(), kind: .request,
                    path: String(repeating: "p", count: count)))
        }
        #expect(events.recorded.map(\.path.utf8.count) == [512, 512, 512])
    }

    @Test("While the flood goes on there are counts alone, and after it rows again")
    func countsAlone() {
        for _ in 0..<60 {
            refuse(5000)
            clock.advance(seconds: 1)
            recorder.writeCounts()
        }
        #expect(events.recorded.count == 101)
        for _ in 0..<60 {
            refuse(5000)
            clock.advance(seconds: 1)
            recorder.writeCounts()
        }
        #expect(events.recorded.count == 102)
        #expect(counts.map { $0.detail?.prefix(6) } == ["299900", "300000"])
        refuse(3)
        clock.advance(seconds: 60)
        recorder.writeCounts()
        refuse(3)
        #expect(events.recorded.count == 106)
        #expect(counts.last?.detail?.hasPrefix("3 more") == true)
    }

    @Test("A minute with few refusals leaves the next its rows")
    func startsAnew() {
        refuse(100)
        clock.advance(seconds: 60)
        refuse(100)
        #expect(events.recorded.count == 200)
        recorder.writeCounts(isLast: true)
        #expect(counts.isEmpty)
    }

    @Test("What is counted is written when the process ends")
    func writesTheLast() {
        refuse(101)
        recorder.writeCounts(isLast: true)
        #expect(counts.first?.detail?.hasPrefix("1 more") == true)
    }

    @Test("Nothing refused, nothing written")
    func writesNothing() {
        refuse(100)
        clock.advance(seconds: 60)
        recorder.writeCounts()
        #expect(events.recorded.count == 100)
        #expect(events.recorded.allSatisfy { $0.kind == .request })
    }
}
