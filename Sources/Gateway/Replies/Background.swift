/// Runs what outlives the request that began it.
package protocol Background: Sendable {
    /// Starts `body` as a task of its own, to which the process's end and its limits apply: a stopping
    /// process waits for it, and cancels it when it has waited long enough.
    ///
    /// - Parameter counts: whether it takes a place among the requests in flight until it ends; not
    ///   where a request waits for it anyway.
    @discardableResult
    func start(counts: Bool, _ body: @escaping @Sendable () async -> Void) -> Task<Void, Never>
}
