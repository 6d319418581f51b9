internal import EventLoop
internal import Glibc
internal import Testing

@testable internal import Admin

/// Directories and links that go with the object.
private final class Tree {
    let root: String
    private var made: [String] = []

    init() {
        var template = Array("/tmp/path-walk-XXXXXX".utf8CString)
        root = mkdtemp(&template).map { String(cString: $0) } ?? "/nonexistent"
    }

    deinit {
        for path in made.reversed() where unlink(path) != 0 { rmdir(path) }
        rmdir(root)
    }

    func directory(_ name: String, _ mode: mode_t = 0o755) {
        mkdir(root + "/" + name, mode)
        chmod(root + "/" + name, mode)
        made.append(root + "/" + name)
    }

    func link(_ name: String, to target: String) {
        symlink(target, root + "/" + name)
        made.append(root + "/" + name)
    }
}

@Suite struct PathWalkTests {
    private let tree = Tree()

    private func steps(_ path: String) throws -> Int { try PathWalk(to: path).steps.count }

    @Test func `each directory and each link on the way is a step, and the file is none`() throws {
        tree.directory("one")
        tree.directory("one/two")
        tree.link("absolute", to: tree.root + "/one")
        tree.link("one/relative", to: "../one/./two")
        // The root, /tmp and the tree.
        #expect(try steps(tree.root + "/file") == 3)
        #expect(try steps(tree.root + "//one/./two/../file") == 5)
        // The link, then the way to where it leads.
        #expect(try steps(tree.root + "/absolute/two/file") == 3 + 1 + 4)
        #expect(try steps(tree.root + "/absolute/relative/file") == 3 + 1 + 3 + 1 + 2)
        // A link as the file itself is whoever opens it to refuse.
        #expect(try steps(tree.root + "/absolute") == 3)
        #expect(try steps("file") >= 1)
    }

    @Test func `a way that leads nowhere or in a circle is an error`() {
        tree.link("circle", to: "circle")
        #expect(throws: SystemError.self) { try PathWalk(to: tree.root + "/absent/file") }
        #expect(throws: SystemError.self) { try PathWalk(to: tree.root + "/circle/file") }
    }

    @Test func `a step is in the hands of its owner, and of all users with write permission`() {
        func step(_ user: uid_t, _ group: gid_t, _ mode: mode_t) -> PathWalk.Step {
            PathWalk.Step(user: user, group: group, mode: mode)
        }
        let directory = S_IFDIR | 0o755
        #expect(step(7, 0, directory).isWritable(of: 7, 8))
        #expect(!step(0, 0, directory).isWritable(of: 7, 8))
        #expect(!step(0, 8, directory).isWritable(of: 7, 8))
        #expect(step(0, 8, S_IFDIR | 0o775).isWritable(of: 7, 8))
        #expect(step(0, 0, S_IFDIR | 0o777).isWritable(of: 7, 8))
        #expect(!step(0, 0, S_IFDIR | 0o1777).isWritable(of: 7, 8))
        #expect(!step(0, 0, S_IFLNK | 0o777).isWritable(of: 7, 8))
        #expect(step(7, 0, S_IFLNK | 0o777).isWritable(of: 7, 8))
    }
}
