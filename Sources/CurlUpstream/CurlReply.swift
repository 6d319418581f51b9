internal import EventLoop
internal import ProxyGPT

/// The caller's handle of a call. To drop it before the end is to cancel it.
@EventLoop final class CurlReply: UpstreamReply {
    nonisolated let head: UpstreamHead
    private let call: CurlCall

    init(_ head: UpstreamHead, _ call: CurlCall) {
        self.head = head
        self.call = call
    }

    isolated deinit {
        call.cancel()
    }

    @EventLoop func next() async throws(UpstreamFailure) -> [UInt8]? {
        try await call.nextBytes()
    }

    @EventLoop func cancel() async {
        call.cancel()
    }
}
