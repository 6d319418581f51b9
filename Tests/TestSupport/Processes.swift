internal import EventLoop
package import Glibc

/// Starts a program that inherits nothing of this process but its input and output: a descriptor that
/// it had as well would stay open when a test closes it. Without `output` it writes where this does;
/// what it says of errors is dropped unless `speaks`.
package func startProcess(
    _ arguments: [String], input: Int32? = nil, output: Int32? = nil, speaks: Bool = false
) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    if let input { posix_spawn_file_actions_adddup2(&actions, input, 0) }
    if let output { posix_spawn_file_actions_adddup2(&actions, output, 1) }
    if !speaks { posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0) }
    for descriptor in Int32(3)..<4096 { posix_spawn_file_actions_addclose(&actions, descriptor) }
    var strings = arguments.map { strdup($0) } + [nil]
    defer { for string in strings { free(string) } }
    var process = pid_t()
    let code = posix_spawn(&process, arguments[0], &actions, nil, &strings, environ)
    guard code == 0 else { throw SystemError("posix_spawn \(arguments[0])", code: code) }
    return process
}
