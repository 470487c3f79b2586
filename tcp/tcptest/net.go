package tcptest

import (
	"container/heap"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp"
)

// Traffic is what the application of an end does.
type Traffic struct {
	Send       int           // bytes; then it closes for writing
	Write      int           // most bytes a call; 0: 64 KiB
	WriteEvery time.Duration // pause between calls; 0: whenever there is space
	Read       int           // most bytes a call; 0: 64 KiB
	ReadEvery  time.Duration // 0: as soon as there is something
	Nagle      bool          // Nagle's algorithm is on
}

// Options make a Net.
type Options struct {
	Seed    uint64
	AtoB    Link
	BtoA    Link
	A, B    Traffic
	Config  [2]*tcp.Config // of A and B; nil: the defaults. Buffers is set
	MSS     int            // both announce; 0: 1460
	GSOMax  int            // 0: 65536-40, unless that is less than MSS
	Trace   bool           // keep the packets as text, for Net.Trace
	Both    bool           // A and B open at once (RFC 9293 §3.5, figure 8); else A connects to B
	MaxTime time.Duration  // Run gives up then; 0: a day
}

// Net is two ends, a Link each way between them, and a virtual clock, in one goroutine. What happens depends on the Options alone.
type Net struct {
	End     [2]*End // A, B
	Trace   []string
	now     sched.Time
	options Options
	random  random
	way     [2]direction // out of A, out of B
	flight  flight
	order   uint64
	watch   [2]watch // of what A, B send
	app     [2]app
	pool    *buffer.Pool
	still   int   // steps at this instant
	failed  error // the first broken invariant

	Packets, Lost int // sent, and of these lost
}

// maxStill is how many steps there may be at one instant: more is a loop.
const maxStill = 20000

// app is the state of a Traffic.
type app struct {
	Traffic
	left        int
	writes      sched.Time // when it may write next
	reads       sched.Time
	shut        bool // CloseWrite was called
	eof, closed bool
	Finished    sched.Time // when it had read all
}

// New makes a Net at the instant at which A's SYN leaves.
func New(o Options) *Net {
	n := &Net{options: o, now: sched.Time(time.Hour), random: random(o.Seed), pool: buffer.NewPool(buffer.Options{Check: true})}
	n.way[0].Link, n.way[1].Link = o.AtoB, o.BtoA
	if o.MSS == 0 {
		n.options.MSS = 1460
	}
	if o.GSOMax == 0 {
		n.options.GSOMax = max(65536-40, n.options.MSS)
	}
	for i, t := range []Traffic{o.A, o.B} {
		n.watch[i].name, n.watch[i].peer = name(i), &n.watch[1-i]
		n.app[i] = app{Traffic: t, left: t.Send}
		n.app[i].Write, n.app[i].Read = orElse(t.Write, 64<<10), orElse(t.Read, 64<<10)
		config := o.Config[i]
		if config == nil {
			config = new(tcp.Config)
		}
		config.Buffers = n.pool
		p := tcp.Params{ISS: tcp.Seq(n.random.next()), TSOffset: uint32(n.random.next()), MSS: n.options.MSS, GSOMax: n.options.GSOMax}
		n.End[i] = NewEnd(name(i), config, p, func(now sched.Time, seg *tcp.Segment) { n.transmit(i, now, seg) })
	}
	if o.Both {
		n.End[1].Connect(n.now)
	} else {
		n.End[1].Listen()
	}
	n.End[0].Connect(n.now)
	return n
}

func name(end int) string { return "AB"[end : end+1] }

func orElse(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}

// Now is the instant of the last Step.
func (n *Net) Now() sched.Time { return n.now }

// fail keeps the first error.
func (n *Net) fail(err error) {
	if err != nil && n.failed == nil {
		n.failed = fmt.Errorf("seed %d, at %v: %w", n.options.Seed, n.now.Sub(sched.Time(time.Hour)), err)
	}
}

// transmit takes a segment that end i sends.
func (n *Net) transmit(i int, now sched.Time, seg *tcp.Segment) {
	n.fail(n.watch[i].sends(seg))
	for _, p := range encode(seg, !n.way[i].GSO) {
		n.Packets++
		p.to = 1 - i
		if n.options.Trace {
			n.trace(i, p)
		}
		arrivals := 0
		n.way[i].send(&n.random, now, p, func(p *packet, at sched.Time) {
			arrivals++
			n.order++
			p.to, p.at, p.order = 1-i, at, n.order
			heap.Push(&n.flight, p)
		})
		if arrivals == 0 {
			n.Lost++
			if n.options.Trace {
				n.Trace[len(n.Trace)-1] += " lost"
			}
		}
	}
}

func (n *Net) trace(i int, p *packet) {
	c := p.clone()
	var seg tcp.Segment
	if c.decode(&seg) == nil {
		at := n.now.Sub(sched.Time(time.Hour)).Seconds()
		n.Trace = append(n.Trace, fmt.Sprintf("%.6f %s %s", at, name(i), format(&seg, n.watch[i].iss, n.watch[1-i].iss)))
	}
	seg.Payload.Release()
}

