internal import ProxyGPT
internal import Testing

@testable internal import Admin

@Suite struct HostFindingTests {
    private func process(
        _ host: String, _ home: String = "boot 1:2", machine: String? = nil
    ) -> ProcessRecord {
        ProcessRecord(
            id: host, host: host, machine: machine, home: home,
            heartbeat: Timestamp(milliseconds: 0))
    }

    private func finding(
        of processes: ProcessRecord..., usesRedis: Bool = false
    ) -> Finding {
        DoctorChecks.finding(of: processes, usesRedis: usesRedis)
    }

    @Test func `processes of two hosts on one database are a fault, unless they meet in Redis`() {
        #expect(finding(of: process("a"), process("a")).result == .ok)
        let hosts = [process("a"), process("b", "other 1:2")]
        let two = DoctorChecks.finding(of: hosts, usesRedis: false)
        #expect(two.result == .broken && two.text.contains("2 hosts") && two.text.contains("a, b"))
        #expect(DoctorChecks.finding(of: hosts, usesRedis: true).result == .ok)
        #expect(DoctorChecks.finding(of: [], usesRedis: false).result == .warning)
    }

    @Test func `a host that was renamed is no other host`() {
        #expect(finding(of: process("old"), process("new")).result == .ok)
        let known = process("old", machine: "m")
        #expect(finding(of: known, process("new", machine: "m")).result == .ok)
        #expect(finding(of: known, process("of the release before")).result == .ok)
    }

    @Test func `containers of one host with directories of their own are a fault`() {
        let found = finding(of: process("a"), process("a", "boot 1:3"))
        #expect(found.result == .broken && found.text.contains("2 state directories"))
    }

    @Test func `machines that started with one boot id are two hosts`() {
        let found = finding(of: process("a", machine: "m"), process("b", machine: "n"))
        #expect(found.result == .broken && found.text.contains("2 hosts"))
    }

    @Test func `hosts with one machine id are named`() {
        let hosts = [
            process("a", machine: "m"), process("a", "boot 1:3", machine: "m"),
            process("b", "other 1:2", machine: "m"), process("c", "third 1:2", machine: "n"),
        ]
        let found = DoctorChecks.finding(ofClonesAmong: hosts)
        #expect(found.map(\.result) == [.warning])
        #expect(found.first?.text.contains("a, b;") == true)
        #expect(DoctorChecks.finding(ofClonesAmong: [hosts[0], hosts[1], hosts[3]]).isEmpty)
        #expect(DoctorChecks.finding(ofClonesAmong: [process("a"), process("b", "c")]).isEmpty)
    }

    @Test(
        arguments: [
            (0, Finding.Result.ok), (5000, .ok), (5001, .warning), (-60_000, .warning),
            (60_001, .broken), (-7_200_000, .broken), (Int64.min, .broken),
        ] as [(Int64, Finding.Result)])
    func `a clock beside the database's is a warning from 5 s on and a fault from 60 s on`(
        lead: Int64, result: Finding.Result
    ) {
        let found = DoctorChecks.finding(ofClockLead: lead)
        #expect(found.result == result)
        #expect(found.text.contains(lead < 0 ? "behind" : "ahead"))
    }
}
