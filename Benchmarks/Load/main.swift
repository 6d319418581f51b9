import Glibc

let arguments = CommandLine.arguments.dropFirst()
if arguments == ["--help"] || arguments == ["-h"] || arguments == ["--version"] {
    print("load-generator, which measures Proxy GPT: it opens calls or streams and counts answers")
    if arguments != ["--version"] { print("\n" + Options.help) }
    exit(0)
}

do throws(Options.Problem) {
    let options = try Options.read(Array(CommandLine.arguments.dropFirst()))
    do {
        if options.subscribes != nil {
            try Program.subscribe(options)
        } else {
            print(try Program.run(options).json)
        }
    } catch {
        complain("load-generator: \(error)", exitCode: 1)
    }
} catch {
    complain("load-generator: \(error.sentence)\n\n\(Options.help)", exitCode: 64)
}

func complain(_ sentence: String, exitCode: Int32) -> Never {
    let line = Array((sentence + "\n").utf8)
    _ = write(STDERR_FILENO, line, line.count)
    exit(exitCode)
}
