package tcp_test

import "testing"

// RFC 5681 §3.2, RFC 6582, RFC 3042: recovery when the peer has no SACK.
func TestFastRecoveryNewReno(t *testing.T) {
	runScripts(t, "config cc=reno\n"+active, []script{
		{"three duplicate ACKs (RFC 5681 §3.2), the first two with limited transmit (RFC 3042)", `
			write 20000
			> . 1:10001(10000) ack 1
			info cwnd=10000
			+.1 < . 1:1(0) ack 1
			> . 10001:11001(1000) ack 1
			< . 1:1(0) ack 1
			> . 11001:12001(1000) ack 1
			< . 1:1(0) ack 1
			> . 1:1001(1000) ack 1
			info ssthresh=5000 dupacks=3
			+.1 < . 1:1(0) ack 12001
			info cwnd=5000
			> . 12001:17001(5000) ack 1`},
		{"two are not enough", `
			write 10000
			> . 1:10001(10000) ack 1
			+.1 < . 1:1(0) ack 1
			< . 1:1(0) ack 1
			quiet
			< . 1:1(0) ack 10001
			info retransmits=0`},
		{"a partial ACK: the next segment is lost too (RFC 6582 §3.2 step 3)", `
			write 10000
			> . 1:10001(10000) ack 1
			+.1 < . 1:1(0) ack 1
			< . 1:1(0) ack 1
			< . 1:1(0) ack 1
			> . 1:1001(1000) ack 1
			+.1 < . 1:1(0) ack 4001
			> . 4001:5001(1000) ack 1
			info ssthresh=5000
			+.1 < . 1:1(0) ack 6001
			> . 6001:7001(1000) ack 1
			info ssthresh=5000
			+.1 < . 1:1(0) ack 10001
			info inflight=0 cwnd=5000 retransmits=3 rtos=0`},
		{"what is no duplicate ACK (RFC 5681 §2): another window, data, SYN or FIN", `
			write 10000
			> . 1:10001(10000) ack 1
			+.1 < . 1:1(0) ack 1 win 60000
			< . 1:1(0) ack 1 win 60001
			< . 1:1(0) ack 1 win 60002
			< . 1:1(0) ack 1 win 60003
			quiet
			info retransmits=0`},
		{"nothing in flight: nothing is a duplicate", `
			< . 1:1(0) ack 1
			< . 1:1(0) ack 1
			< . 1:1(0) ack 1
			< . 1:1(0) ack 1
			quiet
			info dupacks=0`},
		{"the retransmission is lost: the timer", `
			write 10000
			> . 1:10001(10000) ack 1
			+.1 < . 1:1(0) ack 1
			< . 1:1(0) ack 1
			< . 1:1(0) ack 1
			> . 1:1001(1000) ack 1
			info ssthresh=5000
			+.3 > . 1:1001(1000) ack 1
			info cwnd=1000`},
		{"after a timeout, old duplicates begin no recovery (RFC 6582 §3.2 step 2)", `
			write 10000
			> . 1:10001(10000) ack 1
			+.3 > . 1:1001(1000) ack 1
			+.05 < . 1:1(0) ack 4001
			> . 4001:6001(2000) ack 1
			+.05 < . 1:1(0) ack 4001
			< . 1:1(0) ack 4001
			< . 1:1(0) ack 4001
			info ssthresh=5000 rtos=1`},
	})
}

// RFC 6675, RFC 2018 (sender), RFC 9937.
func TestFastRecoverySACK(t *testing.T) {
	runScripts(t, "config cc=reno\n"+activeSACK, []script{
		{"a hole is sent again once, nothing else", `
			write 10000
			> . 1:10001(10000) ack 1
			+.1 < . 1:1(0) ack 1 sack 1001:2001
			< . 1:1(0) ack 1 sack 1001:3001
			< . 1:1(0) ack 1 sack 1001:4001
			> . 1:1001(1000) ack 1
			< . 1:1(0) ack 1 sack 1001:5001
			< . 1:1(0) ack 1 sack 1001:10001
			+.1 < . 1:1(0) ack 10001
			info cwnd=5000 retransmits=1 inflight=0`},
		{"more than two segments SACKed by one ACK are enough (RFC 6675 §4, IsLost)", `
			write 10000
			> . 1:10001(10000) ack 1
			+.1 < . 1:1(0) ack 1 sack 1001:4001
			> . 1:1001(1000) ack 1`},
		{"two segments and a bit above are not", `
			write 10000
			> . 1:10001(10000) ack 1
			+.1 < . 1:1(0) ack 1 sack 1001:3001
			quiet`},
		{"two holes", `
			write 10000
			> . 1:10001(10000) ack 1
			+.1 < . 1:1(0) ack 1 sack 1001:4001
			> . 1:1001(1000) ack 1
			< . 1:1(0) ack 1 sack 5001:10001 1001:4001
			> . 4001:5001(1000) ack 1
			+.1 < . 1:1(0) ack 4001 sack 5001:10001
			+.01 < . 1:1(0) ack 10001
			info retransmits=2 inflight=0 cwnd=5000`},
		{"the window is given back slowly: half of what is delivered (RFC 9937)", `
			write 30000
			> . 1:10001(10000) ack 1
			+.1 < . 1:1(0) ack 1 sack 1001:4001
			> . 1:1001(1000) ack 1
			< . 1:1(0) ack 1 sack 1001:5001
			> . 10001:11001(1000) ack 1
			< . 1:1(0) ack 1 sack 1001:6001
			< . 1:1(0) ack 1 sack 1001:7001
			quiet
			< . 1:1(0) ack 1 sack 1001:8001
			> . 11001:12001(1000) ack 1
			< . 1:1(0) ack 1 sack 1001:9001
			> . 12001:13001(1000) ack 1`},
		{"SACK blocks of nonsense are ignored", `
			write 3000
			> . 1:3001(3000) ack 1
			+.1 < . 1:1(0) ack 1 sack 2001:1001
			< . 1:1(0) ack 1 sack 2001:9001
			< . 1:1(0) ack 1 sack -5000:-4000
			quiet
			info retransmits=0 inflight=3000`},
		{"a timeout keeps what was SACKed (RFC 6675 §5.1)", `
			write 3000
			> . 1:3001(3000) ack 1
			+.1 < . 1:1(0) ack 1 sack 1001:2001
			+.025 > . 1:1001(1000) ack 1
			+.3 > . 1:1001(1000) ack 1
			info rtos=1
			+.1 < . 1:1(0) ack 2001
			> . 2001:3001(1000) ack 1`},
		{"a D-SACK does no harm", `
			write 3000
			> . 1:3001(3000) ack 1
			+.1 < . 1:1(0) ack 3001 sack 1:1001
			info inflight=0
			quiet`},
	})
}

