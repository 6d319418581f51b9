internal import Glibc

extension Scoreboard {
    /// Sets the metrics of the process itself: CPU, memory, descriptors. Called once a second.
    package func measureProcess() {
        var usage = rusage()
        if getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0 {
            let seconds = Int64(usage.ru_utime.tv_sec) + Int64(usage.ru_stime.tv_sec)
            let rest = Int64(usage.ru_utime.tv_usec) + Int64(usage.ru_stime.tv_usec)
            set(registry.processCPU, kind.rawValue, to: seconds * 1_000_000 + rest)
        }
        if let memory = Self.residentBytes() {
            counters.set(UInt64(memory), at: CounterLayout.memoryIndex)
            set(registry.processMemory, kind.rawValue, memory)
        }
        // Every tenth time, since it takes longer the more descriptors there are.
        if counters.nextTick() % 10 == 0, let count = Self.openDescriptors() {
            set(registry.processDescriptors, kind.rawValue, count)
        }
    }

    /// The second number of /proc/self/statm, in pages (proc(5)).
    private static func residentBytes() -> Int64? {
        let descriptor = open("/proc/self/statm", O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 256)
        let count = read(descriptor, &bytes, bytes.count)
        guard count > 0 else { return nil }
        let numbers = bytes.prefix(count).split(separator: 0x20)
        guard numbers.count > 1, let pages = Int64(String(decoding: numbers[1], as: UTF8.self))
        else { return nil }
        return pages * Int64(sysconf(Int32(_SC_PAGESIZE)))
    }

    private static func openDescriptors() -> Int64? {
        guard let directory = opendir("/proc/self/fd") else { return nil }
        defer { closedir(directory) }
        var count: Int64 = 0
        while readdir(directory) != nil { count += 1 }
        // Without the two dots and the directory itself.
        return max(0, count - 3)
    }
}
