package tcp_test

import (
	"fmt"
	"strings"
	"testing"
)

// quickAcked uses up the ACKs that are not delayed at the beginning of a connection: 16 full segments arrive and are read, each is
// acknowledged at once, and all is done at the instant at which the last arrives.
func quickAcked() string {
	var b strings.Builder
	for i := range 16 {
		begin, end := 1+1000*i, 1001+1000*i
		fmt.Fprintf(&b, "< . %d:%d(1000) ack 1\n > . 1:1(0) ack %d\n read 1000\n", begin, end, end)
	}
	return b.String()
}

// RFC 1122 §4.2.3.2, RFC 9293 §3.8.6.3, RFC 5681 §4.2.
func TestDelayedAck(t *testing.T) {
	runScripts(t, passive+quickAcked(), []script{
		{"one segment waits 40 ms", `
			< . 16001:17001(1000) ack 1
			+.0399 quiet
			+.0001 > . 1:1(0) ack 17001`},
		{"the second full segment is acknowledged at once (MUST-59)", `
			< . 16001:17001(1000) ack 1
			+.01 < . 17001:18001(1000) ack 1
			> . 1:1(0) ack 18001
			+.02 < . 18001:19001(1000) ack 1
			+.04 > . 1:1(0) ack 19001`},
		{"a super-segment of several is acknowledged at once", `
			< . 16001:20001(4000) ack 1 segs 4
			> . 1:1(0) ack 20001`},
		{"data carries it", `
			< . 16001:17001(1000) ack 1
			+.01 write 100
			> P. 1:101(100) ack 17001
			+.1 < . 17001:17001(0) ack 101
			+10 quiet`},
		{"out of order: at once", `
			< . 17001:18001(1000) ack 1
			> . 1:1(0) ack 16001
			< . 18001:19001(1000) ack 1
			> . 1:1(0) ack 16001`},
		{"a hole filled: at once", `
			< . 17001:18001(1000) ack 1
			> . 1:1(0) ack 16001
			< . 16001:17001(1000) ack 1
			> . 1:1(0) ack 18001`},
		{"a hole filled in part: at once", `
			< . 18001:19001(1000) ack 1
			> . 1:1(0) ack 16001
			< . 16001:17001(1000) ack 1
			> . 1:1(0) ack 17001`},
		{"FIN: at once", `
			< F. 16001:16001(0) ack 1
			> . 1:1(0) ack 16002`},
		{"old data: at once", `
			< . 15001:16001(1000) ack 1
			> . 1:1(0) ack 16001`},
		{"a pure ACK is never acknowledged", `
			< . 16001:16001(0) ack 1
			< . 16001:16001(0) ack 1 win 5
			+10 quiet`},
	})
}

// RFC 9293 §3.7.4 (Nagle, RFC 896).
func TestNagle(t *testing.T) {
	runScripts(t, active, []script{
		{"off, as Go has it: small segments go at once", `
			write 100
			> P. 1:101(100) ack 1
			write 100
			> P. 101:201(100) ack 1`},
		{"on: one small segment in flight", `
			nodelay off
			write 100
			> P. 1:101(100) ack 1
			write 100
			write 100
			quiet
			+.1 < . 1:1(0) ack 101
			> P. 101:301(200) ack 1`},
		{"on: full segments go, the rest waits", `
			nodelay off
			write 100
			> P. 1:101(100) ack 1
			write 2100
			> . 101:2101(2000) ack 1
			+.1 < . 1:1(0) ack 101
			> P. 2101:2201(100) ack 1`},
		{"on: the FIN takes the rest along", `
			nodelay off
			write 100
			> P. 1:101(100) ack 1
			write 100
			shutdown
			> FP. 101:201(100) ack 1`},
		{"switched off, what was held back goes", `
			nodelay off
			write 100
			> P. 1:101(100) ack 1
			write 100
			nodelay on
			> P. 101:201(100) ack 1`},
	})
}

// RFC 9293 §3.8.6.2.1 (sender) and §3.8.6.2.2 (receiver): no silly windows.
func TestSillyWindow(t *testing.T) {
	runScripts(t, active, []script{
		{"a small window is not filled while there is something in flight", `
			+.1 < . 1:1(0) ack 1 win 2000
			write 5000
			> . 1:2001(2000) ack 1
			+.1 < . 1:1(0) ack 1001 win 1100
			quiet
			+.01 < . 1:1(0) ack 2001 win 1500
			> . 2001:3001(1000) ack 1`},
		{"all that there is may be small", `
			write 10
			> P. 1:11(10) ack 1`},
	})
	var bulk strings.Builder
	for i := range 60 {
		begin, end := 1+10000*i, 10001+10000*i
		fmt.Fprintf(&bulk, "+.001 < . %d:%d(10000) ack 1 segs 10\n read 10000\n", begin, end)
	}
	runScripts(t, "config wscale=off\n"+passive+"collect\n"+bulk.String()+"drain 1 200\n", []script{
		{"reading does not announce what the field cannot say", `
			< . 600001:600011(10) ack 1
			read 10
			read 10 0
			read 10 0
			+.04 > . 1:1(0) ack 600011 win 65535`},
	})
	const small = "config rcvbuf=16384 mss=1000 wscale=off\n"
	runScripts(t, small+passive, []script{
		{"reading a little does not open the window a little", `
			collect
			+.1 < . 1:8193(8192) ack 1 segs 8
			+.1 < . 8193:16385(8192) ack 1 segs 8
			+1 drain 1 4
			< . 16385:16386(1) ack 1
			> . 1:1(0) ack 16385 win 0
			read 100
			quiet
			read 100
			quiet
			collect
			read 16184
			drain 1 1`},
	})
}
