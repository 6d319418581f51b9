/// Words of several processes put together.
struct Sum: Sendable {
    let catalog: Catalog
    private(set) var words: [UInt64]
    private(set) var models: [String: (prompt: UInt64, completion: UInt64)] = [:]
    private(set) var otherModels: (prompt: UInt64, completion: UInt64) = (0, 0)
    /// Names of models that are kept in a file.
    static let other = "other"

    init(_ catalog: Catalog) {
        self.catalog = catalog
        words = [UInt64](repeating: 0, count: catalog.wordCount)
    }

    /// Whether a file has this catalog's layout.
    static func reads(_ file: [UInt64], _ catalog: Catalog) -> Bool {
        file.count == catalog.wordCount && file[Board.magicWord] == Board.magic
            && file[Board.fingerprintWord] == catalog.fingerprint
    }

    /// Adds a file that `reads` accepts. Of a dead process, only what stays.
    mutating func add(_ file: [UInt64], isAlive: Bool) {
        guard file.count == words.count else { return }
        for family in catalog.families where isAlive || family.stays {
            let range = family.offset..<family.offset + family.series * family.width
            switch family.kind {
            case .counter, .gauge, .histogram:
                for index in range { words[index] &+= file[index] }
            case .smallest, .state:
                for index in range where file[index] > 0 {
                    words[index] = words[index] == 0 ? file[index] : min(words[index], file[index])
                }
            }
        }
        addModels(of: file)
    }

    private mutating func addModels(of file: [UInt64]) {
        let start = catalog.tokens.offset
        otherModels.prompt &+= file[start]
        otherModels.completion &+= file[start + 1]
        for slot in 0..<Board.models {
            let (prompt, completion) = (file[start + 2 * slot + 2], file[start + 2 * slot + 3])
            guard prompt > 0 || completion > 0 else { continue }
            if let name = Board.name(in: slot, of: file) {
                models[name, default: (0, 0)].prompt &+= prompt
                models[name, default: (0, 0)].completion &+= completion
            } else {
                otherModels.prompt &+= prompt
                otherModels.completion &+= completion
            }
        }
    }

    /// The words of a file that holds this sum.
    func file(lastFolded: UInt64) -> [UInt64] {
        var file = words
        file[Board.magicWord] = Board.magic
        file[Board.fingerprintWord] = catalog.fingerprint
        file[Board.lastFoldedWord] = lastFolded
        let start = catalog.tokens.offset
        var other = otherModels
        // The largest keep their names.
        let sorted = models.sorted { ($1.value.prompt, $0.key) < ($0.value.prompt, $1.key) }
        for (slot, (name, tokens)) in sorted.enumerated() {
            guard slot < Board.models else {
                other.prompt &+= tokens.prompt
                other.completion &+= tokens.completion
                continue
            }
            let place = Board.modelsWord + slot * Board.wordsOfName
            file[place] = UInt64(name.utf8.count)
            for (index, word) in Board.words(of: name).enumerated() {
                file[place + 1 + index] = word
            }
            file[start + 2 * slot + 2] = tokens.prompt
            file[start + 2 * slot + 3] = tokens.completion
        }
        file[start] = other.prompt
        file[start + 1] = other.completion
        return file
    }
}
