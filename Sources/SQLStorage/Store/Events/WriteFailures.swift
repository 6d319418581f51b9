internal import Logging

/// Counts the batches that failed in a row, and logs the first and then every thousandth: a full disk
/// fails each batch.
struct WriteFailures {
    private(set) var count = 0

    mutating func report(_ error: any Error, rows: Int, to logger: Logger) {
        if count % 1000 == 0 {
            logger.error(
                "write batch failed",
                metadata: [
                    "storage.error": "\(error)", "storage.rows": "\(rows)",
                    "storage.failed_groups": "\(count + 1)",
                ])
        }
        count += 1
    }

    /// Takes note of a batch that was committed.
    mutating func end() {
        count = 0
    }
}
