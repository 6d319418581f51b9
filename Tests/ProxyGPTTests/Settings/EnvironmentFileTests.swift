internal import Testing

@testable internal import ProxyGPT

@Suite struct EnvironmentFileTests {
    @Test func `a variable is a line`() {
        let text = "A=1\n\n# B=2\n; C=3\n  D = x y  \nE=\nnonsense\nF=a=b\nA=4"
        #expect(
            EnvironmentFile.variables(in: text) == [
                "A": "4", "D": "x y", "E": "", "F": "a=b",
            ])
    }

    @Test func `quotes hold blanks, and backslashes stand for what follows`() {
        let text = #"""
            A="x # \" \$ \n"
            B=' \ "raw" '
            C=one\ two\\
            D=long \
            line
            E="a"'b'c
            """#
        #expect(
            EnvironmentFile.variables(in: text) == [
                "A": #"x # " $ \n"#, "B": #" \ "raw" "#, "C": #"one two\"#, "D": "long line",
                "E": "abc",
            ])
    }

    @Test func `comments go on behind a backslash, and names that are none are left out`() {
        let text = "# a \\\nB=1\n9X=1\nA-B=2\nC=3"
        #expect(EnvironmentFile.variables(in: text) == ["C": "3"])
    }

    @Test func `an incomplete text is read up to its end`() {
        #expect(EnvironmentFile.variables(in: "A='x") == ["A": "x"])
        #expect(EnvironmentFile.variables(in: "A=x\\") == ["A": "x"])
        #expect(EnvironmentFile.variables(in: "A") == [:])
    }
}
