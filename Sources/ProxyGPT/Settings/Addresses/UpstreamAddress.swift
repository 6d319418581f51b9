internal import Formats

/// The address of the upstream, and the mapping of paths below /v1 to its paths.
package struct UpstreamAddress: Sendable, Equatable {
    /// The header that carries the key.
    package enum KeyHeader: Sendable, Equatable {
        case bearer
        case apiKey
    }

    private enum Mapping: Sendable, Equatable {
        /// `/v1/x` goes to base + `/x`.
        case v1(base: String)
        /// `/v1/x` goes to a sibling of the deployment's operations, with this api-version.
        case azureDeployment(resource: String, deployment: String, version: String)
    }

    package let keyHeader: KeyHeader
    private let mapping: Mapping

    package static let openAI = UpstreamAddress(
        keyHeader: .bearer, mapping: .v1(base: "https://api.openai.com/v1"))

    private init(keyHeader: KeyHeader, mapping: Mapping) {
        self.keyHeader = keyHeader
        self.mapping = mapping
    }

    /// The problem of an address.
    package typealias Problem = ValueProblem

    /// Reads `API_URL`.
    /// - Parameter isAzure: the value of `API_TYPE`; nil to decide by the host's name.
    package init(_ url: String, isAzure: Bool? = nil) throws(Problem) {
        let parts = try Self.split(url)
        let isAzure = isAzure ?? parts.host.hasSuffix(".openai.azure.com")
        let root = parts.scheme + "://" + parts.authority
        guard isAzure else {
            guard parts.query == nil else { throw Problem(text: "must not have a query") }
            let base = root + parts.path
            self.init(
                keyHeader: .bearer,
                mapping: .v1(base: Self.namesVersion(parts.path) ? base : base + "/v1"))
            return
        }
        switch parts.path {
        case "", "/openai", "/openai/v1":
            guard parts.query == nil else {
                throw Problem(text: "has an api-version, which /openai/v1 does not take")
            }
            self.init(keyHeader: .apiKey, mapping: .v1(base: root + "/openai/v1"))
        case let path where path.hasPrefix("/openai/deployments/"):
            let name = path.dropFirst("/openai/deployments/".count).prefix { $0 != "/" }
            guard !name.isEmpty else { throw Problem(text: "names no deployment") }
            guard let version = Self.apiVersion(in: parts.query ?? "") else {
                throw Problem(text: "needs ?api-version=… behind the deployment")
            }
            self.init(
                keyHeader: .apiKey,
                mapping: .azureDeployment(
                    resource: root, deployment: String(name), version: version))
        default:
            throw Problem(
                text: "must be Azure's …/openai/deployments/NAME/…?api-version=… or …/openai/v1")
        }
    }

    /// Whether a path ends where its API begins: in a version (`/v1`, `/v1beta`, `/v4`), or in
    /// `/openai` as that of an API beside another one.
    private static func namesVersion(_ path: String) -> Bool {
        let slash = UInt8(ascii: "/")
        guard let start = path.utf8.lastIndex(of: slash) else { return false }
        let name = path.utf8[start...].dropFirst()
        if name.elementsEqual("openai".utf8) { return true }
        let isNumbered = name.dropFirst().first.map { (0x30...0x39).contains($0) } ?? false
        return isNumbered && name.first.map(lowerCase) == UInt8(ascii: "v")
            && name.allSatisfy {
                (0x30...0x39).contains($0) || (0x61...0x7A).contains(lowerCase($0))
            }
    }

    /// The list of models, which every upstream answers at no cost.
    package static let modelsPath = "/v1/models"

    /// The upstream's address for a path, as bytes, since a query may not be UTF-8.
    /// - Parameters:
    ///   - path: the raw path, which begins with `/v1/`.
    ///   - query: the raw query without its `?`, or nil.
    /// Throws `notFound` with the path where the upstream has no such path.
    package func url(path: String, query: [UInt8]?) throws(Failure) -> [UInt8] {
        let rest = Substring(path.utf8.dropFirst("/v1".utf8.count))
        switch mapping {
        case .v1(let base):
            var url = Array(base.utf8)
            url.append(contentsOf: rest.utf8)
            if let query {
                url.append(UInt8(ascii: "?"))
                url.append(contentsOf: query)
            }
            return url
        case .azureDeployment(let resource, let deployment, let version):
            let operation = Substring(rest.utf8.dropFirst())
            // Longer than any of those that are known.
            let first = operation.beginning(before: "/").beginning(bytes: 32)
            let target: String
            // The operator's api-version wins over the caller's.
            var fixed = [(name: "api-version", value: version)]
            switch first {
            case "embeddings", "audio", "images", "completions":
                target = "/openai/deployments/\(deployment)\(rest)"
            case "chat" where operation.hasSameBytes(as: "chat/completions"):
                target = "/openai/deployments/\(deployment)\(rest)"
            case "files", "batches", "models":
                target = "/openai\(rest)"
            // A WebSocket, whose deployment is in the query.
            case "realtime" where operation.hasSameBytes(as: "realtime"):
                target = "/openai/realtime"
                fixed.append((name: "deployment", value: deployment))
            default:
                throw Failure(.notFound, "The upstream deployment does not serve \(path).")
            }
            let others = (query ?? []).split(separator: UInt8(ascii: "&")).filter { pair in
                !fixed.contains { Self.isNamed(pair, $0.name) }
            }
            let ours = fixed.map { Array("\($0.name)=\($0.value)".utf8)[...] }
            return Array((resource + target + "?").utf8)
                + (others + ours).joined(separator: [UInt8(ascii: "&")])
        }
    }

    /// Azure reads names without regard to case, and escaped ones as well.
    private static func isNamed(_ pair: ArraySlice<UInt8>, _ wanted: String) -> Bool {
        let name = PercentEncoding.decodeLeniently(
            Array(pair.prefix { $0 != UInt8(ascii: "=") }))
        return name.lazy.map(lowerCase).elementsEqual(wanted.utf8.lazy.map(lowerCase))
    }

    private static func apiVersion(in query: String) -> String? {
        let pair = query.split(separator: "&").first {
            isNamed(Array($0.utf8)[...], "api-version")
        }
        guard let value = pair?.dropFirst("api-version=".count), !value.isEmpty else { return nil }
        return String(value)
    }

    private struct Parts {
        let scheme: String
        let authority: String
        let host: String
        let path: String
        let query: String?
    }

    private static func split(_ url: String) throws(Problem) -> Parts {
        guard url.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            throw Problem(text: "has white space or characters beyond ASCII")
        }
        let scheme: String
        let lowered = url.lowercased()
        if lowered.hasPrefix("https://") {
            scheme = "https"
        } else if lowered.hasPrefix("http://") {
            scheme = "http"
        } else {
            throw Problem(text: "must begin with http:// or https://")
        }
        let rest = url.dropFirst(scheme.count + 3)
        let authority = rest.prefix { $0 != "/" && $0 != "?" && $0 != "#" }
        var tail = rest.dropFirst(authority.count)
        guard !tail.contains("#") else { throw Problem(text: "must not have a fragment") }
        // The host would end in the middle of a password that is not escaped.
        guard !authority.contains("@"), !tail.prefix(while: { $0 != "?" }).contains("@") else {
            throw Problem(text: "must not hold a user name or password")
        }
        let host = try host(in: authority)
        var query: String?
        if let mark = tail.firstIndex(of: "?") {
            query = String(tail[tail.index(after: mark)...])
            tail = tail[..<mark]
        }
        while tail.hasSuffix("/") { tail = tail.dropLast() }
        return Parts(
            scheme: scheme, authority: authority.lowercased(), host: host, path: String(tail),
            query: query)
    }

    private static func host(in authority: Substring) throws(Problem) -> String {
        do throws(HostAndPort.Problem) {
            return try HostAndPort(Array(authority.utf8)[...]).hostText.lowercased()
        } catch {
            throw Problem(text: error.rawValue)
        }
    }
}
