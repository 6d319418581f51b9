internal import ArgumentParser
internal import Formats
internal import ProxyGPT

/// How many lines of a list are wanted, in decimal digits.
struct CountArgument: Equatable {
    let value: Int

    init(_ value: Int) {
        self.value = value
    }

    /// Throws where a list of this length makes no sense.
    func check() throws {
        guard (1...10_000).contains(value) else {
            throw ValidationError("The limit is a number from 1 to 10000.")
        }
    }
}

extension CountArgument: ExpressibleByArgument {
    init?(argument: String) {
        guard let number = argument.utf8.decimalNumber else { return nil }
        self.init(Int(number))
    }

    var defaultValueDescription: String { String(value) }
}
