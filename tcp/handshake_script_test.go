package tcp_test

import "testing"

// RFC 9293 §3.5, §3.7.1, §3.10.7.3; RFC 7323 §2; RFC 6298 §2.1, §5.5, §5.7.
func TestActiveOpen(t *testing.T) {
	runScripts(t, "", []script{
		{"the SYN offers everything", `
			connect
			> S 0:0(0) mss 1460 sackOK TS 0 0 wscale 7
			state SYN-SENT
			+.1 < S. 0:0(0) ack 1 win 65535 mss 1000 sackOK TS 500 0 wscale 3
			> . 1:1(0) ack 1 TS 100 500
			state ESTABLISHED
			event connected
			info mss=988 sndwnd=65535
			+.1 < . 1:1(0) ack 1 win 65535 TS 600 100
			info sndwnd=524280`},
		{"what is switched off is not offered", `
			config ts=off sack=off wscale=off
			connect
			> S 0:0(0) mss 1460 nosackOK noTS nowscale
			+.1 < S. 0:0(0) ack 1 win 1000 mss 1000 sackOK TS 500 0 wscale 3
			> . 1:1(0) ack 1 noTS
			+.1 < . 1:1(0) ack 1 win 1000
			info sndwnd=1000 mss=1000`},
		{"no MSS option: 536 (RFC 9293 MUST-15)", `
			connect
			> S 0:0(0)
			+.1 < S. 0:0(0) ack 1 win 65535
			> . 1:1(0) ack 1
			write 1000
			> . 1:537(536) ack 1
			> P. 537:1001(464) ack 1`},
		{"the MSS is of a segment without options (RFC 6691 §2)", `
			connect
			> S 0:0(0)
			+.1 < S. 0:0(0) ack 1 win 65535 mss 1000 TS 1 0
			> . 1:1(0) ack 1
			write 1000
			> . 1:989(988) ack 1
			> P. 989:1001(12) ack 1`},
		{"a window scale above 14 is 14 (RFC 7323 §2.3)", `
			connect
			> S 0:0(0)
			+.1 < S. 0:0(0) ack 1 win 1 mss 1000 wscale 15
			> . 1:1(0) ack 1
			< . 1:1(0) ack 1 win 1
			info sndwnd=16384`},
		{"our window is scaled only if the peer scales too", `
			config rcvbuf=1048576
			connect
			> S 0:0(0) win 65535 wscale 5
			+.1 < S. 0:0(0) ack 1 win 65535 mss 1000
			> . 1:1(0) ack 1 win 65535`},
		{"SYN retransmission, and giving up", `
			connect
			> S 0:0(0)
			+1 > S 0:0(0) mss 1460
			+2 > S 0:0(0)
			+4 > S 0:0(0)
			+8 > S 0:0(0)
			+16 > S 0:0(0)
			+32 > S 0:0(0)
			+60 > S 0:0(0)
			+59.9 state SYN-SENT
			+.1 state CLOSED
			err ETIMEDOUT
			event failed done !connected
			deadline none`},
		{"after a lost SYN, the RTO is 3 s (RFC 6298 §5.7)", `
			connect
			> S 0:0(0)
			+1 > S 0:0(0)
			+.1 < S. 0:0(0) ack 1 win 65535 mss 1000
			> . 1:1(0) ack 1
			write 100
			> P. 1:101(100) ack 1
			+3 > P. 1:101(100) ack 1
			+6 > P. 1:101(100) ack 1`},
		{"after two lost SYNs, the initial window is one segment (RFC 6928 §2)", `
			connect
			> S 0:0(0)
			+1 > S 0:0(0)
			+2 > S 0:0(0)
			+.1 < S. 0:0(0) ack 1 win 65535 mss 1000
			> . 1:1(0) ack 1
			write 5000
			> . 1:1001(1000) ack 1
			+.1 < . 1:1(0) ack 1001
			> . 1001:3001(2000) ack 1`},
		{"data queued before the handshake", `
			connect
			> S 0:0(0)
			write 500
			+.1 < S. 0:0(0) ack 1 win 65535 mss 1000
			> P. 1:501(500) ack 1`},
		{"data in the SYN-ACK", `
			connect
			> S 0:0(0)
			+.1 < S. 0:10(10) ack 1 win 65535 mss 1000
			> . 1:1(0) ack 11
			read 20 10
			state ESTABLISHED`},
		{"close in SYN-SENT deletes (RFC 9293 §3.10.4)", `
			connect
			> S 0:0(0)
			close
			state CLOSED
			event done
			+10 quiet`},
		{"abort in SYN-SENT sends nothing (RFC 9293 §3.10.5)", `
			connect
			> S 0:0(0)
			abort ECONNABORTED
			state CLOSED
			err ECONNABORTED
			+10 quiet`},
		{"a SYN-ACK that comes again is acknowledged", active + `
			+1 < S. 0:0(0) ack 1 win 65535 mss 1000
			> . 1:1(0) ack 1
			state ESTABLISHED`},
	})
}

