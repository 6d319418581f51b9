extension Dictionary where Value == Int {
    /// Takes one off a count; what counts nothing is not kept.
    mutating func countDown(_ key: Key) {
        let count = self[key, default: 1] - 1
        self[key] = count > 0 ? count : nil
    }
}
