package import ProxyGPT

/// Makes event rows: whatever is recorded begins here, with an id and a time.
package struct EventBuilder: Sendable {
    private let clock: any Clock
    private let identifiers: any IdentifierSource

    package init(clock: any Clock, identifiers: any IdentifierSource) {
        self.clock = clock
        self.identifiers = identifiers
    }

    /// A row that no single request is behind.
    func row(_ kind: Event.Kind) -> Event {
        Event(id: Event.ID(identifiers.next()), timestamp: clock.now(), kind: kind)
    }

    /// The row of a request.
    package func row(_ kind: Event.Kind, of request: Request) -> Event {
        Event(
            id: Event.ID(identifiers.next()), timestamp: clock.now(), kind: kind,
            requestID: request.id, clientAddress: request.clientAddress, method: request.method,
            path: String(request.path))
    }

    /// A further row of the request that `event` is of.
    package func row(_ kind: Event.Kind, beside event: Event) -> Event {
        var row = Event(
            id: Event.ID(identifiers.next()), timestamp: clock.now(), kind: kind,
            requestID: event.requestID, clientAddress: event.clientAddress, method: event.method,
            path: event.path)
        row.userID = event.userID
        row.chatID = event.chatID
        row.groupID = event.groupID
        row.model = event.model
        return row
    }
}
