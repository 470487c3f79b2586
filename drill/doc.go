// Package drill runs transcripts in packetdrill's language against one weir host, in virtual time.
//
// A script is the host's application, its network and its peer. Each line has a time, and says that a segment arrives, that the host
// must send one, or that the application makes a socket call:
//
//	// RFC 9293 §3.5: the SYN is answered with SYN-ACK, and the ACK of that makes the connection.
//	+0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
//	+0 bind(3, ..., ...) = 0
//	+0 listen(3, 1) = 0
//
//	+0 < S 0:0(0) win 32792 <mss 1000,sackOK>
//	+0 > S. 0:0(0) ack 1 <mss 1460,nop,nop,sackOK>
//	+.1 < . 1:1(0) ack 1 win 257
//	+0 accept(3, ..., ...) = 4
//
//	+0 write(4, ..., 500) = 500
//	+0 > P. 1:501(500) ack 1
//
// Each packet that the host sends must be expected, in its order and at its time: time is virtual and exact. A packet that no line
// expects is a mismatch as soon as a later line is reached. What the host sends at or after the last line is not looked at. The bytes of
// streams are checked too: what a call reads must be what the segments had, and segments must have what calls wrote. After the run
// nothing may leak.
//
// # Head
//
// Option lines come first, then commands that configure the host, in backquotes:
//
//	--tolerance_usecs=N    how far times may be off; 0
//	--tcp_ts_tick_usecs=N  check TSval: N microseconds a tick (weir: 1000). 0, the default, takes TSval in scripts as labels: any value
//	                       matches, and when the peer echoes a label the host gets what it had sent
//	--iss=N                the initial sequence number of the host's connections on the wire, to have it wrap
//	--mtu=N --local_ip=A --remote_ip=A --gateway_ip=A --netmask_ip=M --bind_port=N --connect_port=N
//	--ip_version=ipv4|ipv6|ipv4-mapped-ipv6
//	--non_fatal=packet,syscall
//
//	`sysctl -q net.ipv4.tcp_sack=0 net.ipv4.tcp_timestamps=0`
//
// There is no shell: a few commands are known (sysctl, echo VALUE > /proc/sys/net/…, ip route … METRIC N, ip tcp_metrics), the names of
// sysctls are one table (sysctl.go), and all else is refused. A command may stand on a timed line too, as long as it is before the first
// call or packet, at which the host is made.
//
// # Times
//
//	0.5          seconds since the beginning
//	+.1          since the event before
//	*            whenever it comes (expected packets)
//	0.1~0.2, +0~+.1      within (expected packets)
//	0...0.2, +0...+.2    of a call that waits: it begins, and must end
//
// # Segments
//
//	< FLAGS BEGIN:END(LENGTH) [ack N] [win N] [urg N] [<OPTIONS>]     arrives
//	> FLAGS BEGIN:END(LENGTH) [ack N] [win N] [urg N] [<OPTIONS>]     is expected
//
// FLAGS are S F R P U E W (or C) A, . for ACK, - for none; a digit 0 to 7 is an ACE value, and * among expected flags says that E, W and A
// are not looked at. Numbers of the host count from what the script gives its SYN, those of the peer are as they stand. What an expected
// segment leaves out of ack, win and urg is not looked at; its options must be just those that are named, in their order, so that
// none means none. <...> is any.
//
//	mss N  nop  eol  wscale N  sackOK  sack B:E B:E…  TS val N ecr N  uto N  md5 HEX  ao KEYID RNEXT HEX
//	FO [HEX]  FOEXP [HEX]           Fast Open cookies; FO ... is any, and when it arrives the last one that the host has given
//	ECN e0b N ceb N e1b N           RFC 9768: the order gives the kind, 172 or 174 (e1b first)
//	opt KIND [len N] [HEX], opt KIND bare    any option, with any length byte or none
//
// ... in place of a number of TS, or of the digits of md5 and ao, is anything (expected segments). An arriving segment may also have
// badsum (a wrong checksum) and doff N (a wrong header length in bytes).
//
// In front of the flags there may be IP fields, [ect0] [ect1] [ce] [noecn] [ect01] [tos 0x10, ttl 5] [flowlabel 1] or (ttl 5),
// [options HEX] for IPv4 options of a packet that arrives, and before
// these the ends, as in
//
//	< 192.0.2.1:5000 > 192.168.0.1:8080 S 0:0(0) win 1000
//	> :8080 > :5000 S. 0:0(0) ack 1 <...>
//
// Without them a line is about the current connection: the last that was named, connected, or begun by a SYN after listen. Ports alone
// are enough. So a script has as many connections as it likes.
//
// Other packets are udp (LENGTH), and
//
//	icmp unreachable CODE [mtu N] [[BEGIN:END(LENGTH)]]     also [udp (LENGTH)]: what it quotes; without, the last segment sent
//	icmp time_exceeded, source_quench, parameter_problem
//	icmp echo_request id N seq N (LENGTH), icmp echo_reply …
//
// with the CODEs net_unreachable, host_unreachable, protocol_unreachable, port_unreachable, frag_needed, admin_prohibited, … (v6:
// packet_too_big, addr_unreachable, no_route, …).
//
// # Calls
//
//	name(arguments) = result [ERRNO [(text)]]
//
// Arguments are numbers, constants joined by |, "text", ... (whatever is usual), [lists] and {structs}. A call that would wait without
// a time for it is a mismatch. Sockets are a kernel's: they block unless O_NONBLOCK, and Nagle's algorithm is on. Options of sockets
// are one table (sockopts.go).
//
// # Assertions
//
//	+0 %{ assert tcpi_snd_cwnd == 10 and tcpi_state == TCP_ESTABLISHED; print(tcpi_rtt) }%
//
// Statements, separated by ; or new lines, are assert EXPR [, "message"], print(EXPR, …) and name = EXPR. Expressions have or, and, not,
// comparisons (chained too), + - * / % | &, min, max, abs. The tcpi_ names are those of TCP_INFO, with its units, of the socket of the
// last call, or fd(4).tcpi_… (tcpinfo.go).
package drill
