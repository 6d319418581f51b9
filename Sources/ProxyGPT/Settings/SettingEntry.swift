extension Settings {
    /// All that is known of one setting: its parsing, `config`, the environment file, the manual page
    /// and docs/configuration.md are made from its entry.
    package struct Entry: Sendable {
        package let name: String
        package let type: ValueType
        /// The text that stands for an absent setting.
        package let defaultText: String
        /// One sentence, for tables.
        package let meaning: String
        /// Further sentences, for the environment file and the pages.
        package let note: String
        /// A valid value that somebody may want.
        package let example: String
        /// The symptom of a value that does not fit, for docs/configuration.md.
        package let symptom: String
        /// The programs that use the setting. Every one of them checks all settings.
        package let programs: [Program]
        package let isSecret: Bool
        package let installed: Installed

        init(
            _ name: String, _ type: ValueType, default defaultText: String = "",
            _ meaning: String, note: String = "", example: String, symptom: String,
            usedBy programs: [Program] = [.worker, .streamer], isSecret: Bool = false,
            installed: Installed = .atDefault
        ) {
            self.name = name
            self.type = type
            self.defaultText = defaultText
            self.meaning = meaning
            self.note = note
            self.example = example
            self.symptom = symptom
            self.programs = programs
            self.isSecret = isSecret
            self.installed = installed
        }
    }

    package enum Program: String, Sendable, CaseIterable {
        case worker
        case streamer
        case admin
    }

    /// How the environment file of an installation has a setting.
    package enum Installed: Sendable, Equatable {
        /// In a comment that shows the default.
        case atDefault
        case set(String)
        /// The setting comes from elsewhere.
        case absent
    }

    /// What a setting's text may be. The description completes "must be", in error messages and pages.
    package enum ValueType: Sendable, CustomStringConvertible {
        case anyText
        /// A text with a parser of its own, which checks it.
        case form(String)
        case integer(ClosedRange<Int>, unit: String = "")
        /// Decimal seconds with up to three places.
        case seconds(milliseconds: ClosedRange<Int64>)
        case size(bytes: ClosedRange<Int64>)
        /// One of these words, in either case; the empty one stands for an absent setting.
        case choice([String])

        package var description: String {
            switch self {
            case .anyText: "any text"
            case .form(let form): form
            case .integer(let range, let unit):
                "a whole number \(unit.isEmpty ? "" : "of \(unit) ")"
                    + "from \(range.lowerBound) to \(range.upperBound)"
            case .seconds(let range):
                "a number of seconds from \(Self.seconds(range.lowerBound)) "
                    + "to \(Self.seconds(range.upperBound))"
            case .size: "a number of bytes, or of KiB, MiB or GiB, such as 25MiB"
            case .choice(let words):
                words.sorted().map { $0.isEmpty ? "empty" : $0 }.joined(separator: " or ")
            }
        }

        private static func seconds(_ milliseconds: Int64) -> String {
            milliseconds % 1000 == 0
                ? String(milliseconds / 1000) : String(Double(milliseconds) / 1000)
        }
    }

    /// The entry of a setting. Names come from this module alone, so that an unknown one is an error in
    /// the program.
    static func entry(_ name: String) -> Entry {
        guard let entry = table.first(where: { $0.name == name }) else {
            preconditionFailure("\(name) is not in the table of settings")
        }
        return entry
    }
}
