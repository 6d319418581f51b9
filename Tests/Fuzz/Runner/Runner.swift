// What libFuzzer calls; its own main is linked in (https://llvm.org/docs/LibFuzzer.html).

internal import FuzzEntries

/// The entry that `--entry=NAME` names. libFuzzer passes over options with two dashes.
private let entry: Entry = {
    let name = CommandLine.arguments.lazy.filter { $0.hasPrefix("--entry=") }
        .map { String($0.dropFirst("--entry=".count)) }.first
    guard let entry = name.flatMap(Entry.named) else {
        fatalError("--entry= names one of: " + Entry.all.map(\.name).joined(separator: " "))
    }
    return entry
}()

@_cdecl("LLVMFuzzerTestOneInput")
func testOneInput(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
    if count <= entry.limit { entry.run(Array(UnsafeBufferPointer(start: bytes, count: count))) }
    return 0
}
