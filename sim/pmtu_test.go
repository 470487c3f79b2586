package sim

import (
	"fmt"
	"testing"
	"time"

	"github.com/weirnet/weir/link/emul"
	"github.com/weirnet/weir/tcp"
)

// narrowing is a path that becomes narrower twice in a transfer, without a word, and wide again.
type narrowing struct {
	name       string
	v6         bool
	congestion string
	config     func(*tcp.Config)
	mtus       [3]int // after 3 s, 12 s, and 25 s
	mss        [3]int // what is sent at the end of each, options counted: at least this, and 20 bytes more at most
}

// TestSilentlyNarrowPath is RFC 4821's case: no router tells. The transfer goes on after no more than the timeouts by which the black hole
// shows, with segments that nearly fill the path, and with full ones after a while when it is wide again.
func TestSilentlyNarrowPath(t *testing.T) {
	v4, v6 := [3]int{1300, 600, 1500}, [3]int{1300, 1280, 1500}
	for _, n := range []narrowing{
		{name: "cubic", congestion: "cubic", mtus: v4, mss: [3]int{1252, 552, 1460}},
		{name: "reno", congestion: "reno", mtus: v4, mss: [3]int{1252, 552, 1460}},
		{name: "bbr", congestion: "bbr", mtus: v4, mss: [3]int{1252, 552, 1460}},
		{name: "IPv6", v6: true, mtus: v6, mss: [3]int{1232, 1220, 1440}},
		{name: "no SACK", config: func(c *tcp.Config) { c.NoSACK = true }, mtus: v4, mss: [3]int{1252, 552, 1460}},
		{name: "no timestamps", config: func(c *tcp.Config) { c.NoTimestamps = true }, mtus: v4, mss: [3]int{1252, 552, 1460}},
		{name: "paced", config: func(c *tcp.Config) { c.Pacing = true }, mtus: v4, mss: [3]int{1252, 552, 1460}},
		{name: "always", config: func(c *tcp.Config) { c.MTUProbing = tcp.MTUProbeAlways }, mtus: v4, mss: [3]int{1252, 552, 1460}},
	} {
		t.Run(n.name, n.run)
	}
}

func (n narrowing) run(t *testing.T) {
	const size, rtt = 10 << 20, 40 * time.Millisecond
	w := New(Config{Seed: 1, Check: true})
	config := &tcp.Config{MTUProbeInterval: 8 * time.Second}
	if n.config != nil {
		n.config(config)
	}
	a, b := w.Host("a", HostConfig{TCP: config}), w.Host("b", HostConfig{})
	l := w.Link(a, b, LinkConfig{
		There: emul.Config{Rate: 2e6, Delay: rtt / 2, Queue: 20_000},
		Back:  emul.Config{Delay: rtt / 2},
	})
	for i, at := range [3]time.Duration{3 * time.Second, 12 * time.Second, 25 * time.Second} {
		w.At(at, func() {
			c := l.There.Config()
			c.MTU = n.mtus[i]
			l.There.Set(c)
		})
	}
	f := w.Flow(a, b, Bulk{Bytes: size, Congestion: n.congestion, IPv6: n.v6})
	var longest, last time.Duration
	var read int64
	w.Every(10*time.Millisecond, func() bool {
		if s := f.Stats(); s.Delivered != read {
			read, last = s.Delivered, w.Now()
		}
		if f.Receiver != nil && f.Receiver.Finished == 0 {
			longest = max(longest, w.Now()-last)
		}
		return true
	})
	var got [3]string
	for i, at := range [3]time.Duration{12 * time.Second, 25 * time.Second, 40 * time.Second} {
		if err := w.Run(at - time.Millisecond - w.Now()); err != nil {
			t.Fatal(err)
		}
		info := f.Sender.Info()
		mss := info.SendMSS
		if info.Timestamps {
			mss += 12
		}
		got[i] = fmt.Sprintf("%d (%d probes, %d lost, %d timeouts, %d read)", mss, info.PathProbes, info.PathProbesLost, info.RTOs, read)
		if mss < n.mss[i] || mss > n.mss[i]+20 {
			t.Errorf("segments of %d bytes over a path of %d, want %d to %d", mss, n.mtus[i], n.mss[i], n.mss[i]+20)
		}
	}
	ended, err := w.RunWhile(2*time.Minute, func() bool { return f.Receiver == nil || f.Receiver.Finished == 0 })
	if err != nil || !ended || f.Err != nil {
		t.Fatal("it does not end:", err, f.Err)
	}
	// The black hole shows by three timeouts, that of 600 bytes by a fourth: 15 RTOs, of 320 ms at most with what waits in the queue.
	if longest > 15*320*time.Millisecond+200*time.Millisecond {
		t.Errorf("nothing was read for %v", longest)
	}
	t.Log(got, "ended after", w.Now(), "stalled for", longest)
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}
