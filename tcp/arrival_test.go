package tcp_test

import (
	"fmt"
	"strings"
	"testing"
)

// RFC 9293 §3.10.7.4 with super-segments, which GRO makes of several: each check treats them as one long segment.
func TestSuperSegmentArrives(t *testing.T) {
	runScripts(t, passiveSACK, []script{
		{"with FIN", `
			< FP. 1:4001(4000) ack 1 segs 4
			> . 1:1(0) ack 4002
			state CLOSE-WAIT
			read 9000 4000`},
		{"with FIN, behind a hole", `
			< FP. 1001:4001(3000) ack 1 segs 3
			> . 1:1(0) ack 1 sack 1001:4001
			state ESTABLISHED
			< . 1:1001(1000) ack 1
			> . 1:1(0) ack 4002
			state CLOSE-WAIT`},
		{"half of it is old (RFC 2883 §4.2.1)", `
			< . 1:2001(2000) ack 1 segs 2
			> . 1:1(0) ack 2001
			< . 1:4001(4000) ack 1 segs 4
			> . 1:1(0) ack 4001 sack 1:2001
			read 9000 4000`},
		{"the middle of it is there", `
			< . 1001:2001(1000) ack 1
			> . 1:1(0) ack 1 sack 1001:2001
			< . 1:4001(4000) ack 1 segs 4
			> . 1:1(0) ack 4001
			read 9000 4000`},
		{"the end of it and the FIN are beyond the window: cut off, and the FIN with them", `
			< . 1:60001(60000) ack 1 segs 60
			> . 1:1(0) ack 60001
			< F. 60001:70001(10000) ack 1 segs 10
			> . 1:1(0) ack 65536 win 0
			state ESTABLISHED
			read 70000 65535
			> . 1:1(0) ack 65536
			< F. 65536:70001(4465) ack 1 segs 5
			> . 1:1(0) ack 70002
			state CLOSE-WAIT`},
		{"all of it is beyond the window: an ACK, nothing else", `
			< . 70001:80001(10000) ack 1 segs 10
			> . 1:1(0) ack 1
			read 1 0`},
		{"it acknowledges too much: an ACK, and dropped (RFC 5961 §5.2)", `
			< . 1:4001(4000) ack 99 segs 4
			> . 1:1(0) ack 1
			read 1 0`},
	})
	runScripts(t, stamped, []script{
		{"its timestamp is too old: dropped as a whole, with one ACK (PAWS)", `
			< . 1:4001(4000) ack 1 segs 4 TS 1099 100
			> . 1:1(0) ack 1 TS 100 1100
			read 1 0`},
		{"its timestamp is the next to be echoed", `
			< . 1:4001(4000) ack 1 segs 4 TS 1105 100
			> . 1:1(0) ack 4001 TS 100 1105`},
	})
}

// What the peer may do to FIN and RST.
func TestEndsArrive(t *testing.T) {
	runScripts(t, active, []script{
		{"a RST whose data lies before the window is dropped without an ACK (RFC 9293 §3.10.7.4, first)", `
			< P. 1:101(100) ack 1
			> . 1:1(0) ack 101
			+1 < R 51:101(50)
			quiet
			state ESTABLISHED`},
		{"a FIN that comes again with the last data, when only that was lost", `
			< F. 101:101(0) ack 1
			> . 1:1(0) ack 1
			+1 < FP. 1:101(100) ack 1
			> . 1:1(0) ack 102
			state CLOSE-WAIT
			+1 < FP. 1:101(100) ack 1
			> . 1:1(0) ack 102
			read 200 100
			read 1 EOF`},
		{"a FIN into a closed window", `
			< . 1:65536(65535) ack 1 segs 65
			> . 1:1(0) ack 65536 win 0
			< F. 65536:65536(0) ack 1
			> . 1:1(0) ack 65537 win 0
			state CLOSE-WAIT
			read 70000 65535
			read 1 EOF`},
		{"half-closed for a day, and then data and FIN", `
			shutdown
			> F. 1:1(0) ack 1
			+.1 < . 1:1(0) ack 2
			deadline none
			+86400 < P. 1:101(100) ack 2
			> . 2:2(0) ack 101
			read 100
			+86400 < F. 101:101(0) ack 2
			> . 2:2(0) ack 102
			state TIME-WAIT`},
		{"simultaneous close, and our FIN is lost: it is sent again from CLOSING", `
			shutdown
			> F. 1:1(0) ack 1
			< F. 1:1(0) ack 1
			> . 2:2(0) ack 2
			state CLOSING
			+.3 > F. 1:1(0) ack 2
			+.1 < . 2:2(0) ack 2
			state TIME-WAIT`},
		{"simultaneous close with data in flight: the FIN counts when that is acknowledged", `
			write 500
			> P. 1:501(500) ack 1
			shutdown
			> F. 501:501(0) ack 1
			< F. 1:1(0) ack 1
			> . 502:502(0) ack 2
			state CLOSING
			+.1 < . 2:2(0) ack 501
			state CLOSING
			+.1 < . 2:2(0) ack 502
			state TIME-WAIT`},
		{"closed, with a hole in what comes: what fills it is new data after CLOSE (RFC 1122 §4.2.2.13)", `
			< . 1001:2001(1000) ack 1
			> . 1:1(0) ack 1
			close
			> F. 1:1(0) ack 1
			< . 1:1001(1000) ack 2
			> R 2:2(0)
			state CLOSED`},
	})
}

// RFC 2525 §2.17 and RFC 1122 §4.2.2.13 speak of data that the application never gets: what CloseRead has thrown away was received.
func TestCloseReadReceives(t *testing.T) {
	runScripts(t, passiveSACK, []script{
		{"behind a hole too", `
			closeread
			< . 1001:2001(1000) ack 1
			> . 1:1(0) ack 1 sack 1001:2001
			< . 1:1001(1000) ack 1
			> . 1:1(0) ack 2001
			info received=2000 rcvq=0
			shutdown
			> F. 1:1(0) ack 2001
			< F. 2001:2001(0) ack 2
			> . 2:2(0) ack 2002
			state TIME-WAIT`},
	})
}

// RFC 9293 §3.10.7.4: two ends that each find the other's ACK not acceptable must not go on for ever; RFC 5961 §7.
func TestAckWar(t *testing.T) {
	var text strings.Builder
	for range 1000 {
		fmt.Fprintln(&text, "+.001 < . 100001:100001(0) ack 1")
	}
	runScripts(t, active, []script{{"ACKs beyond the window", "collect\n" + text.String() + "drain 10 20\n"}})
}
