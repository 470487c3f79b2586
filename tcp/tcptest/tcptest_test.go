package tcptest

import (
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/wire"
)

// What a script says and what does not hold must be found, and told with its line.
func TestScriptFails(t *testing.T) {
	for _, tt := range []struct{ script, want string }{
		{"connect", "not expected: 0.000000 > S 0:0(0)"},
		{"connect\n> S. 0:0(0)", "line 2: > S. 0:0(0)\n\tflags is different"},
		{"connect\n> S 1:1(0)", "sequence number is different"},
		{"connect\n> S 0:0(0) win 7", "win is different"},
		{"connect\n> S 0:0(0) mss 7", "mss is different"},
		{"connect\n> S 0:0(0) nosackOK", "sackOK is different"},
		{"connect\n> S 0:0(0) TS 5 *", "TS is different"},
		{"connect\n> S 0:0(0) wscale 1", "wscale is different"},
		{"connect\n+.5 > S 0:0(0)", "sent at 0.000000 instead of 0.500000"},
		{"> S 0:0(0)", "nothing was sent"},
		{"connect\n> S 0:0(0)\nstate CLOSED", "the state is SYN-SENT"},
		{"connect\n> S 0:0(0)\nevent connected", `"connected" does not hold`},
		{"connect\n> S 0:0(0)\ndeadline none", "the deadline is in 1s"},
		{"connect\n> S 0:0(0)\ninfo cwnd=1", "cwnd is"},
		{"connect\n> S 0:0(0)\nerr EPIPE", "the error is <nil>"},
		{"connect\n> S 0:0(0)\n+.1 < S. 0:0(0) ack 1\n> . 1:1(0) ack 1\nread 5", "got 0 bytes"},
		{"connect\n> S 0:0(0)\nwrite 5 EPIPE", "the error is <nil>"},
		{"connect\n+2 quiet", "not expected"},
		{"connect\n> S 0:0(0)\ncollect\n+4 drain 3 9", "2 segments were sent"},
		{"connect\n> S 0:0(0)\n+2 > . 1:1(0)", "sent at 1.000000 instead of 2.000000"},
		// Bad scripts.
		{"fly", `fly without a connection`},
		{"connect\n> S 0:0(0)\nfly", `"fly" is not a verb`},
		{"+x connect", "not a number of seconds"},
		{"+1", "nothing after the time"},
		{"< Q 0:0(0)", "not a flag"},
		{"< S 0:1(0)", "BYTES must be END-BEGIN"},
		{"< S 0", "BEGIN:END(BYTES)"},
		{"< S", "want FLAGS"},
		{"< . 0:0(0)", "ACK without ack N"},
		{"< S 0:0(0) mss", "without its number"},
		{"< S 0:0(0) mss x", "not a number"},
		{"< S 0:0(0) fast", "not an item"},
		{"< S 0:0(0) TS 1", "TS without"},
		{"< S 0:0(0) TS * 1", "* in the TS"},
		{"< S 0:0(0) sack", "one to four"},
		{"< S 0:0(0) noTS", "not said when it arrives"},
		{"config x=1", `config has no "x"`},
		{"config mss", "not KEY=VALUE"},
		{"connect\n> S 0:0(0)\nconfig mss=1", "after the first call"},
		{"open", "no SYN waits"},
		{"drain 1", "MIN MAX"},
		{"connect\n> S 0:0(0)\nabort EWHAT", "is no error"},
		{"state", "state of what"},
	} {
		err := Run(tt.script)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %q", tt.script, err, tt.want)
		}
	}
}

// Bytes are compared, not only counted.
func TestScriptComparesBytes(t *testing.T) {
	const open = "connect\n> S 0:0(0)\n+.1 < S. 0:0(0) ack 1 mss 1000\n> . 1:1(0) ack 1\n"
	if err := Run(open + "write 10\n> P. 1:11(10)\n< . 1:11(10) ack 11\n> . 11:11(0) ack 11\nread 10"); err != nil {
		t.Error(err)
	}
	var b buffer.Buffer
	b.Append([]byte{pattern("A", 0), pattern("A", 1), pattern("A", 2) + 1})
	if err := checkPattern(&b, "A", 0); err == nil || !strings.Contains(err.Error(), "byte 2") {
		t.Errorf("a changed byte: %v", err)
	}
}

// send is the arrivals of n packets of 1000 bytes payload, one each ms.
func send(l Link, n int) (arrivals []sched.Time) {
	d := direction{Link: l}
	r := random(1)
	for i := range n {
		seg := &tcp.Segment{Flags: wire.ACK}
		seg.Payload.Append(make([]byte, 1000))
		for _, p := range encode(seg, true) {
			d.send(&r, sched.Time(i)*sched.Time(time.Millisecond), p, func(_ *packet, at sched.Time) { arrivals = append(arrivals, at) })
		}
	}
	return arrivals
}

