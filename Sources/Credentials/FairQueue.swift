/// A queue of the work of several parties, in which no party waits for all the work of another.
///
/// Parties take turns, and the work of one party runs one piece at a time, in order. The party
/// whose last turn is longest ago is next. A party with a single waiting piece goes before it, but
/// no party is passed over twice. Where the queue is full, the newest work of the party with the
/// most waiting work is displaced. A value: the caller chooses the threads.
struct FairQueue<Work> {
    /// Bytes, since a `String` is compared and hashed by its normal form.
    typealias Party = [UInt8]

    /// The result of adding work.
    enum Entry {
        case waits
        /// The work waits in the place of this other work.
        case displaces(Work)
        case refused
    }

    private let capacity: Int
    private(set) var count = 0
    private var waiting: [Party: [Work]] = [:]
    private var underWay: Set<Party> = []
    /// Parties with waiting and without running work, in the order of their arrival or last turn.
    private var line: [Party] = []
    /// Whether the last turn passed over the first party.
    private var isTurnOfHead = false

    var isEmpty: Bool { count == 0 }

    init(capacity: Int) {
        self.capacity = capacity
    }

    mutating func add(_ work: Work, of party: Party) -> Entry {
        let own = waiting[party]?.count ?? 0
        var displaced: Work?
        if count >= capacity {
            guard let longest = waiting.max(by: { $0.value.count < $1.value.count }),
                longest.value.count > own + 1
            else { return .refused }
            displaced = waiting[longest.key]?.removeLast()
            count -= 1
        }
        waiting[party, default: []].append(work)
        count += 1
        if own == 0, !underWay.contains(party) { line.append(party) }
        return displaced.map { .displaces($0) } ?? .waits
    }

    /// The next piece of work, which runs until `finish`.
    mutating func take() -> (work: Work, party: Party)? {
        if line.isEmpty { return nil }
        let single = isTurnOfHead ? nil : line.firstIndex { waiting[$0]?.count == 1 }
        let index = single ?? 0
        isTurnOfHead = index != 0
        let party = line.remove(at: index)
        guard var works = waiting[party], !works.isEmpty else { return nil }
        let work = works.removeFirst()
        waiting[party] = works.isEmpty ? nil : works
        count -= 1
        underWay.insert(party)
        return (work, party)
    }

    mutating func finish(_ party: Party) {
        underWay.remove(party)
        if waiting[party] != nil { line.append(party) }
    }
}
