internal import Formats

/// The known name that is probably meant by an unknown one: the nearest within two letters that are
/// added, left out or replaced, but not all letters; the first of two equally near ones; nil where
/// none is near.
///
/// Names are ASCII. Case does not count.
/// - Parameter lengths: the lengths of both names in bytes: of short names two letters are too
/// much, and no setting's name is longer than 64.
package func nearestName(
    to unknown: String, among names: some Sequence<String>,
    ofLength lengths: ClosedRange<Int> = 1...64
) -> String? {
    guard lengths.contains(unknown.utf8.count) else { return nil }
    let wanted = unknown.utf8.map(lowerCase)
    var nearest: (name: String, distance: Int)?
    for name in names {
        guard lengths.contains(name.utf8.count), abs(name.utf8.count - wanted.count) <= 2 else {
            continue
        }
        let distance = editDistance(wanted, name.utf8.map(lowerCase))
        guard distance <= min(2, name.utf8.count - 1) else { continue }
        if distance < nearest?.distance ?? .max { nearest = (name, distance) }
    }
    return nearest?.name
}

/// The number of bytes to add, leave out or replace that makes one text of the other (Levenshtein).
private func editDistance(_ left: [UInt8], _ right: [UInt8]) -> Int {
    var previous = Array(0...right.count)
    for (row, byte) in left.enumerated() {
        var current = [row + 1]
        for (column, other) in right.enumerated() {
            let replaced = previous[column] + (byte == other ? 0 : 1)
            current.append(min(replaced, previous[column + 1] + 1, current[column] + 1))
        }
        previous = current
    }
    return previous[right.count]
}
