package tcp_test

import "testing"

// RFC 6298 §5, §3 (Karn); RFC 9293 §3.8.1, §3.8.3; RFC 5482.
func TestRetransmissionTimer(t *testing.T) {
	runScripts(t, active, []script{
		{"RTO is SRTT + max(200 ms, 4·RTTVAR), doubled each time", `
			info rtt=.1 rttvar=.05 rto=.3
			write 100
			> P. 1:101(100) ack 1
			+.3 > P. 1:101(100) ack 1
			+.6 > P. 1:101(100) ack 1
			+1.2 > P. 1:101(100) ack 1
			+2.4 > P. 1:101(100) ack 1
			info rtos=4 retransmits=4
			+.1 < . 1:1(0) ack 101
			deadline none`},
		{"an ACK of new data starts the timer anew (RFC 6298 §5.3)", `
			write 2000
			> P. 1:2001(2000) ack 1
			+.2 < . 1:1(0) ack 1001
			info rtt=.1125 rttvar=.0625
			+.3624 quiet
			+.0001 > P. 1001:2001(1000) ack 1`},
		{"all acknowledged: the timer is off (§5.2)", `
			write 100
			> P. 1:101(100) ack 1
			+.1 < . 1:1(0) ack 101
			deadline none
			+100 quiet`},
		{"no sample from what was sent twice (Karn)", `
			write 100
			> P. 1:101(100) ack 1
			+.3 > P. 1:101(100) ack 1
			+.01 < . 1:1(0) ack 101
			info rtt=.1 rttvar=.05`},
		{"the backed-off RTO stays until there is a sample (§5.7, Karn)", `
			write 100
			> P. 1:101(100) ack 1
			+.3 > P. 1:101(100) ack 1
			+.1 < . 1:1(0) ack 101
			write 100
			> P. 101:201(100) ack 1
			+.1 < . 1:1(0) ack 201
			info rto=.3`},
		{"after a timeout: one segment, then slow start (RFC 5681 §3.1)", `
			write 10000
			> . 1:10001(10000) ack 1
			info cwnd=10000
			+.3 > . 1:1001(1000) ack 1
			info cwnd=1000 ssthresh=7000
			+.1 < . 1:1(0) ack 1001
			> . 1001:3001(2000) ack 1
			info cwnd=2000
			+.1 < . 1:1(0) ack 3001
			> . 3001:7001(4000) ack 1
			info cwnd=4000
			+.1 < . 1:1(0) ack 10001
			info inflight=0`},
		{"duplicate ACKs of needless retransmissions are no loss", `
			write 4000
			> . 1:4001(4000) ack 1
			+.3 > . 1:1001(1000) ack 1
			+.1 < . 1:1(0) ack 4001
			write 4000
			> . 4001:6001(2000) ack 1
			< . 1:1(0) ack 4001
			quiet
			+.1 < . 1:1(0) ack 6001
			> P. 6001:8001(2000) ack 1
			info retransmits=1 rtos=1 dupacks=0`},
	})
	runScripts(t, "config maxrto=1\n"+active, []script{
		{"the maximum of the RTO, and R2: 22 timeouts", `
			write 100
			> P. 1:101(100) ack 1
			+.3 > P. 1:101(100) ack 1
			+.6 > P. 1:101(100) ack 1
			+1 > P. 1:101(100) ack 1
			+1 > P. 1:101(100) ack 1
			collect
			+17 drain 17 17
			+1 > P. 1:101(100) ack 1
			+.9 state ESTABLISHED
			+.1 state CLOSED
			err ETIMEDOUT
			event failed done`},
	})
	runScripts(t, active, []script{
		{"R1: the way is to be looked up again at the third timeout (RFC 9293 §3.8.3)", `
			write 100
			> P. 1:101(100) ack 1
			+.3 > P. 1:101(100) ack 1
			+.6 > P. 1:101(100) ack 1
			event !pathsuspect
			+1.2 > P. 1:101(100) ack 1
			event pathsuspect
			+2.4 > P. 1:101(100) ack 1
			event !pathsuspect`},
		{"the user timeout (RFC 5482)", `
			usertimeout 2
			write 100
			> P. 1:101(100) ack 1
			+.3 > P. 1:101(100) ack 1
			+.6 > P. 1:101(100) ack 1
			+1.2 state CLOSED
			err ETIMEDOUT
			event failed done`},
	})
}