// RFC 2018 §4, RFC 2883, RFC 5681 §4.2: what the receiver says.
func TestReceiverSACK(t *testing.T) {
	runScripts(t, passiveSACK, []script{
		{"the newest block first, then the most recently reported", `
			< . 1001:2001(1000) ack 1
			> . 1:1(0) ack 1 sack 1001:2001
			< . 3001:4001(1000) ack 1
			> . 1:1(0) ack 1 sack 3001:4001 1001:2001
			< . 5001:6001(1000) ack 1
			> . 1:1(0) ack 1 sack 5001:6001 3001:4001 1001:2001
			< . 7001:8001(1000) ack 1
			> . 1:1(0) ack 1 sack 7001:8001 5001:6001 3001:4001 1001:2001
			< . 9001:10001(1000) ack 1
			> . 1:1(0) ack 1 sack 9001:10001 7001:8001 5001:6001 3001:4001
			< . 2001:3001(1000) ack 1
			> . 1:1(0) ack 1 sack 1001:4001 9001:10001 7001:8001 5001:6001
			< . 1:1001(1000) ack 1
			> . 1:1(0) ack 4001 sack 9001:10001 7001:8001 5001:6001
			read 9000 4000`},
		{"a block grows at its end and at its front", `
			< . 3001:4001(1000) ack 1
			> . 1:1(0) ack 1 sack 3001:4001
			< . 4001:5001(1000) ack 1
			> . 1:1(0) ack 1 sack 3001:5001
			< . 2001:3001(1000) ack 1
			> . 1:1(0) ack 1 sack 2001:5001
			< . 1:2001(2000) ack 1
			> . 1:1(0) ack 5001 nosack
			read 9000 5000`},
		{"D-SACK of what was received in order (RFC 2883 §4.1)", `
			< . 1:1001(1000) ack 1
			> . 1:1(0) ack 1001
			< . 1:1001(1000) ack 1
			> . 1:1(0) ack 1001 sack 1:1001
			< . 1001:2001(1000) ack 1
			> . 1:1(0) ack 2001 nosack`},
		{"D-SACK of what is there out of order (RFC 2883 §4.1.2): first, then its block", `
			< . 2001:4001(2000) ack 1
			> . 1:1(0) ack 1 sack 2001:4001
			< . 2001:3001(1000) ack 1
			> . 1:1(0) ack 1 sack 2001:3001 2001:4001`},
		{"D-SACK of a part (RFC 2883 §4.2.1)", `
			< . 1:1001(1000) ack 1
			> . 1:1(0) ack 1001
			< . 501:1501(1000) ack 1
			> . 1:1(0) ack 1501 sack 501:1001
			read 9000 1500`},
		{"data we send carries SACK, in smaller segments", `
			< . 1001:2001(1000) ack 1
			> . 1:1(0) ack 1 sack 1001:2001
			write 1000
			> . 1:989(988) ack 1 sack 1001:2001
			> P. 989:1001(12) ack 1`},
	})
	runScripts(t, passive, []script{
		{"not negotiated, not sent", `
			< . 1001:2001(1000) ack 1
			> . 1:1(0) ack 1 nosack`},
	})
	runScripts(t, `
		listen
		< S 0:0(0) win 65535 mss 1000 sackOK TS 1 0
		> S. 0:0(0) ack 1
		+.1 < . 1:1(0) ack 1 TS 1 0
	`, []script{
		{"with timestamps there is room for three blocks", `
			< . 1001:2001(1000) ack 1 TS 1 0
			> . 1:1(0) ack 1
			< . 3001:4001(1000) ack 1 TS 1 0
			> . 1:1(0) ack 1
			< . 5001:6001(1000) ack 1 TS 1 0
			> . 1:1(0) ack 1
			< . 7001:8001(1000) ack 1 TS 1 0
			> . 1:1(0) ack 1 sack 7001:8001 5001:6001 3001:4001`},
	})
}
