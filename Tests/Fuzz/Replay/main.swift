// Measures what one input costs, in a release build without sanitizers.
//
//   FuzzReplay list            the entries, a name and a limit on a line
//   FuzzReplay seeds FOLDER    writes the seeds of all entries to FOLDER/ENTRY/
//   FuzzReplay time ENTRY FOLDER...   runs what lies in the folders and what is made of the seeds, and
//                              ends with 1 when an input takes too much CPU time

internal import FuzzEntries
internal import Glibc

let arguments = Array(CommandLine.arguments.dropFirst())
switch (arguments.first, arguments.dropFirst().first) {
case ("list", nil): for entry in Entry.all { print(entry.name, entry.limit) }
case ("seeds", let folder?):
    for entry in Entry.all {
        mkdir("\(folder)/\(entry.name)", 0o755)
        for (number, seed) in entry.seeds.enumerated() {
            InputFile.write(seed, to: "\(folder)/\(entry.name)/seed-\(number)")
        }
    }
case ("time", let name?):
    guard let entry = Entry.named(name) else {
        print("there is no entry \(name)")
        exit(64)
    }
    exit(Stopwatch().measure(entry, folders: Array(arguments.dropFirst(2))))
default:
    print("usage: FuzzReplay list | seeds FOLDER | time ENTRY FOLDER...")
    exit(64)
}
