import Glibc
import NIOCore
import NIOPosix

/// The program: one event loop, one run.
enum Program {
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
