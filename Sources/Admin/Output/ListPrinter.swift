internal import EventLoop
internal import Formats
internal import ProxyGPT

/// Shows a list of any length, page by page: to programs as one array in an object, to people as a table
/// whose columns fit the rows so far. No page stays in memory.
@EventLoop final class ListPrinter {
    private let context: CommandContext
    private let name: String
    private let none: String
    private var table: Table?
    private var isEmpty = true

    /// - Parameters:
    ///   - name: the name of the array, for programs.
    ///   - table: the table for people; nil for plain lines.
    ///   - none: the line for an empty list.
    init(_ context: CommandContext, _ name: String, _ table: Table? = nil, none: String) {
        self.context = context
        self.name = name
        self.table = table
        self.none = none
    }

    func add(_ json: @autoclosure () -> JSONValue, _ row: @autoclosure () -> [String]) {
        add(json()) { self.table?.add(row()) }
    }

    func add(_ json: @autoclosure () -> JSONValue, lines: @autoclosure () -> [String]) {
        add(json()) { self.context.console.print(lines()) }
    }

    private func add(_ json: @autoclosure () -> JSONValue, orShow show: () -> Void) {
        if context.showsJSON {
            context.console.write(isEmpty ? "{\"\(name)\":[" : ",")
            context.console.write(TerminalText.json(json().encoded))
        } else {
            show()
        }
        isEmpty = false
    }

    /// Ends a page: shows its rows and lets other tasks run.
    func endPage() async {
        if !context.showsJSON, !isEmpty, let lines = table?.takeLines() {
            context.console.print(lines)
        }
        await EventLoop.sleep(milliseconds: 0)
    }

    /// Ends the list.
    func end() {
        guard context.showsJSON else {
            if isEmpty { context.console.print(none) }
            return
        }
        context.console.print(isEmpty ? "{\"\(name)\":[]}" : "]}")
    }
}
