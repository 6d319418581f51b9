internal import EventLoop

/// Counts the ends that are being recorded, so that the drain can wait for the last one.
@EventLoop final class PendingRecords {
    private var count = 0
    private var waiting: [UnsafeContinuation<Void, Never>] = []

    nonisolated init() {}

    /// Runs `body`, which records an end.
    func record(_ body: () async -> Void) async {
        count += 1
        await body()
        count -= 1
        guard count == 0 else { return }
        for waiter in waiting { waiter.resume() }
        waiting = []
    }

    /// Returns once every end that was handed in before is recorded.
    func finish() async {
        await withUnsafeContinuation { continuation in
            if count > 0 { waiting.append(continuation) } else { continuation.resume() }
        }
    }
}

/// Finds out of each whether it still is allowed; nil where that could not be found out.
@EventLoop func verdicts<Subject: Sendable>(
    on subjects: [(number: Int, subject: Subject)],
    _ isAllowed: (Subject) async throws -> Bool, failed: (Subject, any Error) -> Void
) async -> [(number: Int, isAllowed: Bool?)] {
    var verdicts: [(number: Int, isAllowed: Bool?)] = []
    for (number, subject) in subjects {
        do {
            verdicts.append((number: number, isAllowed: try await isAllowed(subject)))
        } catch {
            verdicts.append((number: number, isAllowed: nil))
            failed(subject, error)
        }
    }
    return verdicts
}
