package tcp

import (
	"testing"
	"time"

	"github.com/weirnet/weir/buffer"
	"pgregory.net/rapid"
)

// receiver is a connection that has offered all of a window of the given size.
func receiver(window, limit int, scale uint8) *Conn {
	c := &Conn{cfg: &Config{}, state: Established, rcvNxt: 1<<32 - 100, rcvWScale: scale, rcvWnd: uint32(window), recvLimit: int32(limit),
		recvShare: noShare, ourMSS: 1460, rcvMSS: 1460, rcvPacking: 255}
	c.rcvAdv = c.rcvNxt
	c.selectWindow()
	return c
}

// arrive takes n bytes in order, in a chunk that they fill.
func (c *Conn) arriveBytes(n int) {
	var b buffer.Buffer
	b.AppendOwned(make([]byte, n))
	c.deliver(&b)
}

func (c *Conn) readBytes(n int) bool {
	var b buffer.Buffer
	n = c.Read(&b, n)
	b.Release()
	return c.ReadDone(c.now, n)
}

// What is offered is what there is room for: the window closes as data comes, and opens when it has been read.
func TestWindow(t *testing.T) {
	c := receiver(10000, 100000, 0)
	if got := c.selectWindow(); got != 10000 {
		t.Fatal("offered", got)
	}
	c.now = c.now.Add(time.Hour) // too slow for the window to be tuned
	c.arriveBytes(4000)
	if got := c.selectWindow(); got != 6000 {
		t.Error("4000 unread: offered", got)
	}
	if c.readBytes(1000) {
		t.Error("an update for 1000 bytes read, when more than half of the window is left")
	}
	if got := c.selectWindow(); got != 6000 {
		t.Error("1000 read: offered", got, "(SWS: less than a segment more)")
	}
	c.readBytes(1000)
	if got := c.selectWindow(); got != 8000 {
		t.Error("2000 read: offered", got)
	}
	c.arriveBytes(8000)
	if got := c.selectWindow(); got != 0 {
		t.Error("full: offered", got)
	}
	if c.readBytes(1000) || c.selectWindow() != 0 {
		t.Error("a window of less than a segment opens")
	}
	if !c.readBytes(500) || c.selectWindow() != 1500 {
		t.Error("no update when a closed window can open by a segment")
	}
}

// The field is the window divided by the scale, and the right edge does not go back for it.
func TestWindowScaling(t *testing.T) {
	c := receiver(1<<20, 1<<21, 7)
	if got := c.selectWindow(); got != 1<<13 {
		t.Fatal("offered", got)
	}
	c.now = c.now.Add(time.Hour)
	edge := c.rcvAdv
	c.arriveBytes(1)
	if got := c.selectWindow(); got != 1<<13 || c.rcvAdv != edge+1 {
		t.Errorf("after a byte: %d, the edge moved by %d", got, c.rcvAdv.minus(edge))
	}
	if c = receiver(1<<21, 1<<21, 0); c.selectWindow() != 65535 {
		t.Error("more than the field holds:", c.offered())
	}
}

// Chunk capacity is what the buffer has, payload what the window is made of.
func TestWindowCountsMemory(t *testing.T) {
	c := receiver(1<<20, 1<<20, 7)
	c.now = c.now.Add(time.Hour)
	var b buffer.Buffer
	for range 128 { // half of each chunk is used
		chunk := buffer.Wrap(make([]byte, 2048))
		b.AppendChunk(chunk, 0, 1024, false)
	}
	c.deliver(&b)
	if got, want := c.memory(), (1<<20-128*2048)*127/255; got != want {
		t.Errorf("room for %d bytes, want %d", got, want)
	}
}

// Whatever comes and is read: the edge never goes back, and the memory never exceeds what the limit allows for.
func TestWindowModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(3000, 300000).Draw(t, "limit")
		scale := uint8(rapid.IntRange(0, 10).Draw(t, "scale"))
		c := receiver(min(limit, 65535), limit, scale)
		edge := c.rcvAdv
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			c.now += 1000
			if rapid.Bool().Draw(t, "arrives") {
				if n := min(c.offered(), rapid.IntRange(1, 5000).Draw(t, "bytes")); n > 0 {
					c.arriveBytes(n)
				}
			} else {
				c.readBytes(rapid.IntRange(1, 10000).Draw(t, "read"))
			}
			window := int(c.selectWindow()) << scale
			if c.rcvAdv.Before(edge) {
				t.Fatal("the edge went back")
			}
			if at := c.rcvNxt + Seq(window); c.rcvAdv.Before(at) || c.rcvAdv.minus(at) >= 1<<scale {
				t.Fatalf("offered up to %d, and bound to %d", at, c.rcvAdv)
			}
			edge = c.rcvAdv
			if used := c.charged() + c.offered(); used > limit+limit/4+1<<scale {
				t.Fatalf("%d bytes used or offered of %d", used, limit)
			}
		}
	})
}