// RFC 9293 §3.10.7.3, in its order.
func TestSynSent(t *testing.T) {
	runScripts(t, `
		connect
		> S 0:0(0)
		event !connected
		+.1 quiet
	`, []script{
		{"unacceptable ACK: RST", `
			< . 0:0(0) ack 0
			> R 0:0(0)
			state SYN-SENT
			< S. 0:0(0) ack 2
			> R 2:2(0)
			state SYN-SENT
			< S. 0:0(0) ack 1 mss 1000
			> . 1:1(0) ack 1
			state ESTABLISHED`},
		{"unacceptable ACK with RST: dropped", `
			< R. 0:0(0) ack 2
			quiet
			state SYN-SENT`},
		{"acceptable ACK with RST: refused", `
			< R. 0:0(0) ack 1
			quiet
			state CLOSED
			err ECONNREFUSED
			event failed done
			+10 quiet`},
		{"RST without ACK: dropped", `
			< R 0:0(0)
			quiet
			state SYN-SENT`},
		{"acceptable ACK without SYN: dropped", `
			< . 1:1(0) ack 1
			quiet
			state SYN-SENT`},
		{"neither SYN nor RST: dropped", `
			< P 1:11(10)
			quiet
			state SYN-SENT`},
		{"simultaneous open (RFC 9293 §3.5, figure 8)", `
			< S 0:0(0) win 65535 mss 1000
			> S. 0:0(0) ack 1 mss 1460
			state SYN-RECEIVED
			+.1 < S. 0:0(0) ack 1 win 65535 mss 1000
			quiet
			state ESTABLISHED
			event connected`},
		{"simultaneous open, ended by an ACK", `
			< S 0:0(0) win 65535 mss 1000
			> S. 0:0(0) ack 1
			+.1 < . 1:1(0) ack 1
			state ESTABLISHED
			event connected
			write 10
			> P. 1:11(10) ack 1`},
		{"simultaneous open: the SYN-ACK is retransmitted", `
			< S 0:0(0) win 65535 mss 1000
			> S. 0:0(0) ack 1
			+1 > S. 0:0(0) ack 1
			+2 > S. 0:0(0) ack 1`},
		{"RST in SYN-RECEIVED after an active open: refused", `
			< S 0:0(0) win 65535 mss 1000
			> S. 0:0(0) ack 1
			+.1 < R 1:1(0)
			state CLOSED
			err ECONNREFUSED`},
		{"unacceptable ACK in SYN-RECEIVED: RST", `
			< S 0:0(0) win 65535 mss 1000
			> S. 0:0(0) ack 1
			+.1 < . 1:1(0) ack 2
			> R 2:2(0)
			state SYN-RECEIVED`},
		{"CLOSE in SYN-RECEIVED: FIN-WAIT-1", `
			< S 0:0(0) win 65535 mss 1000
			> S. 0:0(0) ack 1
			shutdown
			+.1 < . 1:1(0) ack 1
			> F. 1:1(0) ack 1
			state FIN-WAIT-1`},
	})
}

