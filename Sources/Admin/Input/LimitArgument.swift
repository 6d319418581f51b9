internal import ArgumentParser
internal import Formats
internal import ProxyGPT

/// The number of lines of a list, in decimal digits.
struct LimitArgument: Equatable {
    let value: Int

    init(_ value: Int) {
        self.value = value
    }

    /// Throws where the number is out of bounds.
    func check() throws {
        guard (1...10_000).contains(value) else {
            throw ValidationError("The limit is a number from 1 to 10000.")
        }
    }
}

extension LimitArgument: ExpressibleByArgument {
    init?(argument: String) {
        guard let number = argument.utf8.decimalNumber else { return nil }
        self.init(Int(number))
    }

    var defaultValueDescription: String { String(value) }
}
