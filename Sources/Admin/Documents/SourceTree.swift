internal import Glibc
internal import ProxyGPT

/// The source tree whose documents `make docs` writes.
struct SourceTree {
    let root: String

    /// Writes what `text` makes of a file, where that differs from the file. Nil means that the file lacks the
    /// place for it.
    func update(_ path: String, _ text: (_ present: String) -> String?) throws {
        let place = "\(root)/\(path)"
        let present = String(
            decoding: Settings.contents(ofFile: place, limit: 1 << 22), as: UTF8.self)
        guard let updated = text(present) else {
            throw CommandError("\(place) has no place for the settings")
        }
        guard updated != present else { return }
        guard let file = fopen(place, "we"), fputs(updated, file) >= 0, fclose(file) == 0 else {
            throw CommandError("\(place) cannot be written")
        }
        print("\(place) written")
    }
}
