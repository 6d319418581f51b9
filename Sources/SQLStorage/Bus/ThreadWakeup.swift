internal import Glibc

/// Wakes a waiting thread or task; a signal before the wait is kept.
protocol Wakeup: Sendable {
    func signal()
}

/// Wakes one thread that waits, with or without a time limit; a signal before the wait is kept.
///
/// A condition variable rather than an eventfd: a signal costs no system call while the thread is
/// busy.
final class ThreadWakeup: Wakeup, @unchecked Sendable {
    // Sendable: the pointers are constant, `isSignaled` is touched under the lock only, and the
    // memory lives as long as the object.
    private let lock = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var isSignaled = false

    init() {
        pthread_mutex_init(lock, nil)
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(condition, &attributes)
        pthread_condattr_destroy(&attributes)
    }

    deinit {
        pthread_cond_destroy(condition)
        pthread_mutex_destroy(lock)
        condition.deallocate()
        lock.deallocate()
    }

    func signal() {
        pthread_mutex_lock(lock)
        isSignaled = true
        pthread_cond_signal(condition)
        pthread_mutex_unlock(lock)
    }

    /// Returns once a signal came, or at a moment of `monotonicMilliseconds`.
    func wait(until deadline: Int64?) {
        pthread_mutex_lock(lock)
        defer { pthread_mutex_unlock(lock) }
        while !isSignaled {
            guard let deadline else {
                pthread_cond_wait(condition, lock)
                continue
            }
            var time = timespec()
            time.tv_sec = Int(deadline / 1000)
            time.tv_nsec = Int(deadline % 1000) * 1_000_000
            if pthread_cond_timedwait(condition, lock, &time) == ETIMEDOUT { break }
        }
        isSignaled = false
    }
}
