// A file of 64-bit counters, mapped into memory.
//
// One process writes, each counter atomically: several of its threads may count at once, and a reader of the
// file sees every counter whole, though not all of one moment. The disk space is taken at the beginning, so
// that a full disk cannot cause a SIGBUS later (mmap(2)). Where the file cannot be made the counters are in
// memory, and no other process sees them.

internal import Glibc
internal import Synchronization

/// The counters of one process, in a file that outlives it.
final class SharedCounters: Sendable {
    let count: Int
    /// The file, which stays locked as long as the process lives; -1 where there is none.
    let descriptor: Int32
    // Mapped until the process ends, and touched by atomic operations alone.
    private nonisolated(unsafe) let base: UnsafeMutablePointer<Atomic<UInt64>>
    private let isMapped: Bool

    /// Counters without a file.
    init(count: Int) {
        self.count = count
        descriptor = -1
        isMapped = false
        base = .allocate(capacity: count)
        for index in 0..<count { (base + index).initialize(to: Atomic(0)) }
    }

    /// Maps an empty file and keeps its descriptor. Nil where the system refuses that.
    init?(count: Int, descriptor: Int32) {
        let size = count * MemoryLayout<UInt64>.size
        guard posix_fallocate(descriptor, 0, off_t(size)) == 0,
            let memory = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0),
            memory != MAP_FAILED
        else { return nil }
        self.count = count
        self.descriptor = descriptor
        isMapped = true
        base = memory.bindMemory(to: Atomic<UInt64>.self, capacity: count)
    }

    deinit {
        if isMapped {
            munmap(base, count * MemoryLayout<UInt64>.size)
            ScoreboardDirectory.unlock(descriptor)
        } else {
            base.deinitialize(count: count)
            base.deallocate()
        }
    }

    func add(_ number: UInt64, at index: Int) {
        guard index >= 0, index < count else { return }
        base[index].wrappingAdd(number, ordering: .relaxed)
    }

    func subtract(_ number: UInt64, at index: Int) {
        guard index >= 0, index < count else { return }
        base[index].wrappingSubtract(number, ordering: .relaxed)
    }

    func set(_ number: UInt64, at index: Int) {
        guard index >= 0, index < count else { return }
        base[index].store(number, ordering: .relaxed)
    }

    /// Stores a number that tells a reader that the counters before it are valid.
    func publish(_ number: UInt64, at index: Int) {
        guard index >= 0, index < count else { return }
        base[index].store(number, ordering: .releasing)
    }

    func value(at index: Int) -> UInt64 {
        guard index >= 0, index < count else { return 0 }
        return base[index].load(ordering: .relaxed)
    }

    private let ticks = Atomic<Int>(0)

    /// The number of earlier calls.
    func nextTick() -> Int { ticks.wrappingAdd(1, ordering: .relaxed).oldValue }

    /// All counters, as a reader of the file would see them.
    var all: [UInt64] { (0..<count).map { value(at: $0) } }
}
