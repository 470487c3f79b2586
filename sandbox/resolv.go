package sandbox

import "strings"

// resolvConf is where the C library looks for name servers.
const resolvConf = "/etc/resolv.conf"

// resolvFor is the resolv.conf of the inside: the gateway is the name server, and search list and options are the host's.
func resolvFor(host string) string {
	var b strings.Builder
	b.WriteString("# weir: the gateway of this sandbox answers, and asks the name servers of the host\nnameserver " + Gateway4 + "\n")
	for line := range strings.Lines(host) {
		line = strings.TrimSpace(line)
		switch keyword, _, _ := strings.Cut(strings.ReplaceAll(line, "\t", " "), " "); keyword {
		case "search", "domain", "options":
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}
