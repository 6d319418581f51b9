internal import Formats

/// The name that was probably meant by one that is unknown: the nearest within two letters added,
/// left out or replaced, but not all of its letters; of two equally near ones the first; nil where none
/// is near.
///
/// Names are ASCII. Case does not count.
/// - Parameter lengths: how many bytes both names must have: between short ones two letters make
///   every difference, and no name of ours is longer than 64.
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

/// How many bytes must be added, left out or replaced to make one text of the other (Levenshtein).
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