// RFC 9293 §3.10.7.2 and .4. SynRecv has a table of its own beside it (TestSynRecvArrives).
func TestPassiveOpen(t *testing.T) {
	runScripts(t, "", []script{
		{"three-way handshake", `
			listen
			state LISTEN
			+.5 < S 0:0(0) win 65535 mss 1000 sackOK TS 9 0 wscale 4
			> S. 0:0(0) ack 1 mss 1460 sackOK TS 500 9 wscale 7 win 65535
			state SYN-RECEIVED
			+.1 < . 1:1(0) ack 1 win 100 TS 10 500
			state ESTABLISHED
			event connected
			info sndwnd=1600 mss=988
			quiet`},
		{"the ACK carries data", `
			listen
			< S 0:0(0) win 65535 mss 1000
			> S. 0:0(0) ack 1
			+.1 < P. 1:501(500) ack 1
			> . 1:1(0) ack 501
			event connected readable
			read 1000 500`},
		{"the ACK carries data and FIN", `
			listen
			< S 0:0(0) win 65535 mss 1000
			> S. 0:0(0) ack 1
			+.1 < FP. 1:501(500) ack 1
			> . 1:1(0) ack 502
			state CLOSE-WAIT
			read 1000 500
			read 1000 EOF`},
		{"the first segment is out of order", `
			listen
			< S 0:0(0) win 65535 mss 1000 sackOK
			> S. 0:0(0) ack 1
			+.1 < P. 501:1001(500) ack 1
			> . 1:1(0) ack 1 sack 501:1001
			< P. 1:501(500) ack 1
			> . 1:1(0) ack 1001
			read 1000`},
		{"SYN-ACK retransmission, and giving up", `
			listen
			< S 0:0(0) win 65535 mss 1000
			> S. 0:0(0) ack 1
			+1 > S. 0:0(0) ack 1
			+2 > S. 0:0(0) ack 1
			+4 > S. 0:0(0) ack 1
			+8 > S. 0:0(0) ack 1
			+16 > S. 0:0(0) ack 1
			+31.9 state SYN-RECEIVED
			+.1 state LISTEN
			deadline none`},
		{"after a lost SYN-ACK, the RTO is 3 s (RFC 6298 §5.7)", `
			listen
			< S 0:0(0) win 65535 mss 1000
			> S. 0:0(0) ack 1
			+1 > S. 0:0(0) ack 1
			+.1 < . 1:1(0) ack 1
			write 100
			> P. 1:101(100) ack 1
			+3 > P. 1:101(100) ack 1`},
		{"timestamps tell the round trip in spite of the retransmission", `
			listen
			< S 0:0(0) win 65535 mss 1000 TS 1 0
			> S. 0:0(0) ack 1 TS 0 1
			+1 > S. 0:0(0) ack 1 TS 1000 1
			+.1 < . 1:1(0) ack 1 TS 2 1000
			info rtt=.1`},
		{"a duplicate SYN gets another SYN-ACK, but not at once", `
			listen
			< S 0:0(0) win 65535 mss 1000
			> S. 0:0(0) ack 1
			+.1 < S 0:0(0) win 65535 mss 1000
			+.7 < S 0:0(0) win 65535 mss 1000
			> S. 0:0(0) ack 1
			+.1 < S 0:0(0) win 65535 mss 1000`},
		{"RST returns to LISTEN", `
			listen
			< S 0:0(0) win 65535 mss 1000
			> S. 0:0(0) ack 1
			< R 1:1(0)
			state LISTEN
			+10 quiet`},
		{"a wrong ACK gets a RST", `
			listen
			< S 0:0(0) win 65535 mss 1000
			> S. 0:0(0) ack 1
			< . 1:1(0) ack 77
			> R 77:77(0)
			state SYN-RECEIVED`},
		{"LISTEN: an ACK gets a RST, a RST nothing (RFC 9293 §3.10.7.2)", `
			listen
			< . 1:1(0) ack 77
			> R 77:77(0)
			< S. 1:1(0) ack 78
			> R 78:78(0)
			< R 1:1(0)
			< R. 1:1(0) ack 1
			quiet
			state LISTEN`},
		{"CLOSED (RFC 9293 §3.10.7.1)", `
			< S 10:10(0)
			> R. =0:0(0) ack 11
			< P 10:20(10)
			> R. =0:0(0) ack 20
			< . 10:20(10) ack 5
			> R 5:5(0)
			< R 10:10(0)
			quiet`},
		{"a handler decides", `
			listen manual
			< S 0:0(0) win 65535 mss 1000
			+1 < S 0:0(0) win 65535 mss 1000
			deadline none
			+2 quiet
			open
			> S. 0:0(0) ack 1
			+.1 < . 1:1(0) ack 1
			state ESTABLISHED
			info rtt=.1`},
		{"a handler refuses", `
			listen manual
			< S 0:0(0) win 65535 mss 1000
			refuse
			> R. =0:0(0) ack 1
			state LISTEN`},
		{"sequence numbers wrap", `
			config iss=4294967295 irs=4294967290
			listen
			< S 0:0(0) win 65535 mss 1000
			> S. 0:0(0) ack 1
			+.1 < P. 1:501(500) ack 1
			> . 1:1(0) ack 501
			write 500
			> P. 1:501(500) ack 501
			+.1 < . 501:501(0) ack 501
			info inflight=0 acked=500
			read 500`},
	})
}
