internal import Gateway
internal import Metrics
internal import ProxyGPT

/// A request on its way through the product, with what becomes known of it. One task's own.
final class Call {
    private(set) var request: Request
    let writer: any ResponseWriter
    /// Microseconds of the monotonic clock at the arrival of the request.
    let startedAt: Int64
    var event: Event
    /// Where its time goes.
    let stages: Stages
    /// What it is counted under.
    let route: Int
    /// The closing row is committed: what happens to the answer now cannot change it.
    var isClosed = false
    var target: RequestTarget?
    /// The endpoint of our own that the request is for.
    var endpoint: Endpoint?
    /// The authenticated caller; nil before.
    var caller: Caller?
    var parameters: Parameters?

    init(
        _ request: Request, _ writer: any ResponseWriter, event: Event, startedAt: Int64,
        stages: Stages = Stages()
    ) {
        self.stages = stages
        route = Endpoints.countedIndex(of: event.path)
        self.request = request
        self.writer = writer
        self.event = event
        self.startedAt = startedAt
    }

    /// Lets go of the request's headers once the answer's head is out: streams last, and are many.
    func forgetHeaders() {
        request.headers = []
    }

    /// The caller, on routes that demand a credential.
    func authenticated() throws(Failure) -> Caller {
        guard let caller else { throw .missingCredential }
        return caller
    }

    /// The parameters, which the router has read before it calls a handler.
    func parsedParameters() throws(Failure) -> Parameters {
        if let parameters { return parameters }
        return try Parameters([])
    }
}
