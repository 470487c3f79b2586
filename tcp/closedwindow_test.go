package tcp_test

import (
	"strings"
	"testing"
)

// RFC 9293 §3.8.6.1, RFC 6298 §5: which timer it is when a window closes, and how long it then takes.
func TestClosedWindowTimers(t *testing.T) {
	runScripts(t, active, []script{
		{"in flight: it is the retransmission timer's; all acknowledged: the persist timer's, from the RTO on", `
			write 2000
			> . 1:2001(2000) ack 1
			+.1 < . 1:1(0) ack 1001 win 0
			+.3 > P. 1001:2001(1000) ack 1
			+.1 < . 1:1(0) ack 1001 win 0
			+.5 > P. 1001:2001(1000) ack 1
			+.1 < . 1:1(0) ack 2001 win 0
			write 500
			+.3 > . 2000:2000(0) ack 1
			+.1 < . 1:1(0) ack 2001 win 0
			+.5 > . 2000:2000(0) ack 1
			+.1 < . 1:1(0) ack 2001 win 65535
			> P. 2001:2501(500) ack 1
			+.3 > P. 2001:2501(500) ack 1`},
		{"the FIN is sent again into a closed window, and may be acknowledged with it", `
			write 1000
			> P. 1:1001(1000) ack 1
			shutdown
			> F. 1001:1001(0) ack 1
			+.1 < . 1:1(0) ack 1001 win 0
			+.3 > F. 1001:1001(0) ack 1
			+.1 < . 1:1(0) ack 1002 win 0
			state FIN-WAIT-2`},
		{"a FIN that was not sent before the window closed waits for it to open", `
			write 1000
			> P. 1:1001(1000) ack 1
			+.1 < . 1:1(0) ack 1001 win 0
			shutdown
			quiet
			+.3 > . 1000:1000(0) ack 1
			+.1 < . 1:1(0) ack 1001 win 1
			> F. 1001:1001(0) ack 1`},
		{"a window that has shrunk below what is lost: the first segment goes, the rest when it opens (RFC 9293 §3.8.6, SHLD-15)", `
			write 8000
			> . 1:8001(8000) ack 1
			+.1 < . 1:1(0) ack 1 win 500
			+.2 > . 1:1001(1000) ack 1
			+.1 < . 1:1(0) ack 1001 win 0
			> . 1001:2001(1000) ack 1
			collect
			+.1 < . 1:1(0) ack 2001 win 65535
			+.1 < . 1:1(0) ack 8001
			+10 drain 1 6
			info inflight=0`},
		{"closed for longer than the RTO: no more than the initial window at once when it opens (RFC 5681 §4.1)", `
			write 10000
			> . 1:10001(10000) ack 1
			+.1 < . 1:1(0) ack 10001
			write 20000
			> . 10001:30001(20000) ack 1
			+.1 < . 1:1(0) ack 30001 win 0
			info cwnd=40000
			write 40000
			collect
			+10 drain 1 10
			< . 1:1(0) ack 30001 win 65535
			> . 30001:40001(10000) ack 1`},
	})
}

// An orphan whose peer keeps its window closed is given up, whether there is something in flight or not; a peer that only is slow is not.
func TestOrphanClosedWindow(t *testing.T) {
	closed := func(n int) string { return strings.Repeat("+20 < . 1:1(0) ack 1001 win 0\n", n) }
	runScripts(t, active, []script{
		{"nothing in flight", `
			write 1000
			> P. 1:1001(1000) ack 1
			+.1 < . 1:1(0) ack 1001 win 0
			write 1000
			close
			collect
			` + closed(6) + `
			+20 drain 8 8
			state CLOSED
			err ETIMEDOUT
			event done`},
		{"something in flight", `
			write 2000
			> . 1:2001(2000) ack 1
			close
			> F. 2001:2001(0) ack 1
			+.1 < . 1:1(0) ack 1001 win 0
			collect
			` + closed(48) + `
			+20 drain 22 22
			state CLOSED
			err ETIMEDOUT
			event done`},
		{"with an application, the peer's ACKs keep it alive (MUST-37)", `
			write 2000
			> . 1:2001(2000) ack 1
			+.1 < . 1:1(0) ack 1001 win 0
			collect
			` + closed(100) + `
			drain 22 50
			state ESTABLISHED
			< . 1:1(0) ack 2001 win 65535
			info inflight=0`},
		{"nine timeouts in a row are not enough to give an orphan up", `
			write 1000
			> P. 1:1001(1000) ack 1
			close
			> F. 1001:1001(0) ack 1
			collect
			+170 drain 9 9
			state FIN-WAIT-1
			< . 1:1(0) ack 1002
			state FIN-WAIT-2`},
	})
}

// Limits that change while the connection runs.
func TestBuffersChange(t *testing.T) {
	runScripts(t, active, []script{
		{"a larger send buffer wakes a writer that waits", `
			buffers 4096 0
			write 4096
			> . 1:4097(4096) ack 1
			write 10 0
			event !writable
			buffers 100000 0
			event writable
			write 10
			> P. 4097:4107(10) ack 1`},
		{"in one of less than a chunk there is room for as many bytes", `
			buffers 4096 0
			collect
			write 1000
			write 1000
			write 1000
			write 1000
			write 1000 96
			event !writable
			+.1 < . 1:1(0) ack 4097
			drain 5 5
			event writable`},
		{"a smaller one does not, nor one that is as full", `
			buffers 4096 0
			write 4096
			> . 1:4097(4096) ack 1
			event !writable
			buffers 2048 0
			buffers 4095 0
			event !writable
			+.1 < . 1:1(0) ack 4097
			event writable`},
		{"what was offered is taken though the buffer has become less: what fills a hole, and what lies behind it", `
			< . 1001:60001(59000) ack 1
			> . 1:1(0) ack 1
			buffers 0 8192
			< . 1:1001(1000) ack 1
			> . 1:1(0) ack 60001
			read 60000
			< . 60001:61001(1000) ack 1
			> . 1:1(0) ack 61001
			read 1000`},
	})
	runScripts(t, "config rcvbuf=8192\n"+passive, []script{
		{"in a receive buffer of less than a chunk, what comes behind a hole is kept", `
			collect
			< . 1001:2001(1000) ack 1
			< . 2001:3001(1000) ack 1
			< . 3001:4001(1000) ack 1
			< . 4001:5001(1000) ack 1
			< . 5001:6001(1000) ack 1
			< . 6001:7001(1000) ack 1
			drain 6 6
			< . 1:1001(1000) ack 1
			> . 1:1(0) ack 7001`},
	})
	runScripts(t, "", []script{
		{"a receive buffer of less than a unit of the window field still opens", `
			connect
			> S 0:0(0) wscale 7
			+.1 < S. 0:0(0) ack 1 win 65535 mss 1000 wscale 2
			> . 1:1(0) ack 1
			buffers 0 50
			< . 1:60001(60000) ack 1 segs 60
			> . 1:1(0) ack 60001 win 43
			read 60000
			< . 60001:65536(5535) ack 1 segs 6
			> . 1:1(0) ack 65536 win 0
			read 5535
			> . 1:1(0) ack 65536 win 2`},
		{"without window scaling, reading announces nothing that the field cannot say, whatever the MSS", `
			config mss=65000
			connect
			> S 0:0(0)
			+.1 < S. 0:0(0) ack 1 win 65535 mss 1000
			> . 1:1(0) ack 1 win 65535
			< . 1:101(100) ack 1
			> . 1:1(0) ack 101
			collect
			read 50
			read 50
			drain 0 0`},
	})
}
