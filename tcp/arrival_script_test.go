package tcp_test

import (
	"fmt"
	"strings"
	"testing"
)

// synchronized is how to get to each synchronized state, and where the connection then is: the next number it sends, the next it expects,
// and what of its data and FIN is not acknowledged.
var synchronized = []struct {
	state    string
	way      string
	snd, rcv int
	una      int
	after    string // a FIN in order
}{
	{"ESTABLISHED", active, 1, 1, 1, "CLOSE-WAIT"},
	{"FIN-WAIT-1", active + "shutdown\n > F. 1:1(0) ack 1\n", 2, 1, 1, "CLOSING"},
	{"FIN-WAIT-2", active + "shutdown\n > F. 1:1(0) ack 1\n < . 1:1(0) ack 2\n", 2, 1, 2, "TIME-WAIT"},
	{"CLOSE-WAIT", active + "< F. 1:1(0) ack 1\n > . 1:1(0) ack 2\n", 1, 2, 1, ""},
	{"CLOSING", active + "shutdown\n > F. 1:1(0) ack 1\n < F. 1:1(0) ack 1\n > . 2:2(0) ack 2\n", 2, 2, 1, ""},
	{"LAST-ACK", active + "< F. 1:1(0) ack 1\n > . 1:1(0) ack 2\n shutdown\n > F. 1:1(0) ack 2\n", 2, 2, 1, ""},
	{"TIME-WAIT", active + "shutdown\n > F. 1:1(0) ack 1\n < F. 1:1(0) ack 2\n > . 2:2(0) ack 2\n", 2, 2, 2, ""},
}

// RFC 9293 §3.10.7.4 for each synchronized state, with RFC 5961 for RST, SYN and ACK. In the scripts $S is SND.NXT, $R RCV.NXT, $U SND.UNA,
// and $W a number beyond the window.
func TestSegmentArrives(t *testing.T) {
	for _, s := range synchronized {
		cases := []script{
			{"RST exact: closed", "< R $R:$R(0)\n quiet\n state CLOSED\n event done\n +100 quiet"},
			{"RST exact with any ACK: closed", "< R. $R:$R(0) ack 0\n quiet\n state CLOSED"},
			{"RST in window: challenge ACK (RFC 5961 §3.2)", "< R $R+1:$R+1(0)\n > . $S:$S(0) ack $R\n state $STATE"},
			{"RST beyond the window: dropped", "< R $W:$W(0)\n quiet\n state $STATE"},
			{"RST before the window: dropped", "< R $R-1:$R-1(0)\n quiet\n state $STATE"},
			{"SYN in window: challenge ACK (RFC 5961 §4.2)", "< S $R+9:$R+9(0)\n > . $S:$S(0) ack $R\n state $STATE"},
			{"SYN exact: challenge ACK", "< S $R:$R(0)\n > . $S:$S(0) ack $R\n state $STATE"},
			{"SYN-ACK again: challenge ACK", "< S. 0:0(0) ack 1\n > . $S:$S(0) ack $R\n state $STATE"},
			{"unacceptable ACK of too much: ACK, and dropped", "< . $R:$R(0) ack $S+1\n > . $S:$S(0) ack $R\n state $STATE"},
			{"unacceptable ACK, far too old: challenge ACK (RFC 5961 §5.2)", "< . $R:$R(0) ack $S-100000\n > . $S:$S(0) ack $R\n state $STATE"},
			{"old duplicate without data: ACK", "< . $R-1:$R-1(0) ack $U\n > . $S:$S(0) ack $R\n state $STATE"},
			{"old duplicate with data: ACK", "< P. $R-100:$R-90(10) ack $U\n > . $S:$S(0) ack $R\n state $STATE"},
			{"beyond the window: ACK", "< P. $W:$W+10(10) ack $U\n > . $S:$S(0) ack $R\n state $STATE"},
			{"no ACK bit: dropped", "< P $R:$R+10(10)\n quiet\n state $STATE"},
			{"an ACK of what is known: nothing", "< . $R:$R(0) ack $U\n quiet\n state $STATE"},
		}
		if s.after != "" {
			cases = append(cases, script{"FIN in order", "< F. $R:$R(0) ack $U\n > . $S:$S(0) ack $R+1\n state " + s.after})
			cases = append(cases, script{"FIN with data in order", "< FP. $R:$R+10(10) ack $U\n > . $S:$S(0) ack $R+11\n state " + s.after})
			cases = append(cases, script{"FIN out of order", "< F. $R+5:$R+5(0) ack $U\n > . $S:$S(0) ack $R\n state $STATE\n" +
				"< . $R:$R+5(5) ack $U\n > . $S:$S(0) ack $R+6\n state " + s.after})
		} else {
			cases = append(cases, script{"FIN again: ACK, and nothing else", "< F. $R-1:$R-1(0) ack $U\n > . $S:$S(0) ack $R\n state $STATE"})
		}
		t.Run(s.state, func(t *testing.T) {
			for i := range cases {
				cases[i].text = numbered(cases[i].text, s.state, map[byte]int{'S': s.snd, 'R': s.rcv, 'U': s.una, 'W': s.rcv + 1<<20})
				if s.state == "TIME-WAIT" {
					cases[i].text = inTimeWait(cases[i])
				}
			}
			runScripts(t, s.way+"\n state "+s.state+"\n event connected\n +.2 quiet\n", cases[:])
		})
	}
}

