/// Something that will be called later.
@EventLoop package final class Timer {
    fileprivate let deadline: Int64
    fileprivate var handler: (@EventLoop () -> Void)?

    fileprivate init(deadline: Int64, _ handler: @escaping @EventLoop () -> Void) {
        self.deadline = deadline
        self.handler = handler
    }

    /// Lets the timer pass without a call; no effect after it was called.
    package func cancel() {
        handler = nil
    }
}

/// Timers by deadline: a binary heap. A cancelled timer stays until its time comes, or until
/// cancelled ones are the greater part.
@EventLoop final class TimerQueue {
    private var heap: [Timer] = []
    private var additionsUntilSweep = 1024

    /// Adds a timer for a moment of `monotonicMilliseconds`.
    func add(deadline: Int64, _ handler: @escaping @EventLoop () -> Void) -> Timer {
        additionsUntilSweep -= 1
        if additionsUntilSweep == 0 { sweep() }
        let timer = Timer(deadline: deadline, handler)
        heap.append(timer)
        siftUp(heap.count - 1)
        return timer
    }

    /// The time to the next timer as epoll_wait wants it: -1 without one, at most an hour.
    func millisecondsToNext(now: Int64) -> Int32 {
        while let first = heap.first, first.handler == nil { removeFirst() }
        guard let first = heap.first else { return -1 }
        return Int32(min(3_600_000, max(0, first.deadline - now)))
    }

    /// Calls all timers whose time has come.
    func fire(now: Int64) {
        while let first = heap.first, first.deadline <= now {
            removeFirst()
            let handler = first.handler
            first.handler = nil
            handler?()
        }
    }

    private func sweep() {
        heap.removeAll { $0.handler == nil }
        heap.sort { $0.deadline < $1.deadline }
        additionsUntilSweep = max(1024, heap.count)
    }

    private func removeFirst() {
        guard let last = heap.popLast(), !heap.isEmpty else { return }
        heap[0] = last
        siftDown(0)
    }

    private func siftUp(_ start: Int) {
        var child = start
        while child > 0 {
            let parent = (child - 1) / 2
            guard heap[child].deadline < heap[parent].deadline else { return }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    private func siftDown(_ start: Int) {
        var parent = start
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2]
            where child < heap.count && heap[child].deadline < heap[least].deadline {
                least = child
            }
            guard least != parent else { return }
            heap.swapAt(parent, least)
            parent = least
        }
    }
}
