internal import EventLoop
internal import ProxyGPT

/// A request body on its way up: a task pulls it from its source, libcurl takes from here. Holds
/// the piece that is being sent and the one after it, no more.
@EventLoop final class UploadBody {
    /// The answer to libcurl's request for bytes.
    enum Answer {
        case bytes(Int)
        /// Nothing there yet; `onChange` is called when there is.
        case wait
        case end
        /// The source failed, or does not keep to its length.
        case broken
    }

    let length: Int64?
    /// Called when there is news for a reader that had to wait.
    var onChange: (() -> Void)?
    /// Whether the source has nothing more to give and all of it was taken.
    private(set) var isSent = false
    /// Whether a byte has been taken: from then on the request cannot be sent a second time.
    private(set) var isBegun = false

    private var piece: ArraySlice<UInt8> = []
    private var following: [UInt8]?
    private var remaining: Int64
    private var sourceHasEnded = false
    private var isBroken = false
    private var room: UnsafeContinuation<Void, Never>?
    private var pump: Task<Void, Never>?

    init(_ source: any BodySource) {
        length = source.length
        remaining = source.length ?? Int64.max
        pump = EventLoop.spawn { [weak self] in
            do {
                while let bytes = try await source.next() {
                    guard await self?.offer(bytes) == true else { return }
                }
                self?.finish(broken: false)
            } catch {
                self?.finish(broken: true)
            }
        }
    }

    /// Copies the available bytes into libcurl's buffer.
    func read(into target: UnsafeMutableRawBufferPointer) -> Answer {
        if piece.isEmpty, let next = following {
            piece = next[...]
            following = nil
            room?.resume()
            room = nil
        }
        if isBroken { return .broken }
        guard !piece.isEmpty else {
            guard sourceHasEnded else { return .wait }
            guard length == nil || remaining == 0 else { return .broken }
            isSent = true
            return .end
        }
        let count = min(piece.count, target.count)
        guard Int64(count) <= remaining else { return .broken }
        piece.prefix(count).withUnsafeBytes { target.copyMemory(from: $0) }
        piece.removeFirst(count)
        if length != nil { remaining -= Int64(count) }
        isBegun = true
        isSent = length != nil && remaining == 0
        return .bytes(count)
    }

    /// Ends the pulling; the body is not asked any more.
    func stop() {
        onChange = nil
        pump?.cancel()
        pump = nil
        piece = []
        following = nil
        isBroken = true
        room?.resume()
        room = nil
    }

    /// Takes a piece, then suspends until there is room for another. False when none is wanted.
    private func offer(_ bytes: [UInt8]) async -> Bool {
        guard !isBroken else { return false }
        following = bytes
        onChange?()
        await withUnsafeContinuation { continuation in
            if following == nil { continuation.resume() } else { room = continuation }
        }
        return !isBroken
    }

    private func finish(broken: Bool) {
        sourceHasEnded = true
        isBroken = isBroken || broken
        onChange?()
    }
}
