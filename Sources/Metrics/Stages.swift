/// The time of one request by stage, in microseconds. Adapters find it through the task, since the layers
/// between know nothing of requests.
package final class Stages: Sendable {
    @TaskLocal package static var current: Stages?

    package enum Stage: Int, Sendable, CaseIterable {
        /// Authentication.
        case auth
        /// The store, without the time in `auth` and `commit`.
        case db
        /// Recording the request.
        case commit
        case upstream
        /// Sending the answer, as fast as the client takes it.
        case write
    }

    private let counters = SharedCounters(count: Stage.allCases.count)

    package init() {}

    package func add(_ microseconds: Int64, to stage: Stage) {
        counters.add(UInt64(max(0, microseconds)), at: stage.rawValue)
    }

    package func set(_ stage: Stage, to microseconds: Int64) {
        counters.set(UInt64(max(0, microseconds)), at: stage.rawValue)
    }

    package subscript(stage: Stage) -> Int64 { Int64(clamping: counters.value(at: stage.rawValue)) }
}
