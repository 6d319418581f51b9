import Formats
@testable import Gateway
@testable import HTTPAPI
import ProxyGPT
import Testing

@Suite struct ParametersTests {
    private func read(
        _ query: String? = nil, _ body: String = "", _ type: String? = nil
    ) throws -> Parameters {
        try Parameters(
            Self.names, query: query.map { Array($0.utf8) }, body: Array(body.utf8),
            contentType: type)
    }

    private static let names = [
        "a", "b", "c", "e", "i", "l", "n", "o", "x", "y", "name", "empty", "bare", "other", "id",
        "chat_id", "user_id", "username", "limit", "before", "after",
    ]

    private func expectFailure(
        _ code: Failure.Code, naming parameter: String? = nil,
        at location: SourceLocation = #_sourceLocation,
        _ body: () throws -> Void
    ) {
        let failure = #expect(throws: Failure.self, sourceLocation: location) { try body() }
        #expect(failure?.code == code, sourceLocation: location)
        #expect(failure?.parameter == parameter, sourceLocation: location)
    }

    @Test("The query goes before the form, and the body wins")
    func laterWins() throws {
        let parameters = try read("a=query&b=query", "b=form&c=form")
        #expect(try parameters.text("a") == "query")
        #expect(try parameters.text("b") == "form")
        #expect(try parameters.text("c") == "form")
        let json = try read("a=query&b=query", #"{"b":"json"}"#)
        #expect(try json.text("a") == "query" && json.text("b") == "json")
        // Given once in each source is not given twice.
        #expect(try read("a=1", "a=2").text("a") == "2")
        #expect(try read("a=1&a=1", "a=2").text("a") == "2")
    }

    @Test(
        "A body that begins with a brace is JSON, whatever its type says",
        arguments: [
            nil, "", "application/x-www-form-urlencoded", "text/plain", "application/json", "x",
        ])
    func recognizesJSON(type: String?) throws {
        #expect(try read(nil, " \r\n\t{\"a\":\"x=1&a=2\"}", type).text("a") == "x=1&a=2")
    }

    @Test(
        "A form needs no type, and takes its own with parameters",
        arguments: [
            nil, "", "application/x-www-form-urlencoded",
            "Application/X-WWW-Form-URLencoded; charset=utf-8",
            "application/x-www-form-urlencoded ; a",
        ])
    func recognizesForms(type: String?) throws {
        #expect(try read(nil, "a=1", type).text("a") == "1")
    }

    @Test(
        "Other types are 415",
        arguments: ["text/plain", "multipart/form-data; boundary=x", "application/xml"])
    func refusesOtherTypes(type: String) {
        expectFailure(.unsupportedMediaType) { _ = try read(nil, "a=1", type) }
    }

    @Test("A body of white space is none, of whatever type")
    func ignoresEmptyBodies() throws {
        for body in ["", " \r\n\t"] {
            #expect(try read("a=1", body, "text/plain").text("a") == "1")
            #expect(try read("a=1", body, "application/json").text("a") == "1")
        }
    }

    @Test("Escapes and plus signs are decoded, in names as in values")
    func decodes() throws {
        let parameters = try read("na%6De=a+b%2Bc%26d%3D&empty=&bare&&e=%C3%A9=z")
        #expect(try parameters.text("name") == "a b+c&d=")
        #expect(try parameters.text("empty") == "")
        #expect(try parameters.text("bare") == "")
        #expect(try parameters.text("e") == "é=z")
        #expect(try parameters.text("other") == nil)
    }

    @Test("What is malformed is refused, naming the parameter")
    func refusesMalformedForms() {
        expectFailure(.invalidRequest, naming: "a") { _ = try read("a=%zz") }
        expectFailure(.invalidRequest, naming: "a") { _ = try read("a=%C3") }
        expectFailure(.invalidRequest, naming: "a") { _ = try read(nil, "b=1&a=%ff") }
        expectFailure(.invalidRequest, naming: "a%") { _ = try read("a%=1") }
        expectFailure(.invalidRequest, naming: "%ff") { _ = try read("%ff=1") }
        expectFailure(.invalidRequest, naming: "a") {
            _ = try Parameters(["a"], body: Array("a=".utf8) + [0xC0, 0xAF])
        }
    }

    @Test("What is no JSON object is refused")
    func refusesMalformedJSON() {
        for body in ["{", "{a:1}", #"{"a":1,}"#, #"{"a":"\ud800"}"#, "{}x"] {
            expectFailure(.invalidRequest) { _ = try read(nil, body) }
        }
        for body in ["[]", "1", "\"a\"", "null"] {
            expectFailure(.invalidRequest) { _ = try read(nil, body, "application/json") }
        }
        let deep =
            "{\"a\":" + String(repeating: "[", count: 64) + String(repeating: "]", count: 64) + "}"
        expectFailure(.invalidRequest) { _ = try read(nil, deep) }
    }

    @Test("A scalar that is given twice in one source is refused, known or not in JSON")
    func refusesDuplicates() throws {
        let form = try read("a=1&a=2&b=3")
        expectFailure(.invalidRequest, naming: "a") { _ = try form.text("a") }
        expectFailure(.invalidRequest, naming: "a") { _ = try form.integer("a") }
        expectFailure(.invalidRequest, naming: "a") { _ = try form.boolean("a") }
        #expect(try form.text("b") == "3")
        expectFailure(.invalidRequest, naming: "a") { _ = try read(nil, #"{"a":1,"a":1}"#) }
        expectFailure(.invalidRequest, naming: "a") { _ = try read(nil, #"{"a":1,"\u0061":1}"#) }
    }

    @Test("A text is a form's or a JSON string, and JSON's null is absent")
    func readsTexts() throws {
        let parameters = try read(nil, #"{"a":"x","n":null,"i":1,"b":true,"l":["x"],"o":{}}"#)
        #expect(try parameters.text("a") == "x")
        #expect(try parameters.text("n") == nil)
        for name in ["i", "b", "l", "o"] {
            expectFailure(.invalidRequest, naming: name) { _ = try parameters.text(name) }
        }
        expectFailure(.invalidRequest, naming: "n") { _ = try parameters.requiredText("n") }
        expectFailure(.invalidRequest, naming: "x") { _ = try parameters.requiredText("x", "y") }
        #expect(try read("a=").requiredText("a") == "")
    }

    @Test("Of two names for one thing the first that is given counts")
    func readsAlternatives() throws {
        #expect(try read("chat_id=2").text("id", "chat_id") == "2")
        #expect(try read("chat_id=2&id=1").text("id", "chat_id") == "1")
        #expect(try read("chat_id=2", #"{"id":null}"#).requiredText("id", "chat_id") == "2")
    }

    @Test("A whole number is decimal digits or a JSON number")
    func readsIntegers() throws {
        #expect(try read("a=12").integer("a") == 12)
        #expect(try read(nil, #"{"a":12}"#).integer("a") == 12)
        #expect(try read(nil, #"{"a":-12}"#).integer("a") == -12)
        #expect(try read("a=9223372036854775807").integer("a") == .max)
        #expect(try read("b=1").integer("a") == nil)
        for query in [
            "a=", "a=x", "a=1.0", "a=0x10", "a=9223372036854775808", "a=%201", "a=1e3", "a=%2B1",
            "a=-12", "a=1_0", "a=%D9%A5",
        ] {
            expectFailure(.invalidRequest, naming: "a") { _ = try read(query).integer("a") }
        }
        for value in ["\"12\"", "1.0", "1e3", "true", "[1]", "9223372036854775808"] {
            expectFailure(.invalidRequest, naming: "a") {
                _ = try read(nil, "{\"a\":\(value)}").integer("a")
            }
        }
    }

    @Test("A truth value is true, false, 1 or 0, or JSON's own")
    func readsBooleans() throws {
        for (text, value) in [
            ("true", true), ("1", true), ("false", false), ("0", false), ("TRUE", true),
        ] {
            #expect(try read("a=" + text).boolean("a") == value)
        }
        for (text, value) in [("true", true), ("1", true), ("false", false), ("0", false)] {
            #expect(try read(nil, "{\"a\":\(text)}").boolean("a") == value)
        }
        #expect(try read("b=1").boolean("a") == nil)
        for query in ["a=", "a=yes", "a=2", "a=on"] {
            expectFailure(.invalidRequest, naming: "a") { _ = try read(query).boolean("a") }
        }
        for value in ["\"true\"", "2", "1.0", "[]"] {
            expectFailure(.invalidRequest, naming: "a") {
                _ = try read(nil, "{\"a\":\(value)}").boolean("a")
            }
        }
    }

    @Test("A list repeats its field, is separated by commas, or is a JSON array")
    func readsLists() throws {
        #expect(try read("a=1&a=2").list("a") == ["1", "2"])
        #expect(try read("a=1,2").list("a") == ["1", "2"])
        #expect(try read("a=1,+2&a=3,,").list("a") == ["1", "2", "3"])
        #expect(try read("a=+1+b+,,%09+,+c%09").list("a") == ["1 b", "c"])
        #expect(try read(nil, #"{"a":["1","2,3"]}"#).list("a") == ["1", "2,3"])
        #expect(try read(nil, #"{"a":"1,2"}"#).list("a") == ["1", "2"])
        #expect(try read(nil, #"{"a":[]}"#).list("a") == [])
        #expect(try read("a=").list("a") == [])
        #expect(try read("b=1").list("a") == nil)
        for value in ["1", "{}", "[1]", "[[\"a\"]]", "[null]", "true"] {
            expectFailure(.invalidRequest, naming: "a") {
                _ = try read(nil, "{\"a\":\(value)}").list("a")
            }
        }
    }

    @Test("An unknown parameter is refused, naming it and the one that is near")
    func refusesUnknownNames() {
        for (given, meant) in [
            ("usrname", "username"), ("Username", "username"), ("user-name", "username"),
            ("chatid", "chat_id"), ("chatId", "chat_id"), ("ids", "id"), ("beforee", "before"),
        ] {
            for (query, body) in [
                ("\(given)=1", ""), (nil, "\(given)=1"), (nil, "{\"\(given)\":1}"),
            ] {
                let failure = #expect(throws: Failure.self) { try read(query, body) }
                #expect(failure?.code == .invalidRequest && failure?.parameter == given)
                #expect(
                    failure?.message
                        == "The parameter \(given) is unknown here. Did you mean \(meant)?")
            }
        }
        for given in ["colour", "q", "_", "x%20y", "%00"] {
            let failure = #expect(throws: Failure.self) { try read(nil, "\(given)=1") }
            #expect(failure?.code == .invalidRequest)
            #expect(failure?.message.utf8.contains(UInt8(ascii: "?")) == false)
        }
    }

    @Test("Query names that begin with an underscore are passed over, for caches")
    func passesCacheBusters() throws {
        #expect(try read("_=1&a=x&_t=%zz&_a").text("a") == "x")
        expectFailure(.invalidRequest, naming: "_t") { _ = try read(nil, "_t=1") }
        expectFailure(.invalidRequest, naming: "_t") { _ = try read(nil, #"{"_t":1}"#) }
    }

    @Test("JSON's null counts as absent, under an unknown name as well, and hides nothing")
    func passesNulls() throws {
        #expect(try read(nil, #"{"unknown":null,"a":"x"}"#).text("a") == "x")
        #expect(try read("a=x", #"{"a":null}"#).text("a") == "x")
        expectFailure(.invalidRequest, naming: "a") { _ = try read(nil, #"{"a":null,"a":1}"#) }
    }

    @Test("A name is ASCII and has at most 64 bytes, and a refusal quotes a short safe piece of it")
    func boundsNames() {
        let long = String(repeating: "n", count: 65)
        for (name, shown) in [
            (long, String(long.prefix(64))), ("é", "??"), ("a\u{301}", "a??"), ("\u{7F}", "?"),
            ("a\n", "a?"),
        ] {
            expectFailure(.invalidRequest, naming: shown) { _ = try read(nil, name + "=1") }
            expectFailure(.invalidRequest, naming: shown) {
                _ = try Parameters(
                    ["a"], body: JSONValue.object([(name: name, value: .null)]).encoded)
            }
        }
        let escaped = String(repeating: "%6e", count: 65)
        expectFailure(.invalidRequest, naming: String(escaped.prefix(64))) {
            _ = try read(escaped + "=1")
        }
    }

    @Test("Fields, JSON values and parts of a list have a number that is not exceeded")
    func boundsNumbers() throws {
        let limit = Parameters.fieldLimit
        func fields(_ count: Int) -> String {
            Array(repeating: "a=1", count: count).joined(separator: "&")
        }
        #expect(try read(nil, fields(limit)).list("a")?.count == limit)
        expectFailure(.invalidRequest) { _ = try read(nil, fields(limit + 1)) }
        func list(_ count: Int) -> String {
            "{\"a\":[" + Array(repeating: "\"1\"", count: count).joined(separator: ",") + "]}"
        }
        #expect(try read(nil, list(limit - 2)).list("a")?.count == limit - 2)
        expectFailure(.invalidRequest) { _ = try read(nil, list(limit - 1)) }
        func parts(_ count: Int) throws -> Parameters {
            try read(nil, "a=" + String(repeating: "b,", count: count))
        }
        #expect(try parts(limit).list("a")?.count == limit)
        expectFailure(.invalidRequest, naming: "a") { _ = try parts(limit + 1).list("a") }
        // Empty parts are none.
        #expect(try read(nil, "a=" + String(repeating: ",", count: 3 * limit)).list("a") == [])
    }

    @Test(
        "An id is the 36 bytes of a UUID: absent where it is looked up, wrong where a page begins")
    func checksIDs() throws {
        let id = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"
        for (key, message) in [
            ("id", "There is no chat with this id."), ("chat_id", "There is no chat with this id."),
        ] {
            let failure = #expect(throws: Failure.self) {
                let _: Chat.ID = try read("\(key)=nope").requiredID("id", "chat_id")
            }
            #expect(failure == Failure(.notFound, message, parameter: key))
        }
        let chat: Chat.ID = try read("id=\(id)").requiredID("id", "chat_id")
        #expect(chat.text == id)
        let user: User.ID? = try read("id=\(id)").id("id", of: "user")
        #expect(user?.text == id)
        for text in ["", "x", String(id.dropLast()), id + "0", id + "\u{301}"] {
            expectFailure(.invalidRequest, naming: "after") { _ = try read("after=\(text)").page() }
        }
        #expect(try read("before=\(id)").page().anchor == id)
    }

    @Test("A line is cut free of the space around it, and its length is looked at first")
    func readsLines() throws {
        #expect(try read("a=+x+y%0A").line("a", limit: 3) == "x y")
        #expect(try read("a=%C3%A9%C3%A9").line("a", limit: 2) == "éé")
        for text in ["", "+", "xxxx", "x%07y", String(repeating: "+", count: 300) + "x"] {
            expectFailure(.invalidRequest, naming: "a") {
                _ = try read(nil, "a=\(text)").line("a", limit: 3)
            }
        }
        expectFailure(.invalidRequest, naming: "a") {
            _ = try read("a=%C3%A9%C3%A9").line("a", limit: 3, bytes: 3)
        }
    }

    @Test("A null character stands in no text and no list")
    func refusesNullCharacters() throws {
        for read in [
            try read("a=x%00"), try read(nil, "a=%00"), try read(nil, #"{"a":"\u0000"}"#),
            try read(nil, #"{"a":["x","\u0000"]}"#),
        ] {
            expectFailure(.invalidRequest, naming: "a") { _ = try read.text("a") }
            expectFailure(.invalidRequest, naming: "a") { _ = try read.list("a") }
        }
    }
}
