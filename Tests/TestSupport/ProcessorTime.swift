internal import Glibc

/// Nanoseconds of processor time that the calling thread has taken.
package func threadNanoseconds() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

/// Milliseconds of processor time of the calling thread that `body` takes.
package func threadMilliseconds(_ body: () throws -> Void) rethrows -> UInt64 {
    let begin = threadNanoseconds()
    try body()
    return (threadNanoseconds() - begin) / 1_000_000
}
