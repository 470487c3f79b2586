package tcp

import (
	"fmt"
	"testing"
	"time"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/sched"
)

// chat is two connections whose applications read all that comes at once. Only segments move, and no timer runs, unless a test says so: what
// does not arrive would have waited for a delayed ACK, for the override timeout, or for a retransmission.
type chat struct {
	*duo
	src [2]buffer.Buffer
	dst buffer.Buffer
	got [2]int // bytes that an end has read
}

func newChat(tb testing.TB, pool *buffer.Pool, p Params, nagle [2]bool) *chat {
	c := &chat{duo: newDuo(tb, &Config{Buffers: pool}, &Config{Buffers: pool}, p)}
	for i := range 2 {
		c.src[i].SetPool(pool)
		c.conn[i].SetNoDelay(!nagle[i])
	}
	return c
}

// say is one write at an end, of which what may go arrives, but is not read.
func (c *chat) say(tb testing.TB, i, n int) {
	tb.Helper()
	c.write(tb, i, &c.src[i], make([]byte, n))
	c.flush()
}

// listen lets both read until nothing moves any more.
func (c *chat) listen() {
	for n := 1; n > 0; {
		c.flush()
		n = 0
		for i := range 2 {
			k := c.read(i, &c.dst)
			c.got[i] += k
			n += k
		}
	}
}

// wait lets the earliest timer expire.
func (c *chat) wait(tb testing.TB) {
	at := min(c.conn[0].Deadline(), c.conn[1].Deadline())
	if at == sched.Never {
		tb.Fatal("nothing to wait for")
	}
	c.now = max(c.now, at)
	for _, conn := range c.conn {
		conn.Expire(c.now)
	}
	c.listen()
}

// stallCases are Nagle's algorithm off and on at either end, segments and super-segments, and those of a link that takes 64 KiB at once.
func stallCases(t *testing.T, fn func(t *testing.T, open func() *chat)) {
	pool := buffer.NewPool(buffer.Options{})
	for _, p := range []Params{{MSS: 1460, GSOMax: 1460}, {MSS: 1460, GSOMax: 65000}, {MSS: 65495, GSOMax: 65495}} {
		for k := range 4 {
			nagle := [2]bool{k&1 != 0, k&2 != 0}
			t.Run(fmt.Sprintf("mss %d gso %d nagle %v", p.MSS, p.GSOMax, nagle), func(t *testing.T) {
				fn(t, func() *chat { return newChat(t, pool, p, nagle) })
			})
		}
	}
}

// Small writes one after the other, and nothing comes back: with Nagle's algorithm each waits for the ACK of the one before (RFC 9293
// §3.7.4), which therefore must not be delayed once the reader has read.
func TestSmallWritesDoNotStall(t *testing.T) {
	stallCases(t, func(t *testing.T, open func() *chat) {
		for _, size := range []int{1, 100, 600, 1300, 1440, 1448} {
			c := open()
			for i := range 200 {
				c.say(t, 0, size)
				c.say(t, 0, size)
				c.listen()
				if c.got[1] != 2*(i+1)*size {
					t.Fatalf("%d bytes a write: %d of %d have arrived", size, c.got[1], 2*(i+1)*size)
				}
			}
		}
	})
}

// Requests and responses of one write and of several: write, write, read is where Nagle's algorithm and delayed ACKs wait for each other.
func TestRequestsDoNotStall(t *testing.T) {
	stallCases(t, func(t *testing.T, open func() *chat) {
		for _, parts := range [][2]int{{1, 1}, {2, 1}, {1, 2}, {3, 2}} {
			c := open()
			want := [2]int{}
			for i := range 200 {
				for from, n := range parts {
					for range n {
						c.say(t, from, 100)
						want[1-from] += 100
					}
					c.listen()
					if c.got != want {
						t.Fatalf("%d writes a request, %d a response: at exchange %d they have read %v of %v", parts[0], parts[1], i, c.got, want)
					}
				}
			}
		}
	})
}

// A request that is answered at once costs two segments: the response carries the ACK, and so does the next request.
func TestResponsesCarryAcks(t *testing.T) {
	stallCases(t, func(t *testing.T, open func() *chat) {
		c := open()
		exchange := func() {
			for from := range 2 {
				c.say(t, from, 100)
				c.listen()
			}
		}
		for range 20 { // the ACKs at the beginning of a connection are not delayed
			exchange()
		}
		before := c.conn[0].Info().SegmentsSent + c.conn[1].Info().SegmentsSent
		for range 100 {
			exchange()
		}
		if n := c.conn[0].Info().SegmentsSent + c.conn[1].Info().SegmentsSent - before; n != 200 {
			t.Errorf("%d segments for 100 requests and responses", n)
		}
	})
}

// An application that has answered each request, and then gets a stream: a single delayed ACK, and no more; none if it has closed its side.
func TestReplierLearns(t *testing.T) {
	t.Run("open", func(t *testing.T) { replierLearns(t, false, 50*ms) })
	t.Run("closed for writing", func(t *testing.T) { replierLearns(t, true, 10*ms) })
}

func replierLearns(t *testing.T, shut bool, most time.Duration) {
	stallCases(t, func(t *testing.T, open func() *chat) {
		c := open()
		for range 20 {
			c.say(t, 0, 100)
			c.listen()
			c.say(t, 1, 100)
			c.listen()
		}
		if shut {
			if err := c.conn[1].CloseWrite(c.now); err != nil {
				t.Fatal(err)
			}
			c.flush()
		}
		begin := c.now
		for i := range 100 {
			c.say(t, 0, 10)
			c.say(t, 0, 10)
			c.listen()
			for want := 20*100 + 20*(i+1); c.got[1] < want; {
				c.wait(t)
			}
		}
		if took := c.now.Sub(begin); took > most {
			t.Errorf("the stream took %v", took)
		}
	})
}

// A bulk transfer to a reader that keeps up gets an ACK for two segments, not one for each (RFC 9293 §3.8.6.3).
func TestBulkAcks(t *testing.T) {
	pool := buffer.NewPool(buffer.Options{})
	c := newChat(t, pool, Params{MSS: 1460, GSOMax: 1460}, [2]bool{})
	c.write(t, 0, &c.src[0], make([]byte, 1<<20))
	for more := true; more; {
		more = false
		for i, conn := range c.conn {
			for conn.Output(c.now, &c.seg) {
				more = true
				c.now += 1000
				c.conn[1-i].Input(c.now, &c.seg)
				c.seg.Payload.Clear()
				c.got[1] += c.read(1, &c.dst)
			}
		}
	}
	if c.got[1] != 1<<20 {
		t.Fatalf("%d bytes have arrived", c.got[1])
	}
	if a, b := c.conn[0].Info().SegmentsSent, c.conn[1].Info().SegmentsSent; b > a/2+2*initialQuickAcks {
		t.Errorf("%d ACKs for %d segments", b, a)
	}
}
