/// Numbers that differ from process to process, for what should not happen everywhere at once.
struct Spread {
    private var state: UInt64 = 0xCBF2_9CE4_8422_2325

    /// - Parameter seed: a text that no other process has.
    init(_ seed: String) {
        for byte in seed.utf8 { state = (state ^ UInt64(byte)) &* 0x100_0000_01B3 }
    }

    mutating func next(in range: ClosedRange<Int64>) -> Int64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        let width = UInt64(range.upperBound - range.lowerBound) + 1
        return range.lowerBound + Int64((state >> 33) % width)
    }
}
