internal import ProxyGPT

/// Where the live delivery stands in the log, and what a group that arrives means for it.
struct LivePosition: Equatable {
    /// What to do with a group.
    enum Step: Equatable {
        case deliver
        /// It is known already.
        case pass
        /// Something between is missing.
        case fill
        /// What follows does not join what was delivered.
        case startOver
        /// The log counts numbers a second time: it must not go on under this epoch.
        case renew
    }

    private(set) var epoch: String
    /// The newest frame that was delivered, or passed over for good.
    private(set) var last: Int64
    /// The newest frame that came by subscription: those come in the order of their numbers.
    private var arrived: Int64 = 0
    /// Epochs that are over; some of their groups may still be on their way.
    private var former: [String] = []

    init(_ id: FrameID) {
        epoch = id.epoch
        last = id.sequence
    }

    var id: FrameID { FrameID(epoch: epoch, sequence: last) }

    /// Takes a group that came by subscription.
    mutating func take(_ group: FrameBatch) -> Step {
        if group.first.epoch != epoch {
            if former.contains(group.first.epoch) { return .pass }
            restart(FrameID(epoch: group.first.epoch, sequence: group.last))
            arrived = group.last
            return .startOver
        }
        if group.first.sequence <= arrived { return .renew }
        // Not counted yet: it comes a second time, when the gap before it is filled.
        if group.first.sequence > last &+ 1 { return .fill }
        arrived = group.last
        return join(group)
    }

    /// Takes a group that was read from the log; `fill` where it does not join.
    mutating func join(_ group: FrameBatch) -> Step {
        guard group.first.epoch == epoch, group.first.sequence <= last &+ 1 else { return .fill }
        guard group.last > last else { return .pass }
        last = group.last
        return .deliver
    }

    /// Goes on elsewhere.
    mutating func restart(_ id: FrameID) {
        if id.epoch != epoch {
            former = (former + [epoch]).suffix(8)
            arrived = 0
        }
        epoch = id.epoch
        last = id.sequence
    }
}