// inTimeWait is what is different in TIME-WAIT: a RST does not end it (RFC 1337), and a SYN above all that was received asks for a
// new connection (RFC 6191), which nobody listens for here.
func inTimeWait(s script) string {
	switch {
	case strings.HasPrefix(s.name, "RST"):
		return s.text[:strings.Index(s.text, "\n")] + "\n quiet\n state TIME-WAIT"
	case strings.Contains(s.name, "far too old"):
		return s.text[:strings.Index(s.text, "\n")] + "\n quiet"
	case strings.HasPrefix(s.name, "SYN exact"), strings.HasPrefix(s.name, "SYN in"):
		return s.text[:strings.Index(s.text, "\n")] + "\n > R. =0:0(0)\n state CLOSED"
	}
	return s.text
}

// numbered puts numbers for $S, $R+1 and so on.
func numbered(text, state string, numbers map[byte]int) string {
	text = strings.ReplaceAll(text, "$STATE", state)
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '$' {
			b.WriteByte(text[i])
			continue
		}
		n := numbers[text[i+1]]
		rest := text[i+2:]
		var off int
		if len(rest) > 0 && (rest[0] == '+' || rest[0] == '-') {
			digits := rest[1:]
			end := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' })
			if end < 0 {
				end = len(digits)
			}
			fmt.Sscan(rest[:1+end], &off)
			i += 1 + end
		}
		i++
		fmt.Fprint(&b, n+off)
	}
	return b.String()
}

// RFC 5961 §3.2: what the application sees of an exact RST.
func TestResetSeen(t *testing.T) {
	runScripts(t, active, []script{
		{"ESTABLISHED: ECONNRESET", `
			write 100
			> P. 1:101(100) ack 1
			event connected
			< R 1:1(0)
			state CLOSED
			err ECONNRESET
			event failed done
			write 10 ECONNRESET
			info sndq=0`},
		{"CLOSE-WAIT: all was read, so EPIPE", `
			< F. 1:1(0) ack 1
			> . 1:1(0) ack 2
			< R 2:2(0)
			err EPIPE`},
		{"FIN-WAIT-2: ECONNRESET", `
			shutdown
			> F. 1:1(0) ack 1
			< . 1:1(0) ack 2
			< R 1:1(0)
			err ECONNRESET`},
		{"the exact number moves with what is received", `
			< P. 1:101(100) ack 1
			> . 1:1(0) ack 101
			< R 1:1(0)
			state ESTABLISHED
			< R 101:101(0)
			state CLOSED
			err ECONNRESET`},
	})
}

// RFC 6093 §6: urgent data is received in line, wherever its pointer points.
func TestUrgent(t *testing.T) {
	runScripts(t, active, []script{
		{"in line", `
			< PU. 1:101(100) ack 1 urg 50
			> . 1:1(0) ack 101
			< U. 101:101(0) ack 1 urg 60000
			read 200 100
			state ESTABLISHED`},
	})
}

// RFC 9293 §3.8.6 (SHLD-15): a peer may take back window that it has offered.
func TestPeerShrinksWindow(t *testing.T) {
	runScripts(t, active, []script{
		{"nothing new beyond it, what is in flight is sent again", `
			write 8000
			> . 1:8001(8000) ack 1
			+.1 < . 1:1(0) ack 4001 win 2000
			write 5000
			+.25 quiet
			collect
			+.2 drain 1 2
			< . 1:1(0) ack 8001 win 65535
			> . 8001:10001(2000) ack 1`},
	})
}

// RFC 9293 §3.10.7.4 step 1: what overlaps the window is cut to it.
func TestTrimming(t *testing.T) {
	runScripts(t, active, []script{
		{"begins before the window", `
			< P. 1:101(100) ack 1
			> . 1:1(0) ack 101
			< P. 51:151(100) ack 1
			> . 1:1(0) ack 151
			read 200 150`},
		{"ends behind the window", `
			< FP. 65001:66001(1000) ack 1
			> . 1:1(0) ack 1
			< . 1:65001(65000) ack 1
			> . 1:1(0) ack 65536
			state ESTABLISHED
			read 70000 65535
			> . 1:1(0) ack 65536 win 65535`},
		{"wholly inside what is there out of order", `
			< . 1001:3001(2000) ack 1
			> . 1:1(0) ack 1
			< . 1501:2001(500) ack 1
			> . 1:1(0) ack 1
			< . 1:1601(1600) ack 1
			> . 1:1(0) ack 3001
			read 9000 3000`},
	})
}

// RFC 5961 §7, RFC 9293 §3.10.7.4: challenge ACKs are limited, so that they cannot be used to flood or to count.
func TestChallengeLimit(t *testing.T) {
	var text strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&text, "+.0001 < R %d:%d(0)\n", 10+i, 10+i)
	}
	runScripts(t, active, []script{{"RSTs in the window", "collect\n" + text.String() + "drain 1 20\n state ESTABLISHED"}})
}
