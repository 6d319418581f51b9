internal import NIOCore

/// What waits for one subscriber behind the bytes that are being written.
///
/// Bounds: 256 KiB and 10 s. Before anything is given up for its size, words of one message that
/// stand side by side become one frame.
struct SubscriberQueue {
    static let byteLimit = 256 * 1024
    /// In milliseconds.
    static let ageLimit: Int64 = 10_000

    enum Item {
        case frame(EncodedFrame)
        case bytes(ByteBuffer)
    }

    private struct Entry {
        var item: Item
        var size: Int
        let since: Int64
    }

    private let wire: Wire
    private var entries: [Entry] = []
    private var start = 0
    private(set) var bytes = 0

    init(_ wire: Wire) {
        self.wire = wire
    }

    var isEmpty: Bool { start == entries.count }
    var count: Int { entries.count - start }

    /// Adds an item; false when it would be too much even after merging. Nothing is added then.
    mutating func append(_ item: Item, now: Int64) -> Bool {
        let size = size(of: item)
        if bytes + size > Self.byteLimit && !isEmpty {
            merge()
            // One that is larger than all may wait still has a place when nothing else waits.
            if bytes + size > Self.byteLimit { return false }
        }
        entries.append(Entry(item: item, size: size, since: now))
        bytes += size
        return true
    }

    /// Takes the first item's bytes.
    mutating func next() -> ByteBuffer? {
        guard start < entries.count else { return nil }
        let entry = entries[start]
        start += 1
        bytes -= entry.size
        if start == entries.count {
            entries = []
            start = 0
        } else if start >= 64, start * 2 >= entries.count {
            entries.removeFirst(start)
            start = 0
        }
        switch entry.item {
        case .bytes(let bytes): return bytes
        case .frame(let frame): return frame.bytes(for: wire)
        }
    }

    /// Whether something has waited for too long.
    func isStale(now: Int64) -> Bool {
        start < entries.count && now - entries[start].since > Self.ageLimit
    }

    mutating func removeAll() {
        entries = []
        start = 0
        bytes = 0
    }

    private mutating func merge() {
        var merged: [Entry] = []
        for entry in entries[start...] {
            if case .frame(let next) = entry.item, case .frame(let last)? = merged.last?.item,
                let both = last.merged(with: next), let index = merged.indices.last
            {
                merged[index].item = .frame(both)
            } else {
                merged.append(entry)
            }
        }
        bytes = 0
        for index in merged.indices {
            merged[index].size = size(of: merged[index].item)
            bytes += merged[index].size
        }
        entries = merged
        start = 0
    }

    private func size(of item: Item) -> Int {
        switch item {
        case .bytes(let bytes): bytes.readableBytes
        case .frame(let frame): frame.bytes(for: wire).readableBytes
        }
    }
}
