import Glibc
import NIOCore
import NIOPosix

/// The program: one event loop, one run.
enum Program {
    static func subscribe(_ options: Options) throws {
        raiseDescriptorLimit()
        try SubscriberRun.run(options, on: MultiThreadedEventLoopGroup.singleton.next())
    }

    static func run(_ options: Options) throws -> Report {
        raiseDescriptorLimit()
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        return try loop.flatSubmit {
            do {
                return try Run.start(options, on: loop)
            } catch {
                return loop.makeFailedFuture(error)
            }
        }.wait()
    }

    private static func raiseDescriptorLimit() {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
        limit.rlim_cur = limit.rlim_max
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }
}