// RFC 5681 §4.1: after a pause longer than the RTO, no more than the initial window at once.
func TestIdleRestart(t *testing.T) {
	const used = `
		write 10000
		> . 1:10001(10000) ack 1
		+.1 < . 1:1(0) ack 10001
		write 20000
		> . 10001:30001(20000) ack 1
		+.1 < . 1:1(0) ack 30001
		info cwnd=40000
	`
	runScripts(t, active+used, []script{
		{"longer than the RTO", `
			+1 write 15000
			> . 30001:40001(10000) ack 1
			+.1 < . 1:1(0) ack 40001
			> . 40001:45001(5000) ack 1`},
		{"shorter", `
			+.15 write 15000
			> . 30001:45001(15000) ack 1`},
	})
}

// RFC 9293 §3.8.6.1 and §3.8.6.2.1.
func TestPersist(t *testing.T) {
	const closed = `
		write 1000
		> P. 1:1001(1000) ack 1
		+.1 < . 1:1(0) ack 1001 win 0
	`
	runScripts(t, active+closed, []script{
		{"probes after RTO, then after twice as long each time; the connection stays", `
			write 500
			+.3 > . 1000:1000(0) ack 1
			+.1 < . 1:1(0) ack 1001 win 0
			+.5 > . 1000:1000(0) ack 1
			+.1 < . 1:1(0) ack 1001 win 0
			+1.1 > . 1000:1000(0) ack 1
			+.1 < . 1:1(0) ack 1001 win 0
			+2.3 > . 1000:1000(0) ack 1`},
		{"a probe's ACK opens the window", `
			write 500
			+.3 > . 1000:1000(0) ack 1
			+.1 < . 1:1(0) ack 1001 win 65535
			> P. 1001:1501(500) ack 1
			+.3 > P. 1001:1501(500) ack 1`},
		{"nothing to send, nothing to probe", `
			+100 quiet
			deadline none`},
		{"a FIN that waits is probed for", `
			shutdown
			collect
			+.3 drain 1 1`},
		{"nobody answers the probes: R2", `
			write 500
			collect
			+2000 drain 22 22
			state CLOSED
			err ETIMEDOUT`},
		{"a part of a segment waits for the override timeout", `
			+.1 < . 1:1(0) ack 1001 win 100
			write 500
			+.3 > . 1001:1101(100) ack 1
			+.1 < . 1:1(0) ack 1101 win 0`},
	})
}

// RFC 9293 §3.8.4: keepalive.
func TestKeepAlive(t *testing.T) {
	runScripts(t, active, []script{
		{"off by default (MUST-25)", `
			deadline none
			+1000000 quiet`},
		{"probes, and failing", `
			keepalive 60 10 3
			+60 > . 0:0(0) ack 1
			+10 > . 0:0(0) ack 1
			+10 > . 0:0(0) ack 1
			+9.9 state ESTABLISHED
			+.1 > R. 1:1(0) ack 1
			state CLOSED
			err ETIMEDOUT
			event failed done`},
		{"an answer starts it anew", `
			keepalive 60 10 3
			+60 > . 0:0(0) ack 1
			+.1 < . 1:1(0) ack 1
			+60 > . 0:0(0) ack 1
			+10 > . 0:0(0) ack 1
			+.1 < . 1:1(0) ack 1
			+60 > . 0:0(0) ack 1`},
		{"data starts it anew", `
			keepalive 60 10 3
			+30 < P. 1:101(100) ack 1
			> . 1:1(0) ack 101
			+60 > . 0:0(0) ack 101`},
		{"a dead peer", `
			keepalive 60 10 3
			+60 > . 0:0(0) ack 1
			+.1 < R 1:1(0)
			state CLOSED
			err ECONNRESET`},
		{"switched off again", `
			keepalive 60 10 3
			+30 keepalive 0 0 0
			+1000 quiet`},
	})
	runScripts(t, active, []script{
		{"the peer's probe is answered", `
			+60 < . 0:0(0) ack 1
			> . 1:1(0) ack 1
			+60 < . 0:1(1) ack 1
			> . 1:1(0) ack 1`},
	})
}
