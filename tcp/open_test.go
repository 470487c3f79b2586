package tcp_test

import "testing"

// What an open leaves behind for the connection.
func TestOpenLeavesNothing(t *testing.T) {
	runScripts(t, "", []script{
		{"the RTO after lost SYNs is 3 s (RFC 6298 §5.7), not backed off, for data that was queued before too", `
			connect
			> S 0:0(0)
			write 100
			+1 > S 0:0(0)
			+2 > S 0:0(0)
			+4 > S 0:0(0)
			+.1 < S. 0:0(0) ack 1 win 65535 mss 1000
			> P. 1:101(100) ack 1
			+3 > P. 1:101(100) ack 1
			+6 > P. 1:101(100) ack 1`},
		{"the same after a simultaneous open", `
			connect
			> S 0:0(0)
			write 100
			+1 > S 0:0(0)
			< S 0:0(0) win 65535 mss 1000
			> S. 0:0(0) ack 1
			+1 > S. 0:0(0) ack 1
			+2 > S. 0:0(0) ack 1
			+.1 < . 1:1(0) ack 1
			> P. 1:101(100) ack 1
			+3 > P. 1:101(100) ack 1`},
		{"simultaneous open: the window of the SYN-ACK is not scaled (RFC 7323 §2.2)", `
			connect
			> S 0:0(0)
			< S 0:0(0) win 1280 mss 1000 wscale 7
			> S. 0:0(0) ack 1
			+.1 < S. 0:0(0) ack 1 win 1280 mss 1000 wscale 7
			write 2000
			> . 1:1001(1000) ack 1
			info sndwnd=1280
			+.1 < . 1:1(0) ack 1001 win 100
			> P. 1001:2001(1000) ack 1
			info sndwnd=12800`},
		{"the user timeout of a SYN is not prolonged by what is written meanwhile (RFC 5482)", `
			connect
			> S 0:0(0)
			usertimeout 5
			+1 > S 0:0(0)
			+2 > S 0:0(0)
			+1 write 10
			+1 state CLOSED
			err ETIMEDOUT`},
		{"a peer that opens with a closed window is probed", `
			connect
			> S 0:0(0)
			write 100
			+.1 < S. 0:0(0) ack 1 win 0 mss 1000
			> . 1:1(0) ack 1
			+.3 > . 0:0(0) ack 1
			+.1 < . 1:1(0) ack 1 win 5000
			> P. 1:101(100) ack 1`},
		{"an MSS of 0 is taken for one that lets something through", `
			connect
			> S 0:0(0)
			+.1 < S. 0:0(0) ack 1 win 65535 mss 0
			> . 1:1(0) ack 1
			write 100
			> . 1:65(64) ack 1
			> P. 65:101(36) ack 1`},
		{"data with the SYN is not acknowledged, and taken when it comes again", `
			listen
			< S 0:10(10) win 65535 mss 1000
			> S. 0:0(0) ack 1
			+.1 < . 11:11(0) ack 1
			state ESTABLISHED
			+.5 < P. 1:11(10) ack 1
			> . 1:1(0) ack 11
			read 20 10`},
		{"FIN with the SYN-ACK", `
			connect
			> S 0:0(0)
			+.1 < SF. 0:100(100) ack 1 win 65535 mss 1000
			> . 1:1(0) ack 102
			state CLOSE-WAIT
			event connected readable
			read 200 100
			read 1 EOF`},
		{"closed for writing in SYN-SENT: FIN, then FIN-WAIT-2", `
			connect
			> S 0:0(0)
			shutdown
			+.1 < S. 0:0(0) ack 1 win 65535 mss 1000
			> F. 1:1(0) ack 1
			state FIN-WAIT-1
			+.1 < . 1:1(0) ack 2
			state FIN-WAIT-2`},
		{"closed in SYN-RECEIVED of a simultaneous open, and the peer is gone: it ends", `
			connect
			> S 0:0(0)
			< S 0:0(0) win 65535 mss 1000
			> S. 0:0(0) ack 1
			close
			collect
			+200 drain 7 7
			state CLOSED
			event done
			deadline none`},
	})
}