// Step goes to the next instant at which something happens, does it, and checks the invariants: false if nothing will happen any more.
func (n *Net) Step() (bool, error) {
	at := min(n.End[0].Deadline(), n.End[1].Deadline(), n.appWake(0), n.appWake(1))
	if len(n.flight) > 0 {
		at = min(at, n.flight[0].at)
	}
	if at == sched.Never || n.failed != nil {
		return false, n.failed
	}
	if at > n.now {
		n.now, n.still = at, 0
	}
	if n.still++; n.still > maxStill {
		n.fail(fmt.Errorf("%d steps, and time stands still", n.still))
	}
	for len(n.flight) > 0 && n.flight[0].at <= n.now {
		n.arrive(heap.Pop(&n.flight).(*packet))
	}
	for i, e := range n.End {
		if e.Deadline() <= n.now {
			e.Expire(n.now)
			if d := e.Deadline(); d <= n.now {
				n.fail(fmt.Errorf("%s: the deadline is %v ago after Expire", e.Name, n.now.Sub(d)))
			}
		}
		n.runApp(i)
	}
	for i := range n.End {
		n.fail(n.checkLive(i))
	}
	return n.failed == nil, n.failed
}

func (n *Net) arrive(p *packet) {
	var seg tcp.Segment
	if err := p.decode(&seg); err != nil {
		n.fail(fmt.Errorf("what %s sent is no segment: %w", name(1-p.to), err))
		return
	}
	n.watch[p.to].hears(&seg)
	n.End[p.to].Input(n.now, &seg)
}

// appWake is when the application of end i wants to act; data and space that come wake it too (runApp runs after everything).
func (n *Net) appWake(i int) sched.Time {
	a, c := &n.app[i], n.End[i].Conn
	if c == nil || a.closed {
		return sched.Never
	}
	at := sched.Never
	if a.left > 0 && a.writes > n.now {
		at = a.writes
	}
	if (c.ReadSize() > 0 || c.EOF() && !a.eof) && a.reads > n.now {
		at = min(at, a.reads)
	}
	return at
}

// runApp does what the application of end i does at this instant.
func (n *Net) runApp(i int) {
	a, e := &n.app[i], n.End[i]
	if e.Conn == nil || a.closed || e.Conn.State() == tcp.SynSent {
		return
	}
	if err := e.Conn.Err(); err != nil {
		a.closed = true
		return
	}
	e.Conn.SetNoDelay(!a.Nagle)
	n.appReads(i)
	for a.left > 0 && a.writes <= n.now && e.Conn.SendSpace() > 0 {
		done, err := e.Write(n.now, min(a.Write, a.left))
		if err != nil {
			n.fail(fmt.Errorf("%s: Write: %w", e.Name, err))
			return
		}
		a.left -= done
		a.writes = n.now.Add(a.WriteEvery)
	}
	if a.left == 0 && !a.shut {
		a.shut = true
		n.fail(e.CloseWrite(n.now))
	}
	if a.shut && a.eof && !a.closed {
		a.closed = true
		e.Close(n.now)
	}
}

func (n *Net) appReads(i int) {
	a, e := &n.app[i], n.End[i]
	for !a.eof && a.reads <= n.now {
		got, err := e.Read(n.now, a.Read, name(1-i))
		switch {
		case errors.Is(err, io.EOF):
			a.eof, a.Finished = true, n.now
			if want := int64(n.app[1-i].Send); e.read != want {
				n.fail(fmt.Errorf("%s: end of stream after %d bytes, want %d", e.Name, e.read, want))
			}
			return
		case err != nil:
			n.fail(err)
			return
		case got == 0:
			return
		}
		a.reads = n.now.Add(a.ReadEvery)
	}
}

// checkLive: a connection that has not sent all, or is not acknowledged, waits for an instant (design: "every live connection has a
// deadline or is idle").
func (n *Net) checkLive(i int) error {
	e := n.End[i]
	if e.Conn == nil || e.gone || e.Conn.Err() != nil {
		return nil
	}
	if e.Conn.SendQueue() > 0 && e.Deadline() == sched.Never {
		return fmt.Errorf("%s: %v with %d bytes to deliver (%d never sent), and nothing to wait for", e.Name, stateName(e.Conn.State()),
			e.Conn.SendQueue(), e.Conn.Unsent())
	}
	return nil
}

// Run steps until nothing will happen any more, then checks that all was delivered, and that nothing leaks.
func (n *Net) Run() error {
	limit := n.now.Add(n.options.MaxTime)
	if n.options.MaxTime == 0 {
		limit = n.now.Add(24 * time.Hour)
	}
	for {
		more, err := n.Step()
		if err != nil {
			return err
		}
		if !more {
			break
		}
		if n.now > limit {
			n.fail(fmt.Errorf("not finished: A has read %d bytes of %d, B %d of %d", n.End[0].read, n.app[1].Send, n.End[1].read, n.app[0].Send))
			return n.failed
		}
	}
	for i, e := range n.End {
		switch {
		case e.Conn == nil:
			n.fail(fmt.Errorf("%s: no connection", e.Name))
		case !n.app[i].eof:
			n.fail(fmt.Errorf("%s: stands still in %v with %d bytes read, error %v", e.Name, stateName(e.Conn.State()), e.read, e.Conn.Err()))
		case !e.gone || e.TimeWait != nil || e.Syn != nil:
			n.fail(fmt.Errorf("%s: never forgotten, in %v", e.Name, stateName(e.Conn.State())))
		}
	}
	n.fail(n.Close())
	return n.failed
}

// Close ends the connections and reports what leaks.
func (n *Net) Close() error {
	for _, e := range n.End {
		e.Release(n.now)
	}
	for _, p := range n.flight {
		p.payload.Release()
	}
	n.flight = nil
	if chunks, bytes := n.pool.Outstanding(); chunks != 0 {
		return fmt.Errorf("%d chunks of %d bytes leak", chunks, bytes)
	}
	return nil
}

// Finished is how long after the beginning end i had read all of the peer's stream.
func (n *Net) Finished(i int) time.Duration { return n.app[i].Finished.Sub(sched.Time(time.Hour)) }
