internal import EventLoop
internal import Formats
internal import Glibc
internal import ProxyGPT

/// Standard input, output and error of a command.
@EventLoop final class Console {
    /// The program's name in its messages.
    private nonisolated static let name = "proxy-gpt-admin"
    private static let bufferSize = 64 * 1024

    private var buffer: [UInt8] = []

    /// Writes lines to standard output, through a buffer that `flush` empties.
    func print(_ lines: [String]) {
        for line in lines { print(line) }
    }

    func print(_ line: String) {
        write(line)
        write("\n")
    }

    /// Writes a part of a line.
    func write(_ text: String) {
        buffer.append(contentsOf: text.utf8)
        if buffer.count >= Self.bufferSize { flush() }
    }

    func print(json: JSONValue) {
        print(TerminalText.json(json.encoded))
    }

    /// Writes the buffer; ends the program where the reader has gone.
    func flush() {
        if !Self.write(buffer, to: 1) { endProcess(1) }
        buffer.removeAll(keepingCapacity: true)
    }

    nonisolated static func report(_ error: any Error) {
        let text = (error as? Failure)?.message ?? "\(error)"
        for line in text.split(separator: "\n") {
            note("\(name): \(TerminalText.line(String(line)))")
        }
    }

    /// Writes a line to standard error.
    nonisolated static func note(_ line: String) {
        ask(line + "\n")
    }

    /// Writes text without a line end to standard error.
    private nonisolated static func ask(_ text: String) {
        _ = write(Array(text.utf8), to: 2)
    }

    private nonisolated static func write(_ bytes: [UInt8], to descriptor: Int32) -> Bool {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count > 0 {
                rest = rest.dropFirst(count)
            } else if errno != EINTR {
                return false
            }
        }
        return true
    }

    // MARK: - Questions

    /// Asks for a yes on the terminal. Throws where there is no terminal.
    func confirm(_ question: String) throws {
        guard isatty(0) == 1, isatty(2) == 1 else {
            throw CommandError("\(question) Say it with --yes.")
        }
        Self.ask("\(TerminalText.line(question)) [y/N] ")
        guard let answer = readLine(), ["y", "yes"].contains(answer.lowercased()) else {
            throw CommandError("nothing was changed")
        }
    }

    /// A new password: the argument, or a line of standard input where the argument is absent or `-`. A
    /// terminal asks twice and does not show it.
    func password(_ argument: String?) throws -> String {
        if let argument, argument != "-" { return argument }
        guard isatty(0) == 1 else {
            guard let line = readLine() else { throw CommandError("no password was given") }
            return line
        }
        let first = try hiddenLine("New password: ")
        guard try hiddenLine("Once more: ") == first else {
            throw CommandError("the two are not the same")
        }
        return first
    }

    private func hiddenLine(_ prompt: String) throws -> String {
        var settings = termios()
        guard tcgetattr(0, &settings) == 0 else { throw CommandError("no password was given") }
        var silent = settings
        silent.c_lflag &= ~tcflag_t(ECHO)
        // An interrupt must not leave the terminal silent: the signal waits until it is not.
        var signals = sigset_t()
        var before = sigset_t()
        sigemptyset(&signals)
        sigaddset(&signals, SIGINT)
        sigaddset(&signals, SIGQUIT)
        sigaddset(&signals, SIGTSTP)
        silent.c_lflag &= ~tcflag_t(ISIG)
        pthread_sigmask(SIG_BLOCK, &signals, &before)
        tcsetattr(0, TCSAFLUSH, &silent)
        defer {
            tcsetattr(0, TCSAFLUSH, &settings)
            pthread_sigmask(SIG_SETMASK, &before, nil)
            Self.note("")
        }
        Self.ask(prompt)
        // Without signals the interrupt key is a character.
        guard let line = readLine(), !line.contains("\u{3}") else {
            throw CommandError("no password was given")
        }
        return line
    }
}
