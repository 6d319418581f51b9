/// Where the time of one request goes, in microseconds. Whoever waits on a request's behalf finds it
/// by the task, since what lies between knows nothing of requests.
package final class Stages: Sendable {
    @TaskLocal package static var current: Stages?

    package enum Stage: Int, Sendable, CaseIterable {
        /// Proving who calls.
        case auth
        /// The store, but for what `auth` and `commit` count.
        case db
        /// Recording the request.
        case commit
        case upstream
        /// The client's taking the answer.
        case write
    }

    private let words = Words(count: Stage.allCases.count)

    package init() {}

    package func add(_ microseconds: Int64, to stage: Stage) {
        words.add(UInt64(max(0, microseconds)), at: stage.rawValue)
    }

    package func set(_ stage: Stage, to microseconds: Int64) {
        words.set(UInt64(max(0, microseconds)), at: stage.rawValue)
    }

    package subscript(stage: Stage) -> Int64 { Int64(clamping: words.value(at: stage.rawValue)) }
}
