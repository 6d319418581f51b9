/// Work that waits, of several parties, none of which waits for all the work of another.
///
/// Parties take turns, and work of one party is done one piece at a time, in the order in which it came.
/// A party that had nothing waiting and nothing under way comes next, except that of two turns the
/// others have one. Where the queue is full, the newest work of the party that has most of it
/// waiting makes room. A value: who takes from it, and on which thread, is the caller's.
struct FairQueue<Work> {
    /// Bytes, since a `String` is compared and hashed by its normal form.
    typealias Party = [UInt8]

    /// What becomes of new work.
    enum Entry {
        case waits
        /// It waits in the place of this one.
        case displaces(Work)
        case refused
    }

    private let capacity: Int
    private(set) var count = 0
    private var waiting: [Party: [Work]] = [:]
    private var underWay: Set<Party> = []
    /// Parties with work that waits and none under way: those that just came, and the others.
    private var newcomers: [Party] = []
    private var regulars: [Party] = []
    /// Whether a newcomer has just gone before regulars.
    private var isRegularsTurn = false

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
        if own == 0, !underWay.contains(party) { newcomers.append(party) }
        return displaced.map { .displaces($0) } ?? .waits
    }

    /// The next piece of work, which is under way until `finish`.
    mutating func take() -> (work: Work, party: Party)? {
        let isNewcomer = !newcomers.isEmpty && (regulars.isEmpty || !isRegularsTurn)
        guard isNewcomer || !regulars.isEmpty else { return nil }
        isRegularsTurn = isNewcomer && !regulars.isEmpty
        let party = isNewcomer ? newcomers.removeFirst() : regulars.removeFirst()
        guard var works = waiting[party], !works.isEmpty else { return nil }
        let work = works.removeFirst()
        waiting[party] = works.isEmpty ? nil : works
        count -= 1
        underWay.insert(party)
        return (work, party)
    }

    mutating func finish(_ party: Party) {
        underWay.remove(party)
        if waiting[party] != nil { regulars.append(party) }
    }
}
