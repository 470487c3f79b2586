package tcp_test

import "testing"

func TestScratchScripts(t *testing.T) {
	runScripts(t, "", []script{
		{"S1 backoff of SYN is not data's", `
			connect
			> S 0:0(0)
			write 100
			+1 > S 0:0(0)
			+2 > S 0:0(0)
			+4 > S 0:0(0)
			+.1 < S. 0:0(0) ack 1 win 65535 mss 1000
			> P. 1:101(100) ack 1
			+3 > P. 1:101(100) ack 1`},
		{"S1b the same in simultaneous open", `
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
		{"S2 simultaneous open: window of SYN-ACK not scaled", `
			connect
			> S 0:0(0)
			< S 0:0(0) win 1000 mss 1000 wscale 7
			> S. 0:0(0) ack 1
			+.1 < S. 0:0(0) ack 1 win 1000 mss 1000 wscale 7
			write 2000
			> . 1:897(896) ack 1
			info sndwnd=896
			+.1 < . 1:1(0) ack 897 win 100
			> P. 897:2001(1104) ack 1`},
		{"S17 user timeout in SYN-SENT", `
			connect
			> S 0:0(0)
			usertimeout 5
			+1 > S 0:0(0)
			+2 > S 0:0(0)
			+1 write 10
			+1 state CLOSED
			err ETIMEDOUT`},
		{"syn with data", `
			listen
			< S 0:10(10) win 65535 mss 1000
			> S. 0:0(0) ack 1
			+.1 < . 11:11(0) ack 1
			state ESTABLISHED
			+.5 < P. 1:11(10) ack 1
			> . 1:1(0) ack 11
			read 20 10`},
		{"mss 0", `
			connect
			> S 0:0(0)
			+.1 < S. 0:0(0) ack 1 win 65535 mss 0
			> . 1:1(0) ack 1
			info mss=64`},
		{"window 0 in SYN-ACK", `
			connect
			> S 0:0(0)
			write 100
			+.1 < S. 0:0(0) ack 1 win 0 mss 1000
			> . 1:1(0) ack 1
			+.3 > . 0:0(0) ack 1
			+.1 < . 1:1(0) ack 1 win 5000
			> P. 1:101(100) ack 1`},
	})
	runScripts(t, active, []script{
		{"S9 RST with data before the window is dropped silently", `
			< P. 1:101(100) ack 1
			> . 1:1(0) ack 101
			+1 < R 51:101(50)
			quiet`},
		{"S3 larger send buffer", `
			buffers 4096 0
			write 4096
			> . 1:4097(4096) ack 1
			write 10 0
			event !writable
			buffers 100000 0
			event writable`},
		{"S16 closeread counts", `
			closeread
			< . 1001:2001(1000) ack 1
			> . 1:1(0) ack 1
			< . 1:1001(1000) ack 1
			> . 1:1(0) ack 2001
			info received=2000`},
		{"S4 smaller receive buffer with a hole", `
			< . 1001:60001(59000) ack 1
			> . 1:1(0) ack 1
			buffers 0 8192
			< . 1:1001(1000) ack 1
			collect
			read 1000
			drain 1 2`},
		{"S6 receive buffer less than scale unit", `
			buffers 0 50
			collect
			+.1 < . 1:65001(65000) ack 1
			read 65000
			< . 65001:65536(535) ack 1
			read 535
			+1 drain 1 5
			info rcvwnd=50
			`},
		{"persist and retransmission", `
			write 2000
			> . 1:2001(2000) ack 1
			+.1 < . 1:1(0) ack 1001 win 0
			+.3624 quiet
			+.0001 > P. 1001:2001(1000) ack 1
			< . 1:1(0) ack 1001 win 0
			+.725 > P. 1001:2001(1000) ack 1
			< . 1:1(0) ack 2001 win 0
			write 500
			+.3625 > . 2000:2000(0) ack 1
			+.725 > . 2000:2000(0) ack 1
			+.1 < . 1:1(0) ack 2001 win 100
			+.3625 > . 2001:2101(100) ack 1
			`},
		{"FIN on super", `
			< FP. 1:4001(4000) ack 1 segs 4
			> . 1:1(0) ack 4002
			state CLOSE-WAIT`},
		{"zero window and FIN", `
			write 1000
			> P. 1:1001(1000) ack 1
			shutdown
			> F. 1001:1001(0) ack 1
			+.1 < . 1:1(0) ack 1001 win 0
			+.3 state FIN-WAIT-1
			collect
			+.1 drain 1 1
			+.1 < . 1:1(0) ack 1002 win 0
			state FIN-WAIT-2`},
		{"S10 idle after closed window", `
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
		{"S11 orphan, data in flight into closed window for ever", `
			write 2000
			> . 1:2001(2000) ack 1
			close
			> F. 2001:2001(0) ack 1
			+.1 < . 1:1(0) ack 1001 win 0
			collect
			` + silly() + `
			state CLOSED`},
	})
	runScripts(t, "config cc=reno\n"+activeSACK, []script{
		{"spec", `
			write 10000
			> . 1:10001(10000) ack 1
			+.1 < . 1:1(0) ack 1 sack 9001:9301
			< . 1:1(0) ack 1 sack 9001:9601
			< . 1:1(0) ack 1 sack 9001:10001
			> . 1:1001(1000) ack 1
			< . 1:1(0) ack 4001 sack 8001:10001
			> . 4001:5001(1000) ack 1
			quiet`},
	})
}

func silly() string {
	s := ""
	for range 100 {
		s += "+20 < . 1:1(0) ack 1001 win 0\n"
	}
	return s + "drain 1 1000\n"
}
