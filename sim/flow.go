package sim

import (
	"cmp"
	"fmt"
	"time"

	"github.com/weirnet/weir/tcp"
)

// Bulk is a transfer in one direction, as fast as TCP lets it. The zero value begins at once and has no end.
type Bulk struct {
	Start      time.Duration // when the connection is opened, since the world began
	Bytes      int64         // 0: without end
	Congestion string        // of the sender; empty: the host's
	IPv6       bool
	Sender     *tcp.Options // what else its end starts with; nil: as its host says
	Receiver   *tcp.Options
}

// Flow is a Bulk under way.
type Flow struct {
	Sender, Receiver *Conn // nil: not open yet
	// Err is why it could not be opened, or broke off.
	Err error

	bulk  Bulk
	world *World
	shut  bool
}

// firstFlowPort is where the receivers of flows listen, a port for each.
const firstFlowPort = 5001

// Flow adds a bulk transfer.
func (w *World) Flow(from, to *Host, b Bulk) *Flow {
	f := &Flow{bulk: b, world: w}
	w.flows++
	port := uint16(firstFlowPort + w.flows - 1)
	_, err := to.Listen(port, ListenOptions{TCP: b.Receiver, Accept: func(c *Conn) {
		f.Receiver = c
		c.App = f.receive
	}})
	if err != nil {
		w.Fail("flow %d: %w", w.flows, err)
		return f
	}
	options := tcp.Options{}
	if b.Sender != nil {
		options = *b.Sender
	}
	options.Congestion = cmp.Or(b.Congestion, options.Congestion)
	w.At(b.Start, func() {
		if f.Sender, f.Err = from.Dial(to, port, DialOptions{IPv6: b.IPv6, TCP: &options, App: f.send}); f.Err != nil {
			w.Fail("flow to port %d: %w", port, f.Err)
		}
	})
	return f
}

// send is the sender's application.
func (f *Flow) send(c *Conn) {
	if f.shut {
		f.receive(c) // the end
		return
	}
	if c.Connected() == ErrWouldBlock {
		return
	}
	n := int64(1 << 20)
	if f.bulk.Bytes > 0 {
		n = f.bulk.Bytes - c.Sent
	}
	for f.Err == nil && n > 0 {
		var sent int
		sent, f.Err = c.Send(int(min(n, 1<<20)))
		if f.bulk.Bytes > 0 {
			n -= int64(sent)
		}
	}
	if f.Err == ErrWouldBlock {
		f.Err = nil
	}
	if n == 0 && !f.shut {
		f.shut = true
		f.Err = c.CloseWrite()
	}
}

// receive is the receiver's application: it checks what comes, throws it away, and closes at the end.
func (f *Flow) receive(c *Conn) {
	if _, err := c.Receive(1 << 30); err != ErrWouldBlock && c.Finished != 0 {
		c.Close()
	}
}

// Stats is how far a flow has come at an instant or, as the difference of two, in a time.
type Stats struct {
	Elapsed     time.Duration // since the world began
	Delivered   int64         // bytes that the receiver's application has read
	Arrived     int64         // bytes of IP packets that have reached the receiver, those that came twice included
	Sent        uint64        // segments
	Retransmits uint64        // segments
	Timeouts    uint64
}

// Stats returns how far the flow has come.
func (f *Flow) Stats() Stats {
	s := Stats{Elapsed: f.world.Now()}
	if f.Receiver != nil {
		s.Delivered, s.Arrived = f.Receiver.Received, f.Receiver.Arrived()
	}
	if f.Sender != nil {
		i := f.Sender.Info()
		s.Sent, s.Retransmits, s.Timeouts = i.SegmentsSent, i.Retransmits, i.RTOs
	}
	return s
}

// Since is what happened after an earlier Stats.
func (s Stats) Since(t Stats) Stats {
	return Stats{s.Elapsed - t.Elapsed, s.Delivered - t.Delivered, s.Arrived - t.Arrived, s.Sent - t.Sent, s.Retransmits - t.Retransmits,
		s.Timeouts - t.Timeouts}
}

// Goodput is bit/s of what was delivered.
func (s Stats) Goodput() float64 { return perSecond(s.Delivered, s.Elapsed) }

// Throughput is bit/s of the IP packets that arrived.
func (s Stats) Throughput() float64 { return perSecond(s.Arrived, s.Elapsed) }

func perSecond(bytes int64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(8*bytes) / d.Seconds()
}

// String is the figures in a line.
func (s Stats) String() string {
	return fmt.Sprintf("%.2f Mbit/s in %v, %d of %d segments again, %d timeouts", s.Goodput()/1e6, s.Elapsed, s.Retransmits, s.Sent, s.Timeouts)
}
