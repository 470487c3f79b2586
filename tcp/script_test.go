package tcp_test

import (
	"testing"

	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/tcp/tcptest"
)

// script is one rule and what shows that it is kept; what they all begin with is given apart.
type script struct{ name, text string }

// runScripts runs each script behind the lines before it.
func runScripts(t *testing.T, prologue string, scripts []script) {
	t.Helper()
	for _, s := range scripts {
		t.Run(s.name, func(t *testing.T) {
			if err := tcptest.Run(prologue + s.text); err != nil {
				t.Error(err)
			}
		})
	}
}

// Beginnings. A round trip is 100 ms, the peer takes segments of 1000 bytes, and, if not said otherwise, no options: the RTO is
// 100 ms + max(200 ms, 4*50 ms) = 300 ms.
const (
	active = `
		connect
		> S 0:0(0)
		+.1 < S. 0:0(0) ack 1 win 65535 mss 1000
		> . 1:1(0) ack 1
	`
	activeSACK = `
		connect
		> S 0:0(0)
		+.1 < S. 0:0(0) ack 1 win 65535 mss 1000 sackOK
		> . 1:1(0) ack 1
	`
	passive = `
		listen
		< S 0:0(0) win 65535 mss 1000
		> S. 0:0(0) ack 1
		+.1 < . 1:1(0) ack 1
	`
	passiveSACK = `
		listen
		< S 0:0(0) win 65535 mss 1000 sackOK
		> S. 0:0(0) ack 1
		+.1 < . 1:1(0) ack 1
	`
)

func seeds(short, long int) int { return tcp.Seeds(short, long) }
