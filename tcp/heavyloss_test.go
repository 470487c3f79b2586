package tcp_test

import (
	"testing"
	"time"

	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/tcp/tcptest"
)

// RFC 6298 §5, §3 (Karn), RFC 7323 §4: what a sample is, and what it does to a timer that a backed-off RTO has set.
func TestSamplesAfterTimeouts(t *testing.T) {
	runScripts(t, "config cc=reno rack=off frto=off\n"+activeSACK, []script{
		{"a sample from a SACK alone ends the backoff, and the wait that it has begun", `
			write 1000
			> P. 1:1001(1000) ack 1
			+.3 > P. 1:1001(1000) ack 1
			+.6 > P. 1:1001(1000) ack 1
			+1.2 > P. 1:1001(1000) ack 1
			+.1 < . 1:1(0) ack 1001
			write 2000
			> . 1001:3001(2000) ack 1
			deadline 2.4
			+.1 < . 1:1(0) ack 1001 sack 2001:3001
			deadline .3
			+.3 > . 1001:2001(1000) ack 1`},
	})
	const begin = `
		config cc=reno frto=off tlp=off
		connect
		> S 0:0(0)
		+.1 < S. 0:0(0) ack 1 win 65535 mss 1012 sackOK TS 100 0
		> . 1:1(0) ack 1
		write 3000
		> . 1:3001(3000) ack 1 TS 100 100
		+.3 > . 1:1001(1000) ack 1 TS 400 100
		+.1 < . 1:1(0) ack 1001 TS 500 400
		> . 1001:2001(1000) ack 1 TS 500 500
		> P. 2001:3001(1000) ack 1 TS 500 500
		info rtt=.1
	`
	runScripts(t, begin, []script{
		{"an echo is of what came at the left edge of the window: not of this transmission, if it is older", `
			collect
			+1 quiet
			drain 1 2
			< . 1:1(0) ack 3001 TS 1500 800
			info rtt=.1`},
		{"nor does an ACK with a D-SACK give a sample", `
			+.1 < . 1:1(0) ack 3001 TS 1500 500 sack 1001:2001
			info rtt=.1 rttvar=.0375`},
	})
}

// RFC 8985 §6.2: a retransmission that is SACKed tells what was sent before it is lost. The echoed timestamp of an ACK that moves nothing is
// old, whatever has arrived, and says nothing against that.
func TestRetransmissionSACKed(t *testing.T) {
	runScripts(t, `
		config cc=reno frto=off tlp=off
		connect
		> S 0:0(0)
		+.1 < S. 0:0(0) ack 1 win 65535 mss 1012 sackOK TS 100 0
		> . 1:1(0) ack 1
		write 8000
		> . 1:8001(8000) ack 1
		+.1 < . 1:1(0) ack 1 TS 200 100 sack 2001:8001
		> . 1:2001(2000) ack 1
	`, []script{
		{"the first of two is lost again", `
			+.1 < . 1:1(0) ack 1 TS 300 100 sack 1001:8001
			> . 1:1001(1000) ack 1`},
		{"not if less than a round trip has passed", `
			+.05 < . 1:1(0) ack 1 TS 250 100 sack 1001:8001
			quiet`},
	})
}

// A transfer of 1 MiB over links that lose three of ten packets either way takes its time: each of some 100 timeouts is followed by
// another with probability 0.51 and twice as long a wait. It must not take much more than that costs, whatever the options: without
// timestamps and SACK Karn's algorithm keeps the backed-off RTO for as long as something is sent twice.
func TestHeavyLossTakesItsTime(t *testing.T) {
	link := tcptest.Link{Delay: 10 * time.Millisecond, Loss: .3}
	for _, test := range []struct {
		name                 string
		noTimestamps, noSACK bool
		congestion           string
		most                 time.Duration // of five transfers
	}{
		{"", false, false, "cubic", 50 * time.Minute},
		{"", false, false, "bbr", 3 * time.Minute},
		{"no timestamps", true, false, "cubic", time.Hour},
		{"no timestamps", true, false, "bbr", 3 * time.Minute},
		{"no SACK", false, true, "cubic", 90 * time.Minute},
		{"no SACK", false, true, "bbr", 75 * time.Minute},
		{"neither", true, true, "cubic", 12 * time.Hour},
		{"neither", true, true, "bbr", 12 * time.Hour},
	} {
		total := time.Duration(0)
		for seed := range uint64(5) {
			var config [2]*tcp.Config
			for i := range config {
				config[i] = &tcp.Config{NoTimestamps: test.noTimestamps, NoSACK: test.noSACK, Congestion: test.congestion, SynRetries: 20}
			}
			n := tcptest.New(tcptest.Options{Seed: seed + 1, AtoB: link, BtoA: link, A: tcptest.Traffic{Send: 1 << 20}, Config: config})
			if err := n.Run(); err != nil {
				t.Errorf("%s %s: %v", test.congestion, test.name, err)
			}
			total += n.Finished(1)
		}
		if total > test.most {
			t.Errorf("%s %s: five transfers take %v, more than %v", test.congestion, test.name, total, test.most)
		}
	}
}
