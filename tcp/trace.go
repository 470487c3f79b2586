package tcp

import (
	"time"

	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
)

// EventKind says what an Event tells.
type EventKind uint8

const (
	EventState    EventKind = iota // the state of RFC 9293 is another one
	EventSent                      // a segment is sent: Seq, Ack, Flags, Window, Bytes, Segs
	EventReceived                  // a segment has come: the same
	EventLost                      // Bytes are newly deemed lost
	EventRecovery                  // recovery is entered, left, or another one: CAState
	EventTimeout                   // the retransmission timer has expired
	EventWindow                    // the congestion window or the slow start threshold is another one
	EventProbe                     // a tail loss probe is due (RFC 8985 §7)
	EventUndo                      // a reduction of the window turned out to be needless, and is taken back
)

// String is the event's name.
func (k EventKind) String() string {
	return [...]string{"state", "sent", "received", "lost", "recovery", "timeout", "cwnd", "probe", "undo"}[k]
}

// Event is one line of a connection's log. Beside what its kind tells it has what holds after it: state, window, threshold, bytes in the
// network, and round trip time.
type Event struct {
	Time sched.Time
	Kind EventKind

	Seq, Ack Seq
	Flags    wire.TCPFlags
	Window   int // bytes, scaled
	Bytes    int // of payload, or lost
	Segs     int // how many segments of the wire it is

	State    State
	CAState  CAState
	Cwnd     int // bytes
	Ssthresh int // bytes; 0: none yet
	InFlight int // bytes
	RTT, RTO time.Duration
}

// tracer finds out what has changed since it last looked, and tells.
type tracer struct {
	fn       func(*Event)
	state    State
	ca       CAState
	cwnd     int
	ssthresh int
	lost     uint64
	flight   *flight // of lost
	rtos     uint32
	probes   uint32
	undos    uint32
}

// SetTrace has fn called for each event from now on; nil ends it. It is called in the middle of the connection's methods: it must not call
// any, nor keep the Event.
func (c *Conn) SetTrace(fn func(*Event)) {
	if fn == nil {
		if c.tracer() != nil {
			c.rare.tracer = nil
		}
		return
	}
	t := &tracer{fn: fn, rtos: c.Timeouts(), cwnd: -1, state: c.state}
	c.seldom().tracer = t
	t.emit(c, &Event{Kind: EventState})
	t.look(c)
}

// tracer is the tracer, nil if there is none.
func (c *Conn) tracer() *tracer {
	if c.rare == nil {
		return nil
	}
	return c.rare.tracer
}

// emit completes an event and tells it.
func (t *tracer) emit(c *Conn, e *Event) {
	e.Time, e.State, e.CAState = c.now, c.state, c.caState()
	e.RTT, e.RTO = c.rtt.srtt, c.rto(c.snd)
	e.Cwnd, e.Ssthresh, e.InFlight = t.cwnd, t.ssthresh, 0
	if c.snd != nil {
		e.InFlight = c.snd.pipe()
	}
	t.fn(e)
}

// segment tells of a segment.
func (t *tracer) segment(c *Conn, kind EventKind, s *Segment, scale uint8) {
	if s.Flags&wire.SYN != 0 {
		scale = 0
	}
	t.emit(c, &Event{
		Kind: kind, Seq: s.Seq, Ack: s.Ack, Flags: s.Flags, Window: int(s.Window) << scale, Bytes: s.Payload.Size(), Segs: max(s.Segs, 1),
	})
}

// look tells of what is another one than before.
func (t *tracer) look(c *Conn) {
	cwnd, ssthresh := c.cc.Cwnd(), c.cc.Ssthresh()
	if f := c.snd; f != nil {
		cwnd = c.cwnd(f)
	}
	if ssthresh >= 1<<30 {
		ssthresh = 0
	}
	was := *t
	t.state, t.ca, t.rtos = c.state, c.caState(), c.Timeouts()
	t.cwnd, t.ssthresh = cwnd, ssthresh
	if f := c.snd; f != was.flight {
		t.flight, t.lost = f, 0
		was.lost = 0
	}
	if f := c.snd; f != nil {
		t.lost = f.board.rate.lost
	}
	if t.rtos != was.rtos {
		t.emit(c, &Event{Kind: EventTimeout})
	}
	if h := c.hist; h != nil {
		t.probes, t.undos = uint32(h.probes), uint32(h.undos)
	}
	if t.probes != was.probes {
		t.emit(c, &Event{Kind: EventProbe})
	}
	if t.undos != was.undos {
		t.emit(c, &Event{Kind: EventUndo})
	}
	if t.lost > was.lost {
		t.emit(c, &Event{Kind: EventLost, Bytes: int(t.lost - was.lost)})
	}
	if t.ca != was.ca {
		t.emit(c, &Event{Kind: EventRecovery})
	}
	if t.cwnd != was.cwnd || t.ssthresh != was.ssthresh {
		t.emit(c, &Event{Kind: EventWindow})
	}
	if t.state != was.state {
		t.emit(c, &Event{Kind: EventState})
	}
}

// Event is what a log tells of a segment of the handshake.
func (r *SynRecv) Event(now sched.Time, kind EventKind, s *Segment) Event {
	scale := uint8(0)
	if kind == EventReceived && s.Flags&wire.SYN == 0 {
		scale = r.sndWScale
	}
	return Event{
		Time: now, Kind: kind, State: SynReceived, Seq: s.Seq, Ack: s.Ack, Flags: s.Flags, Window: int(s.Window) << scale,
		Bytes: s.Payload.Size(), Segs: max(s.Segs, 1),
	}
}