func TestLink(t *testing.T) {
	within := func(what string, got, least, most int) {
		if got < least || got > most {
			t.Errorf("%s: %d, want %d to %d", what, got, least, most)
		}
	}
	within("perfect", len(send(Link{}, 1000)), 1000, 1000)
	within("loss of a tenth", len(send(Link{Loss: .1}, 1000)), 860, 940)
	within("a tenth twice", len(send(Link{Duplicate: .1}, 1000)), 1060, 1140)
	overtaken := 0
	a := send(Link{Delay: 10 * time.Millisecond, Reorder: .1}, 1000)
	for i := range a[1:] {
		if a[i+1] < a[i] {
			overtaken++
		}
	}
	within("a tenth held back", overtaken, 50, 150)
	// 1040 bytes at 1 Mbit/s take 8.32 ms.
	a = send(Link{Delay: 5 * time.Millisecond, Rate: 1e6}, 3)
	for i, want := range []time.Duration{13320, 21640, 29960} {
		if a[i] != sched.Time(want*time.Microsecond) {
			t.Errorf("packet %d at 1 Mbit/s arrives at %v", i, time.Duration(a[i]))
		}
	}
	within("more than the queue takes", len(send(Link{Rate: 1e6, Queue: 5000}, 100)), 10, 20)
}

// A super-segment is cut as a device without segmentation offload gets it.
func TestCut(t *testing.T) {
	seg := &tcp.Segment{Seq: 100, Flags: wire.ACK | wire.PSH | wire.FIN | wire.CWR, GSOSize: 1000}
	seg.Payload.Append(make([]byte, 2500))
	want := []struct {
		seq   uint32
		flags wire.TCPFlags
		size  int
	}{{100, wire.ACK | wire.CWR, 1000}, {1100, wire.ACK, 1000}, {2100, wire.ACK | wire.PSH | wire.FIN, 500}}
	for i, p := range encode(seg, true) {
		h := wire.TCP(p.header)
		if h.Seq() != want[i].seq || h.Flags() != want[i].flags || p.payload.Size() != want[i].size {
			t.Errorf("piece %d: %d %v with %d bytes, want %+v", i, h.Seq(), h.Flags(), p.payload.Size(), want[i])
		}
	}
}

// The rules for every sender find who breaks them.
func TestWatch(t *testing.T) {
	data := func(seq tcp.Seq, off, n int) *tcp.Segment {
		seg := &tcp.Segment{Seq: seq, Ack: 7001, Flags: wire.ACK, Window: 500}
		for i := range n {
			seg.Payload.Append([]byte{pattern("A", int64(off+i))})
		}
		return seg
	}
	wrong := data(1001, 1, 10)
	fresh := func(ack tcp.Seq, window uint16) *tcp.Segment {
		return &tcp.Segment{Seq: 1001, Ack: ack, Flags: wire.ACK, Window: window}
	}
	for _, tt := range []struct {
		name string
		segs []*tcp.Segment
		want string
	}{
		{"fine", []*tcp.Segment{data(1001, 0, 10), data(1011, 10, 20), data(1001, 0, 30)}, ""},
		{"gap", []*tcp.Segment{data(1002, 1, 10)}, "a gap"},
		{"beyond the window", []*tcp.Segment{data(1001, 0, 100), data(1101, 100, 52)}, "2 bytes beyond the window"},
		{"a probe", []*tcp.Segment{data(1001, 0, 100), data(1101, 100, 50), data(1151, 150, 1)}, ""},
		{"above the MSS", []*tcp.Segment{data(1001, 0, 101)}, "an MSS of 100"},
		{"wrong bytes", []*tcp.Segment{wrong}, "byte 0 of what A sends"},
		{"acknowledges too much", []*tcp.Segment{fresh(7002, 500)}, "of which"},
		{"acknowledges less", []*tcp.Segment{fresh(7001, 500), fresh(7000, 600)}, "after"},
		{"shrinks the window", []*tcp.Segment{fresh(7001, 500), fresh(7001, 499)}, "shrinks"},
		{"another SYN", []*tcp.Segment{{Seq: 5, Flags: wire.SYN}}, "another initial"},
	} {
		a, b := &watch{name: "A"}, &watch{name: "B"}
		a.peer, b.peer = b, a
		syn := &tcp.Segment{Seq: 1000, Flags: wire.SYN, Options: wire.TCPOptions{HasMSS: true, MSS: 1460}}
		synAck := &tcp.Segment{Seq: 7000, Ack: 1001, Flags: wire.SYN | wire.ACK, Window: 150, Options: wire.TCPOptions{HasMSS: true, MSS: 100}}
		err := a.sends(syn)
		if err == nil {
			err = b.sends(synAck)
		}
		a.hears(synAck)
		for _, seg := range tt.segs {
			if err == nil {
				err = a.sends(seg)
			}
		}
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// A connection that is cut off stands still, and is said to.
func TestNetTellsStandstill(t *testing.T) {
	n := New(Options{Seed: 5, BtoA: Link{Loss: 1}, A: Traffic{Send: 10}})
	if err := n.Run(); err == nil || !strings.Contains(err.Error(), "seed 5") || !strings.Contains(err.Error(), "stands still") {
		t.Errorf("Run: %v", err)
	}
}
