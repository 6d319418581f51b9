internal import Formats
package import ProxyGPT

extension KeyMask {
    /// The beginning of a body as it is stored: without the key and without secrets of others.
    /// - Parameter path: of the call, whose answers may be made of secrets.
    package func stored(_ beginning: [UInt8], path: String) -> [UInt8] {
        BodyRedaction.redacted(masked(beginning), makesSecrets: PathPolicy.makesSecrets(path))
    }
}

/// Whether a body is compressed: secrets in it cannot be found, so it is not stored.
/// - Parameter encoding: the body's `Content-Encoding`.
package func isPacked(_ encoding: String?) -> Bool {
    encoding.map { !$0.utf8.isEmpty && !equalIgnoringCase($0, "identity") } ?? false
}

extension PathPolicy {
    /// Throws `pathClosed`, naming the setting that opens the path, where it is closed.
    package func check(_ target: RequestTarget) throws(Failure) {
        guard let path = closedPath(of: target.path) else { return }
        throw Failure(
            .pathClosed, "Closed here: /v1\(path). The operator opens it with V1_PATHS=+\(path).")
    }
}
