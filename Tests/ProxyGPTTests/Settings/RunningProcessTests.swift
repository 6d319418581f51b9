internal import Glibc
internal import Testing

@testable internal import ProxyGPT

/// A directory that looks like proc(5), gone with the object.
private final class Processes {
    let root: String
    var proc: String { root + "/proc" }

    init() {
        var template = Array("/tmp/processes-XXXXXX".utf8CString)
        root = mkdtemp(&template).map { String(cString: $0) } ?? "/nonexistent"
        mkdir(proc, 0o700)
    }

    deinit {
        for id in ["1", "2", "3", "4"] {
            for name in ["cmdline", "environ", "status"] { unlink("\(proc)/\(id)/\(name)") }
            rmdir("\(proc)/\(id)")
        }
        rmdir(proc)
        rmdir(root)
    }

    func add(_ id: Int, user: uid_t, effective: uid_t? = nil) {
        mkdir("\(proc)/\(id)", 0o700)
        write(id, "cmdline", "/usr/libexec/proxy-gpt/proxy-gpt-worker\0")
        write(id, "environ", "STATE_DIRECTORY=\(root)\0API_URL=http://\(id)\0")
        write(id, "status", "Name:\tx\nUid:\t\(user)\t\(effective ?? user)\t0\t0\nGid:\t0\n")
    }

    private func write(_ id: Int, _ name: String, _ text: String) {
        guard let file = fopen("\(proc)/\(id)/\(name)", "we") else { return }
        fwrite(text, 1, text.utf8.count, file)
        fclose(file)
    }
}

@Suite struct RunningProcessTests {
    @Test func `processes of strangers that call themselves ours are passed over`() {
        let processes = Processes()
        processes.add(1, user: geteuid())
        processes.add(2, user: geteuid() + 4711)
        // One that root's rights came to, whose files in /proc are root's.
        processes.add(3, user: geteuid() + 4711, effective: 0)
        processes.add(4, user: 0)
        let found = RunningProcess.all(serving: processes.root, in: processes.proc)
        #expect(found.map(\.id) == [1, 4])
    }

    @Test(.timeLimit(.minutes(1)))
    func `a pipe is not read`() {
        let path = "/tmp/pipe-\(getpid())"
        #expect(mkfifo(path, 0o600) == 0)
        defer { unlink(path) }
        #expect(Settings.contents(ofFile: path, limit: 16).isEmpty)
        #expect(CertificateFile.problem(path) == "is no file")
    }
}
