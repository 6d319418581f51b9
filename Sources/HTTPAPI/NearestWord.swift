internal import ProxyGPT

/// How many letters two words differ in, and which of some known words is meant by another.
enum NearestWord {
    /// The known word that differs from `word` in the fewest letters, two at most and fewer than it
    /// has; case does not count. Nil where none is near.
    static func of(_ word: String, among known: [String]) -> String? {
        guard word.isShortASCII else { return nil }
        let letters = word.utf8.map(lowerCase)
        var nearest: (word: String, distance: Int)?
        for candidate in known {
            let distance = distance(letters, candidate.utf8.map(lowerCase))
            guard distance <= min(2, candidate.utf8.count - 1) else { continue }
            if distance < nearest?.distance ?? .max { nearest = (candidate, distance) }
        }
        return nearest?.word
    }

    /// The least number of letters to insert, remove or replace (Levenshtein).
    private static func distance(_ left: [UInt8], _ right: [UInt8]) -> Int {
        var row = Array(0...right.count)
        for (index, letter) in left.enumerated() {
            var diagonal = row[0]
            row[0] = index + 1
            for (column, other) in right.enumerated() {
                let replaced = diagonal + (letter == other ? 0 : 1)
                diagonal = row[column + 1]
                row[column + 1] = min(replaced, row[column] + 1, diagonal + 1)
            }
        }
        return row[right.count]
    }
}
