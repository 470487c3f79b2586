package tcp_test

import (
	"testing"
	"time"

	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/tcp/tcptest"
)

// RFC 6675 §4, NextSeg rules 3 and 4: what may only be late is sent again one segment for each that the window has room for.
func TestSpeculation(t *testing.T) {
	const begin = `
		write 10000
		> . 1:10001(10000) ack 1
		+.1 < . 1:1(0) ack 1 sack 9001:9301
		< . 1:1(0) ack 1 sack 9001:9601
		< . 1:1(0) ack 1 sack 9001:10001
		> . 1:1001(1000) ack 1
	`
	runScripts(t, "config cc=reno rack=off\n"+activeSACK+begin, []script{
		{"room for one segment: one", `
			< . 1:1(0) ack 4001 sack 8001:10001
			> . 4001:5001(1000) ack 1
			quiet`},
		{"and for the next when there is room again", `
			< . 1:1(0) ack 4001 sack 8001:10001
			> . 4001:5001(1000) ack 1
			+.1 < . 1:1(0) ack 5001 sack 8001:10001
			> . 5001:7001(2000) ack 1
			quiet`},
		{"none while what is lost waits for the peer's window", `
			< . 1:1(0) ack 4001 sack 8001:10001
			> . 4001:5001(1000) ack 1
			< . 1:1(0) ack 4001 win 0 sack 6001:7001 8001:10001
			quiet
			info inflight=2000`},
	})
}

// Links that lose three of ten packets either way: 256 KiB arrive, whatever the options, and nobody gives up. The sender is an orphan for
// most of the time, because its application has closed, and often waits for many timeouts in a row.
func TestHeavyLoss(t *testing.T) {
	link := tcptest.Link{Delay: 10 * time.Millisecond, Rate: 100e6, Queue: 250000, Loss: .3}
	for kind := range 4 {
		for seed := range uint64(seeds(5, 25)) {
			var config [2]*tcp.Config
			for i := range config {
				config[i] = &tcp.Config{NoTimestamps: kind&1 != 0, NoSACK: kind&2 != 0}
			}
			n := tcptest.New(tcptest.Options{Seed: seed, AtoB: link, BtoA: link, A: tcptest.Traffic{Send: 256 << 10}, Config: config})
			if err := n.Run(); err != nil {
				t.Errorf("timestamps %v, SACK %v: %v", kind&1 == 0, kind&2 == 0, err)
			}
		}
	}
}
