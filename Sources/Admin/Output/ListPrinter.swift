internal import EventLoop
internal import Formats
internal import ProxyGPT

/// Shows a list of any length while it is read: to programs as one array in an object, to people as a
/// table whose columns fit what was read so far. Nothing of it stays in memory.
@EventLoop final class ListPrinter {
    private let desk: Desk
    private let name: String
    private let none: String
    private var table: Table?
    private var isEmpty = true

    /// - Parameters:
    ///   - name: the array's, for programs.
    ///   - table: nil where people are shown lines.
    ///   - none: what people are told of an empty list.
    init(_ desk: Desk, _ name: String, _ table: Table? = nil, none: String) {
        self.desk = desk
        self.name = name
        self.table = table
        self.none = none
    }

    func add(_ json: @autoclosure () -> JSONValue, _ row: @autoclosure () -> [String]) {
        add(json()) { self.table?.add(row()) }
    }

    func add(_ json: @autoclosure () -> JSONValue, lines: @autoclosure () -> [String]) {
        add(json()) { self.desk.console.print(lines()) }
    }

    private func add(_ json: @autoclosure () -> JSONValue, orShow show: () -> Void) {
        if desk.showsJSON {
            desk.console.write(isEmpty ? "{\"\(name)\":[" : ",")
            desk.console.write(TerminalText.json(json().encoded))
        } else {
            show()
        }
        isEmpty = false
    }

    /// Ends a page: its rows are shown, and others have their turn.
    func endPage() async {
        if !desk.showsJSON, !isEmpty, let lines = table?.takeLines() { desk.console.print(lines) }
        await EventLoop.sleep(milliseconds: 0)
    }

    /// Ends the list.
    func end() {
        guard desk.showsJSON else {
            if isEmpty { desk.console.print(none) }
            return
        }
        desk.console.print(isEmpty ? "{\"\(name)\":[]}" : "]}")
    }
}
