/// What this is.
package enum Product {
    package static let version = "1.0.0"
}
