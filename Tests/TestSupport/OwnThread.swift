// The release, which this is no part of, is built beside a library of Swift without it.
#if canImport(Testing)
    internal import EventLoop
    internal import Synchronization
    package import Testing

    extension Trait where Self == OwnThread {
        /// For tests that compute for seconds: on the few threads that all others share they would hold
        /// those up, whose time limits go on meanwhile.
        package static var ownThread: Self { Self() }
    }

    /// Has tests run one after another on a thread that they have to themselves.
    package struct OwnThread: SuiteTrait, TestTrait, TestScoping {
        private static let executor = OneThread()

        package var isRecursive: Bool { true }

        package func provideScope(
            for test: Test, testCase: Test.Case?,
            performing function: @concurrent @Sendable () async throws -> Void
        ) async throws {
            try await withTaskExecutorPreference(Self.executor) { try await function() }
        }
    }

    private final class OneThread: TaskExecutor {
        private let jobs = Mutex<[UnownedJob]>([])
        private let work = Semaphore()

        init() {
            startThread(name: "own-thread") { self.serve() }
        }

        func enqueue(_ job: consuming ExecutorJob) {
            let job = UnownedJob(job)
            jobs.withLock { $0.append(job) }
            work.signal()
        }

        private func serve() {
            while true {
                work.wait()
                let job = jobs.withLock { $0.removeFirst() }
                job.runSynchronously(on: asUnownedTaskExecutor())
            }
        }
    }
#endif
