internal import Formats
package import ProxyGPT
internal import Synchronization

/// A request body on its way upstream, inspected in passing: its size, its beginning, and the
/// members that the event row wants. Fails when it grows over the limit.
package final class RequestTap: BodySource {
    private struct State {
        var count: Int64 = 0
        var beginning: [UInt8] = []
        var scanner = JSONFieldScanner(wanted: ["model"])
    }

    private let body: any BodySource
    private let limit: Int64
    private let isJSON: Bool
    private let keepsBeginning: Bool
    private let state = Mutex(State())

    package let length: Int64?

    /// - Parameter limit: the most bytes that may come, for bodies of unknown length.
    package init(_ body: any BodySource, limit: Int64, isJSON: Bool, keepsBeginning: Bool) {
        self.body = body
        self.limit = limit
        self.isJSON = isJSON
        self.keepsBeginning = keepsBeginning
        length = body.length
    }

    package func next() async throws -> [UInt8]? {
        guard let bytes = try await body.next() else { return nil }
        let count = state.withLock { state in
            state.count += Int64(bytes.count)
            if keepsBeginning, state.beginning.count < Event.bodyLimit {
                state.beginning.append(
                    contentsOf: bytes.prefix(Event.bodyLimit - state.beginning.count))
            }
            if isJSON { state.scanner.feed(bytes) }
            return state.count
        }
        guard count <= limit else {
            throw Failure(.tooLarge, "The body is larger than \(limit) bytes.")
        }
        return bytes
    }

    package var count: Int64 { state.withLock(\.count) }

    package var beginning: [UInt8] { state.withLock(\.beginning) }

    /// The model that the request names.
    package var model: String? {
        let bytes = state.withLock { $0.scanner.found["model"] }
        return bytes.flatMap { try? JSONValue(parsing: $0) }?.stringValue
    }
}
