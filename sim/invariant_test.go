package sim

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/link/emul"
	"github.com/weirnet/weir/wire"
)

// joined is two hosts with a flow between them, some time after its beginning.
func joined(t *testing.T) (*World, *Flow, *Link) {
	t.Helper()
	w := New(Config{Seed: 7, Check: true})
	a, b := w.Host("a", HostConfig{}), w.Host("b", HostConfig{})
	l := w.Link(a, b, Both(emul.Config{Delay: 10 * time.Millisecond, Rate: 1e6}))
	f := w.Flow(a, b, Bulk{})
	if err := w.Run(time.Second); err != nil {
		t.Fatal(err)
	}
	return w, f, l
}

// mustFail runs the world on, which has to meet a broken invariant.
func mustFail(t *testing.T, w *World, want string) {
	t.Helper()
	err := w.Run(time.Minute)
	if err == nil {
		err = w.Close()
	}
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want an error with %q", err, want)
	}
	if w.Run(time.Second) != err {
		t.Error("the world goes on after a broken invariant")
	}
}

func TestInvariantsAreSeenToBreak(t *testing.T) {
	t.Run("stall", func(t *testing.T) {
		w, f, l := joined(t)
		l.Cut()
		w.After(5*time.Second, func() { // as if nothing had happened for ten seconds
			f.Sender.progress.at -= 1e10
			f.Sender.watch.lastSent -= 1e10
		})
		w.Every(time.Millisecond, func() bool { return true })
		mustFail(t, w, "a stall: in ESTABLISHED")
	})
	t.Run("wrong bytes", func(t *testing.T) {
		w, f, _ := joined(t)
		f.Receiver.in++
		mustFail(t, w, "other bytes than were sent")
	})
	t.Run("too many bytes", func(t *testing.T) {
		w, f, _ := joined(t)
		f.Sender.Sent = 0
		f.shut = true
		mustFail(t, w, "and 0 were sent")
	})
	t.Run("leak", func(t *testing.T) {
		w, f, _ := joined(t)
		f.Sender.host.packets.Get()
		if err := w.Run(time.Second); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err == nil || !strings.Contains(err.Error(), "1 packets are out") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("loop", func(t *testing.T) {
		w, _, _ := joined(t)
		var again func()
		again = func() { w.After(0, again) }
		again()
		mustFail(t, w, "time stands still")
	})
	t.Run("steps", func(t *testing.T) {
		w, _, _ := joined(t)
		w.config.MaxSteps = w.steps + 10
		mustFail(t, w, "events")
	})
}

// segment describes what an end sends to a watch.
type segment struct {
	flags    wire.TCPFlags
	seq, ack uint32
	window   uint16
	payload  int
}

func TestWatch(t *testing.T) {
	const iss, irs = 1<<32 - 1000, 5000 // numbers wrap
	from := []segment{
		{flags: wire.SYN, seq: iss, window: 1000},
		{flags: wire.ACK, seq: iss + 1, ack: irs + 1, window: 1000},
		{flags: wire.ACK, seq: iss + 1, ack: irs + 1, window: 1000, payload: 536},
	}
	for _, c := range []struct {
		what string
		seg  segment
		want string
	}{
		{"the next", segment{wire.ACK, iss + 537, irs + 1, 1000, 464}, ""},
		{"again", segment{wire.ACK, iss + 1, irs + 1, 1000, 536}, ""},
		{"FIN", segment{wire.ACK | wire.FIN, iss + 537, irs + 1, 1000, 464}, ""},
		{"beyond the window", segment{wire.ACK, iss + 537, irs + 1, 1000, 465}, "beyond the window"},
		{"too large", segment{wire.ACK, iss + 1, irs + 1, 1000, 537}, "an MSS of 536"},
		{"a gap", segment{wire.ACK, iss + 538, irs + 1, 1000, 1}, "a gap"},
		{"a smaller window", segment{wire.ACK, iss + 537, irs + 1, 999, 0}, "shrinks the window by 1"},
		{"an ACK of the future", segment{wire.ACK, iss + 537, irs + 2, 999, 0}, "acknowledges 2, of which 1 were sent"},
		{"an ACK of the past", segment{wire.ACK, iss + 537, irs, 1001, 0}, "acknowledges 0 after 1"},
	} {
		x, y := watches(t, from, segment{wire.SYN | wire.ACK, irs, iss + 1, 1000, 0})
		err := send(x, y, c.seg)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.what, err, c.want)
		}
	}
}

// In order, a window that is taken back holds until an acceptable segment (RFC 9293 §3.10.7.4) opens it again.
func TestWatchTakenBack(t *testing.T) {
	const iss, irs = 1<<32 - 1000, 5000
	for _, c := range []struct {
		what string
		seg  segment
		ok   bool
	}{
		{"the next", segment{wire.ACK, irs + 1, iss + 1, 1000, 0}, true},
		{"a keepalive", segment{wire.ACK, irs, iss + 1, 1000, 0}, false},
		{"one that is older", segment{wire.ACK, irs - 1, iss + 1, 1000, 1}, false},
		{"what was received last, and acknowledges more", segment{wire.ACK, irs, iss + 2, 1000, 1}, true},
		{"a keepalive that acknowledges", segment{wire.ACK, irs, iss + 2, 1000, 0}, false},
	} {
		x, y := watches(t, []segment{
			{flags: wire.SYN, seq: iss, window: 1000},
			{flags: wire.ACK, seq: iss + 1, ack: irs + 1, window: 1000},
			{flags: wire.ACK, seq: iss + 1, ack: irs + 1, window: 1000, payload: 1},
		}, segment{wire.SYN | wire.ACK, irs, iss + 1, 1000, 0})
		x.host.world.orderly = true
		x.hears(segment{wire.ACK, irs + 1, iss + 1, 10, 0}.view())
		x.hears(c.seg.view())
		if err := send(x, y, segment{wire.ACK, iss + 2, irs + 1, 1000, 100}); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

// watches makes the watches of a connection's ends, and has x send from, to the first of which y answers.
func watches(t *testing.T, from []segment, answer segment) (x, y *watch) {
	w := New(Config{})
	a, b := w.Host("a", HostConfig{}), w.Host("b", HostConfig{})
	w.Link(a, b, LinkConfig{})
	k := tuple{netip.AddrPortFrom(a.Addr(false), 1), netip.AddrPortFrom(b.Addr(false), 2)}
	x, y = a.watch(k), b.watch(tuple{k.remote, k.local})
	for i, s := range from {
		if err := send(x, y, s); err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			continue
		}
		if err := send(y, x, answer); err != nil {
			t.Fatal(err)
		}
	}
	return x, y
}

// send has a segment leave one end and reach the other.
func send(from, to *watch, s segment) error {
	v := s.view()
	err := from.sends(v)
	to.hears(v)
	return err
}

func (s segment) view() *view {
	b := make([]byte, wire.TCPMinLen)
	wire.PutTCP(b, wire.TCPFields{Seq: s.seq, Ack: s.ack, Flags: s.flags, Window: s.window, Options: &wire.TCPOptions{}})
	return &view{tcp: wire.TCP(b), payload: s.payload}
}
