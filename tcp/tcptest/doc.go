// Package tcptest is the first instrument to test TCP with, in one goroutine and under virtual time: a [Net] of two connections and a
// bad link with invariants after each step, and scripts ([Run]) in which each line is a segment or a call.
//
// # Scripts
//
// One connection is under test, and the script is its application, its network and its peer. A line is
//
//	+SECONDS VERB …    # comment
//
// and happens so long after the line before it. Each segment that the connection sends must be expected, at its exact instant, in its
// order. Sequence numbers and acknowledgments are relative to the initial ones (the SYN is 0, the first byte 1); =N is N itself.
//
//	< FLAGS BEGIN:END(BYTES) [ack N] [win N] [OPTION…] [segs N] [urg N]
//	                     the segment arrives. Without win it has the window of the last one that had, or 65535.
//	> FLAGS BEGIN:END(BYTES) [ack N] [win N] [OPTION…]
//	                     the connection sends it. What the line does not name is not looked at; a P in FLAGS asks for PSH, its lack
//	                     for nothing. Several segments in a row that are all data may be one line.
//	quiet                it has sent nothing that was not expected, and does not until now
//	collect              from here on it may send what it likes,
//	drain MIN MAX        up to here, if that was so many segments
//
// FLAGS are letters of S F R P U E(CE) CW(W)R and . for ACK. OPTION is mss N, sackOK, wscale N, TS VAL ECR, sack B:E…; the TSval of the
// connection is the milliseconds since the script began, and * in TS is anything. In expectations also nomss, nosackOK, nowscale, noTS,
// nosack: the option is not there.
//
//	config KEY=VALUE…    before the first call: mss iss irs gso cc ts=off sack=off wscale=off rack=off tlp=off frto=off dsack=off reordering granularity minrto maxrto delack timewait finwait2
//	                     usertimeout (seconds) sndbuf rcvbuf (bytes)
//	connect              active open
//	listen [manual]      passive open; manual: the SYN waits for open or refuse
//	open, refuse
//	write N [M|ERROR]    queues N bytes, and M of them are taken (all, if left out); their values and those of segments are checked
//	read N [M|EOF|ERROR] takes at most N bytes, and gets M (N, if left out)
//	shutdown [ERROR]     CloseWrite
//	closeread, close, abort [ERROR]
//	nodelay on|off       keepalive IDLE INTERVAL COUNT      usertimeout SECONDS
//	setmss N             buffers SEND RECEIVE               cc NAME
//	icmp SEQ soft|hard ERROR
//
//	state NAME           one of RFC 9293's, or LISTEN
//	err ERROR            Conn.Err; none: nil
//	event NAME…          came since the last event line; !NAME: did not. Names: readable writable connected failed timewait done pathsuspect
//	deadline SECONDS     Conn.Deadline is so far from now; none: Never
//	info KEY=N…          of Conn.Info; durations in seconds: state rtt rttvar rto cwnd ssthresh mss sndwnd rcvwnd sent acked received
//	                     retransmits rtos ooo dupacks inflight sndq rcvq
//
// ERROR is the name of an errno. At the end of a script nothing may be left that was sent and not expected, and all memory must be given
// back when the connection is aborted.
package tcptest
