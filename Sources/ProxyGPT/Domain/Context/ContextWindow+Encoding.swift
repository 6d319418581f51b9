// A context window as bytes, for caches outside of the process.
//
// One byte for the format; then numbers as LEB128 and texts behind their lengths, in the order of
// `encoded`. Another format has another first byte: during an upgrade two releases share one cache,
// and each ignores the other's windows.

internal import Formats

extension ContextWindow {
    /// Grows when the encoding changes, or when the estimate of tokens does, which is part of it.
    private static let format: UInt8 = 1

    /// The greatest valid number. Greater ones would let sums overflow.
    private static let greatestNumber: UInt64 = 1 << 40

    /// The greatest version and the greatest place in a chat: greater ones are refused, for the same
    /// reason.
    private static let greatestCount: UInt64 = UInt64(FrameID.largestSequence)

    /// The window as bytes.
    package var encoded: [UInt8] {
        var writer = ByteWriter()
        writer.bytes.reserveCapacity(size)
        writer.bytes.append(Self.format)
        writer.number(UInt64(clamping: version))
        writer.number(UInt64(clamping: budget))
        writer.bytes.append((isExhausted ? 1 : 0) | (isCut ? 2 : 0))
        writer.number(UInt64(entries.count))
        for entry in entries {
            writer.number(UInt64(clamping: entry.seq))
            writer.number(UInt64(clamping: entry.tokens))
            writer.text(entry.prompt)
            writer.text(entry.reply)
        }
        return writer.bytes
    }

    /// Reads `encoded`; nil for anything else.
    package init?(encoded bytes: some Collection<UInt8>) {
        var reader = ByteReader(Array(bytes))
        guard reader.byte() == Self.format,
            let version = reader.number(), version <= Self.greatestCount,
            let budget = reader.number(), budget <= Self.greatestNumber,
            let flags = reader.byte(), flags <= 3,
            let count = reader.number(), count <= UInt64(Self.greatestLimit)
        else { return nil }
        var entries: [Entry] = []
        var tokens: UInt64 = 0
        for _ in 0..<count {
            guard let seq = reader.number(), seq <= Self.greatestCount,
                entries.last.map({ $0.seq < Int64(seq) }) ?? true,
                let price = reader.number(), price <= Self.greatestNumber,
                let prompt = reader.text(), let reply = reader.text()
            else { return nil }
            tokens += price
            entries.append(
                Entry(seq: Int64(seq), prompt: prompt, reply: reply, tokens: Int(price)))
        }
        guard reader.isAtEnd, tokens <= budget else { return nil }
        self.init(
            version: Int64(version), entries: entries, isExhausted: flags & 1 == 1,
            isCut: flags & 2 == 2, budget: Int(budget))
    }
}
