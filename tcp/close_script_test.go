package tcp_test

import "testing"

// RFC 9293 §3.6, figures 12 and 13, §3.10.4, §3.10.7.4.
func TestClosing(t *testing.T) {
	runScripts(t, active, []script{
		{"normal close, active side", `
			close
			> F. 1:1(0) ack 1
			state FIN-WAIT-1
			+.1 < . 1:1(0) ack 2
			state FIN-WAIT-2
			event !timewait
			+.1 < F. 1:1(0) ack 2
			> . 2:2(0) ack 2
			state TIME-WAIT
			event timewait
			+59.9 state TIME-WAIT
			+.1 state CLOSED
			deadline none`},
		{"FIN and its acknowledgment in one segment", `
			close
			> F. 1:1(0) ack 1
			+.1 < F. 1:1(0) ack 2
			> . 2:2(0) ack 2
			state TIME-WAIT`},
		{"normal close, passive side", `
			< F. 1:1(0) ack 1
			> . 1:1(0) ack 2
			state CLOSE-WAIT
			event readable
			read 1 EOF
			+5 close
			> F. 1:1(0) ack 2
			state LAST-ACK
			event !done
			+.1 < . 2:2(0) ack 2
			state CLOSED
			event done !failed
			err none
			deadline none`},
		{"simultaneous close (figure 13)", `
			close
			> F. 1:1(0) ack 1
			< F. 1:1(0) ack 1
			> . 2:2(0) ack 2
			state CLOSING
			+.1 < . 2:2(0) ack 2
			state TIME-WAIT
			event timewait`},
		{"half-close: data still comes", `
			shutdown
			> F. 1:1(0) ack 1
			+.1 < . 1:1(0) ack 2
			write 10 EPIPE
			+.1 < P. 1:501(500) ack 2
			> . 2:2(0) ack 501
			read 1000 500
			+100 < FP. 501:1001(500) ack 2
			> . 2:2(0) ack 1002
			state TIME-WAIT
			read 1000 500
			read 1000 EOF`},
		{"half-close: data still goes", `
			< F. 1:1(0) ack 1
			> . 1:1(0) ack 2
			read 1 EOF
			write 500
			> P. 1:501(500) ack 2
			+.1 < . 2:2(0) ack 501
			close
			> F. 501:501(0) ack 2
			state LAST-ACK`},
		{"the FIN goes with the last data", `
			write 1500
			> . 1:1001(1000) ack 1
			> P. 1001:1501(500) ack 1
			+.1 < . 1:1(0) ack 1501 win 0
			write 300
			shutdown
			state FIN-WAIT-1
			+.1 < . 1:1(0) ack 1501 win 65535
			> FP. 1501:1801(300) ack 1
			+.1 < . 1:1(0) ack 1802
			state FIN-WAIT-2`},
		{"the FIN is retransmitted", `
			shutdown
			> F. 1:1(0) ack 1
			+.3 > F. 1:1(0) ack 1
			+.6 > F. 1:1(0) ack 1
			+1.2 > F. 1:1(0) ack 1
			< . 1:1(0) ack 2
			state FIN-WAIT-2
			+1000 quiet`},
		{"the FIN is lost with data before it", `
			write 500
			> P. 1:501(500) ack 1
			shutdown
			> F. 501:501(0) ack 1
			+.3 > FP. 1:501(500) ack 1
			+.1 < . 1:1(0) ack 502
			state FIN-WAIT-2`},
		{"an orphan waits for the FIN 60 s in FIN-WAIT-2", `
			close
			> F. 1:1(0) ack 1
			+.1 < . 1:1(0) ack 2
			state FIN-WAIT-2
			+59.9 state FIN-WAIT-2
			+.1 state CLOSED
			event done
			deadline none`},
		{"closed later, the orphan's time begins then", `
			shutdown
			> F. 1:1(0) ack 1
			+.1 < . 1:1(0) ack 2
			+100 state FIN-WAIT-2
			close
			+59.9 state FIN-WAIT-2
			+.1 state CLOSED`},
		{"data after close: RST (RFC 1122 §4.2.2.13)", `
			close
			> F. 1:1(0) ack 1
			+.1 < . 1:1(0) ack 2
			+.1 < P. 1:101(100) ack 2
			> R 2:2(0)
			state CLOSED
			event done`},
		{"close with unread data: RST (RFC 1122 §4.2.2.13)", `
			< P. 1:101(100) ack 1
			> . 1:1(0) ack 101
			close
			> R. 1:1(0) ack 101
			state CLOSED
			event done
			+100 quiet`},
		{"close with all data read: FIN", `
			< P. 1:101(100) ack 1
			> . 1:1(0) ack 101
			read 100
			close
			> F. 1:1(0) ack 101`},
		{"abort: RST (RFC 9293 §3.10.5)", `
			write 100
			> P. 1:101(100) ack 1
			abort ECONNABORTED
			> R. 101:101(0) ack 1
			state CLOSED
			err ECONNABORTED
			read 10 0
			+100 quiet`},
		{"abort in CLOSE-WAIT: RST", `
			< F. 1:1(0) ack 1
			> . 1:1(0) ack 2
			abort
			> R. 1:1(0) ack 2
			state CLOSED`},
		{"abort in LAST-ACK: nothing", `
			< F. 1:1(0) ack 1
			> . 1:1(0) ack 2
			shutdown
			> F. 1:1(0) ack 2
			abort
			quiet
			state CLOSED`},
		{"CloseRead: what comes is acknowledged and thrown away", `
			< P. 1:101(100) ack 1
			> . 1:1(0) ack 101
			closeread
			read 100 EOF
			< P. 101:201(100) ack 1
			> . 1:1(0) ack 201
			read 100 EOF
			write 10
			> P. 1:11(10) ack 201
			state ESTABLISHED`},
		{"writing after CloseWrite", `
			shutdown
			> F. 1:1(0) ack 1
			write 1 EPIPE
			shutdown
			quiet`},
		{"unread data can be read after the end", `
			< FP. 1:101(100) ack 1
			> . 1:1(0) ack 102
			shutdown
			> F. 1:1(0) ack 102
			< . 102:102(0) ack 2
			state CLOSED
			read 60
			read 60 40
			read 60 EOF
			err none`},
	})
}

