internal import ProxyGPT

/// The position of the live delivery in the log, which decides about each batch that arrives.
struct LivePosition: Equatable {
    /// The decision about a batch.
    enum Step: Equatable {
        case deliver
        /// The batch is known already.
        case pass
        /// A batch between is missing.
        case fill
        /// The following frames do not join the delivered ones.
        case startOver
        /// The log counts numbers a second time: it must not go on under this epoch.
        case renew
    }

    private(set) var epoch: String
    /// The newest frame that was delivered, or skipped for good.
    private(set) var last: Int64
    /// The newest frame that came by subscription: those come in the order of their numbers.
    private var arrived: Int64 = 0
    /// Epochs that are over; some of their batches may still be on their way.
    private var former: [String] = []

    init(_ id: FrameID) {
        epoch = id.epoch
        last = id.sequence
    }

    var id: FrameID { FrameID(epoch: epoch, sequence: last) }

    /// Takes a batch that came by subscription.
    mutating func take(_ batch: FrameBatch) -> Step {
        if batch.first.epoch != epoch {
            if former.contains(batch.first.epoch) { return .pass }
            restart(FrameID(epoch: batch.first.epoch, sequence: batch.last))
            arrived = batch.last
            return .startOver
        }
        if batch.first.sequence <= arrived { return .renew }
        // Not counted yet: it comes a second time, when the gap before it is filled.
        if batch.first.sequence > last &+ 1 { return .fill }
        arrived = batch.last
        return join(batch)
    }

    /// Takes a batch that was read from the log; `fill` where it does not join.
    mutating func join(_ batch: FrameBatch) -> Step {
        guard batch.first.epoch == epoch, batch.first.sequence <= last &+ 1 else { return .fill }
        guard batch.last > last else { return .pass }
        last = batch.last
        return .deliver
    }

    /// Continues at another position.
    mutating func restart(_ id: FrameID) {
        if id.epoch != epoch {
            former = (former + [epoch]).suffix(8)
            arrived = 0
        }
        epoch = id.epoch
        last = id.sequence
    }
}
