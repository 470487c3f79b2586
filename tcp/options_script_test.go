package tcp_test

import "testing"

const stamped = `
	listen
	< S 0:0(0) win 65535 mss 1000 TS 1000 0
	> S. 0:0(0) ack 1 TS 0 1000
	+.1 < . 1:1(0) ack 1 TS 1100 0
`

// RFC 7323 §3, §4, §5.
func TestTimestamps(t *testing.T) {
	runScripts(t, stamped, []script{
		{"every segment has them", `
			write 100
			> P. 1:101(100) ack 1 TS 100 1100
			+.1 < . 1:1(0) ack 101 TS 1200 100
			shutdown
			> F. 101:101(0) ack 1 TS 200 1200`},
		{"the echo is of the oldest segment not acknowledged (§4.3)", `
			< . 1:1001(1000) ack 1 TS 1101 100
			> . 1:1(0) ack 1001 TS 100 1101
			< . 2001:3001(1000) ack 1 TS 1103 100
			> . 1:1(0) ack 1001 TS 100 1101
			< . 1001:2001(1000) ack 1 TS 1104 100
			> . 1:1(0) ack 3001 TS 100 1104`},
		{"an old timestamp is not echoed", `
			< . 1:1001(1000) ack 1 TS 1105 100
			> . 1:1(0) ack 1001 TS 100 1105
			< . 1001:2001(1000) ack 1 TS 1105 100
			> . 1:1(0) ack 2001 TS 100 1105`},
		{"PAWS: older than what came before is dropped, with an ACK (§5.3 R1)", `
			< . 1:1001(1000) ack 1 TS 1099 100
			> . 1:1(0) ack 1 TS 100 1100
			read 1 0`},
		{"PAWS: wrap-around is newer", `
			< . 1:1001(1000) ack 1 TS 2147484747 100
			> . 1:1(0) ack 1001 TS 100 2147484747`},
		{"PAWS: after 24 days of silence the timestamp says nothing (§5.5)", `
			+2100000 < . 1:1001(1000) ack 1 TS 5 100
			> . 1:1(0) ack 1001`},
		{"RST is not checked (§5.2)", `
			< R 1:1(0) TS 5 0
			state CLOSED
			err ECONNRESET`},
		{"RST without timestamps", `
			< R 1:1(0)
			state CLOSED
			err ECONNRESET`},
		{"a segment without them is dropped (§3.2)", `
			< . 1:1001(1000) ack 1
			quiet
			read 1 0`},
		{"they measure the round trip of what was sent twice (§4.1)", `
			write 100
			> P. 1:101(100) ack 1 TS 100 1100
			+.3 > P. 1:101(100) ack 1 TS 400 1100
			+.1 < . 1:1(0) ack 101 TS 1600 400
			info rtt=.1`},
	})
	runScripts(t, active, []script{
		{"not agreed on, they are not sent, and not looked at", `
			< . 1:1001(1000) ack 1 TS 5 5
			> . 1:1(0) ack 1001 noTS
			< . 1001:2001(1000) ack 1 TS 3 5
			> . 1:1(0) ack 2001 noTS`},
	})
}

// RFC 1122 §4.2.3.9, RFC 5461, RFC 5927.
func TestICMP(t *testing.T) {
	runScripts(t, `
		connect
		> S 0:0(0)
	`, []script{
		{"hard, in SYN-SENT: the end", `
			icmp 0 hard ECONNREFUSED
			state CLOSED
			err ECONNREFUSED
			event failed done
			+10 quiet`},
		{"soft, in SYN-SENT: remembered, and the reason in the end", `
			icmp 0 soft EHOSTUNREACH
			state SYN-SENT
			err none
			collect
			+182 drain 7 7
			+1 state CLOSED
			err EHOSTUNREACH`},
		{"about another sequence number: not ours (RFC 5927 §4)", `
			icmp 1 hard ECONNREFUSED
			icmp -1 hard ECONNREFUSED
			state SYN-SENT`},
	})
	runScripts(t, active, []script{
		{"hard, later: as soft (RFC 5461)", `
			write 100
			> P. 1:101(100) ack 1
			icmp 1 hard ECONNREFUSED
			state ESTABLISHED
			+.1 < . 1:1(0) ack 101
			+10 quiet
			err none`},
		{"the reason of a timeout", `
			usertimeout 2
			write 100
			> P. 1:101(100) ack 1
			icmp 50 soft EHOSTUNREACH
			collect
			+3 drain 1 9
			state CLOSED
			err EHOSTUNREACH`},
	})
}

// RFC 9293 §3.7.2, RFC 1191 §6.4: the path takes less. RFC 5681 §3.1: so does the congestion window, "to prevent large bursts of smaller
// segments".
func TestPathMSS(t *testing.T) {
	runScripts(t, "config cc=reno\n"+active, []script{
		{"new segments are smaller", `
			setmss 500
			write 1200
			> . 1:501(500) ack 1
			> . 501:1001(500) ack 1
			> P. 1001:1201(200) ack 1`},
		{"what is in flight and larger is sent again, and no loss assumed", `
			write 2000
			> . 1:2001(2000) ack 1
			+.05 setmss 500
			> . 1:501(500) ack 1
			> . 501:1001(500) ack 1
			> . 1001:1501(500) ack 1
			> . 1501:2001(500) ack 1
			info cwnd=5000 ssthresh=0
			+.1 < . 1:1(0) ack 2001
			info inflight=0`},
		{"before the first data, the initial window is that of small segments", `
			setmss 500
			info cwnd=5000
			write 8000
			> . 1:5001(5000) ack 1`},
		{"never above what the peer takes", `
			setmss 5000
			write 1200
			> . 1:1001(1000) ack 1
			> P. 1001:1201(200) ack 1`},
	})
}