// The sender's side: which part of the data may go (RFC 9293 §3.8.6.2.1).
func TestSendable(t *testing.T) {
	for _, test := range []struct {
		name                                 string
		unsent, window, inFlight, max, force int
		want                                 int
		limited                              bool
	}{
		{name: "all of it", unsent: 100, window: 5000, want: 100},
		{name: "whole segments and the rest", unsent: 2500, window: 5000, want: 2500},
		{name: "a super-segment of whole segments", unsent: 9500, window: 50000, want: 8000},
		{name: "whole segments into a window", unsent: 9500, window: 3500, max: 50000, want: 3000},
		{name: "whole segments into the congestion window", unsent: 9500, window: 50000, inFlight: 7500, want: 2000, limited: true},
		{name: "no part of a segment for want of congestion window", unsent: 9500, window: 50000, inFlight: 9500, want: 0, limited: true},
		{name: "nothing is allowed", unsent: 9500, window: 50000, inFlight: 20000, want: 0, limited: true},
		{name: "a closed window", unsent: 9500, window: 0, max: 50000, want: 0},
		{name: "a small window", unsent: 9500, window: 900, max: 50000, want: 0},
		{name: "a small window that is half of the largest", unsent: 9500, window: 900, max: 1800, want: 900},
		{name: "a small window after the override timeout", unsent: 9500, window: 900, max: 50000, force: 1, want: 900},
	} {
		c := &Conn{cfg: &Config{}, gsoMax: 8500, maxSndWnd: uint32(test.max), flags: noDelay}
		c.cc = c.cfg.control(1000)
		f := &flight{}
		f.forced = test.force > 0
		if test.inFlight > 0 {
			f.board.transmitted(Seq(test.inFlight), 0)
			c.sndNxt = Seq(test.inFlight)
		}
		if got := c.sendable(f, test.unsent, test.window, 1000); got != test.want || f.limited != test.limited {
			t.Errorf("%s: %d, limited by congestion %v; want %d, %v", test.name, got, f.limited, test.want, test.limited)
		}
	}
}

// Segments of one byte to a reader that is away: the edge follows them, by what the window field rounds up, only as far as a quarter of the
// buffer allows for.
func TestWindowOfTinySegments(t *testing.T) {
	const limit, unit = 4096, 1024
	c := receiver(limit, limit, 10)
	c.selectWindow()
	for range 3 * limit {
		if c.offered() == 0 {
			break
		}
		c.arriveBytes(1)
		c.selectWindow()
		if used := c.charged() + c.offered(); used > limit+limit/4+unit {
			t.Fatalf("%d bytes used or offered of %d", used, limit)
		}
	}
	if c.offered() != 0 {
		t.Error("the window never closes")
	}
}

// A hole does not keep the window from growing with a sender that fills it; a reader that is behind, or a round that takes long, does.
func TestWindowGrowsBehindHole(t *testing.T) {
	for _, tt := range []struct {
		name         string
		ahead        int // bytes behind the hole
		unread       int // bytes before it
		wait         time.Duration
		window, most int
		want         uint32
	}{
		{"filled", 30000, 0, 0, 40000, 100000, 80000},
		{"to the limit", 30000, 0, 0, 40000, 50000, 50000},
		{"half filled", 20000, 0, 0, 40000, 100000, 40000},
		{"the reader is behind", 20000, 15000, 0, 40000, 100000, 40000},
		{"slowly", 30000, 0, time.Second, 40000, 100000, 40000},
	} {
		c := receiver(tt.window, tt.most, 2)
		c.rtt.srtt = 50 * time.Millisecond
		c.startRound()
		if tt.unread > 0 {
			c.arriveBytes(tt.unread)
		}
		c.now = c.now.Add(10*time.Millisecond + tt.wait)
		seg := Segment{Seq: c.rcvNxt + 1460}
		seg.Payload.AppendOwned(make([]byte, tt.ahead-1460))
		c.keepOutOfOrder(&seg)
		if c.rcvWnd != tt.want {
			t.Errorf("%s: the window is %d, not %d", tt.name, c.rcvWnd, tt.want)
		}
	}
}
