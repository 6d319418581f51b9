/// The product's name and version.
package enum Product {
    package static let version = "1.0.0"
}