// RFC 9293 §3.10.7.4, RFC 6191, RFC 1337. TestTimeWaitArrives has the cases.
func TestTimeWaitScripts(t *testing.T) {
	const closed = `
		close
		> F. 1:1(0) ack 1
		+.1 < F. 1:1(0) ack 2
		> . 2:2(0) ack 2
		state TIME-WAIT
	`
	runScripts(t, passive+closed, []script{
		{"a FIN again is acknowledged and starts 2 MSL anew", `
			+30 < F. 1:1(0) ack 2
			> . 2:2(0) ack 2
			+59.9 state TIME-WAIT
			+.1 state CLOSED`},
		{"a RST is ignored (RFC 1337)", `
			+1 < R 2:2(0)
			quiet
			state TIME-WAIT`},
		{"a SYN above opens a new connection, with a higher sequence number", `
			+1 < S 1000:1000(0) win 65535 mss 1000
			> S. 2:2(0) ack 1001
			+.1 < . 1001:1001(0) ack 3
			state ESTABLISHED`},
		{"an old SYN is answered with an ACK", `
			+1 < S -5:-5(0) win 65535 mss 1000
			> . 2:2(0) ack 2
			state TIME-WAIT`},
	})
	runScripts(t, `
		listen
		< S 0:0(0) win 65535 mss 1000 TS 1000 0
		> S. 0:0(0) ack 1
		+.1 < . 1:1(0) ack 1 TS 1100 0
		close
		> F. 1:1(0) ack 1 TS 100 1100
		+.1 < F. 1:1(0) ack 2 TS 1200 100
		> . 2:2(0) ack 2 TS 200 1200
		state TIME-WAIT
	`, []script{
		{"a FIN again, with timestamps", `
			+1 < F. 1:1(0) ack 2 TS 2200 100
			> . 2:2(0) ack 2 TS 1200 1200`},
		{"a SYN below with a newer timestamp opens (RFC 6191 §2)", `
			+1 < S -5000:-5000(0) win 65535 mss 1000 TS 1201 0
			> S. 2:2(0) ack -4999 TS * 1201`},
		{"a SYN above with an older timestamp does not", `
			+1 < S 5000:5000(0) win 65535 mss 1000 TS 1199 0
			> . 2:2(0) ack 2
			state TIME-WAIT`},
	})
}
