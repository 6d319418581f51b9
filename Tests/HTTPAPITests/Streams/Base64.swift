import Credentials
import Formats

enum Base64 {
    static func encode(_ text: String) -> String { base64URL(Array(text.utf8)) }
}
