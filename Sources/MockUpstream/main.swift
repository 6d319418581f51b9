import Glibc

do throws(Options.Problem) {
    let options = try Options.read(Array(CommandLine.arguments.dropFirst()))
    if options.wantsVersion {
        print("mock-upstream, the stand-in for OpenAI that Proxy GPT is tried out and tested with")
        exit(0)
    }
    if options.wantsHelp {
        print(Options.help)
        exit(0)
    }
    do {
        try Server.run(options)
    } catch {
        complain("mock-upstream: \(error)", exitCode: 1)
    }
} catch {
    complain("mock-upstream: \(error.sentence)\n\(Options.usage)", exitCode: 64)
}

func complain(_ sentence: String, exitCode: Int32) -> Never {
    let line = Array((sentence + "\n").utf8)
    _ = write(STDERR_FILENO, line, line.count)
    exit(exitCode)
}
