package tcptest

import (
	"fmt"
	"io"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/wire"
)

// End is one end of a connection: a tcp.Conn, or the compact record before or after it, with what owns them in a stack reduced to the
// least. It writes a stream of known bytes and checks that what it reads is the peer's.
type End struct {
	Name   string
	Config *tcp.Config
	Params tcp.Params
	Manual bool // a SYN waits for Open or Refuse, as with a request handler

	Conn      *tcp.Conn
	Syn       *tcp.SynRecv
	TimeWait  *tcp.TimeWait
	Events    tcp.Events // all that calls and segments gave since this was last set to 0
	listening bool
	gone      bool // Conn no longer gets segments

	written, read int64 // bytes of the streams out and in
	writer        buffer.Buffer
	retired       []*tcp.Conn
	transmit      func(now sched.Time, seg *tcp.Segment)
}

// pattern is byte i of the stream that the end of this name sends.
func pattern(name string, i int64) byte {
	x := uint64(i)*0x9e3779b97f4a7c15 + uint64(name[0])<<32
	x ^= x >> 29
	return byte(x * 0xbf58476d1ce4e5b9 >> 56)
}

// NewEnd makes an end whose stream is that of the name's first letter, and which gives what it sends to transmit.
func NewEnd(name string, config *tcp.Config, p tcp.Params, transmit func(sched.Time, *tcp.Segment)) *End {
	return &End{Name: name, Config: config, Params: p, transmit: transmit}
}

func (e *End) newConn() {
	e.retire()
	e.Conn, e.gone = new(tcp.Conn), false
}

// retire keeps a connection that segments no longer reach, to be released in the end.
func (e *End) retire() {
	if e.Conn != nil {
		e.retired = append(e.retired, e.Conn)
		e.Conn = nil
	}
}

// Connect begins an active open.
func (e *End) Connect(now sched.Time) {
	e.newConn()
	e.Conn.Connect(e.Config, now, e.Params)
	e.Flush(now)
}

// Listen makes the end take SYNs.
func (e *End) Listen() { e.listening = true }

// Open answers a SYN that waits (Manual).
func (e *End) Open(now sched.Time) {
	var reply tcp.Segment
	e.Syn.Open(now, &reply)
	e.transmit(now, &reply)
}

// Refuse answers a SYN with a RST, whether it waits or has its SYN-ACK.
func (e *End) Refuse(now sched.Time) {
	var reply tcp.Segment
	e.Syn.Refuse(&reply)
	e.Syn = nil
	e.transmit(now, &reply)
}

// Input is a segment's arrival. What is left of its payload is released.
func (e *End) Input(now sched.Time, seg *tcp.Segment) {
	defer seg.Payload.Release()
	switch {
	case e.Syn != nil:
		e.synInput(now, seg)
	case e.TimeWait != nil:
		e.timeWaitInput(now, seg)
	case e.Conn != nil && !e.gone:
		e.note(now, e.Conn.Input(now, seg))
		e.Flush(now)
	default:
		e.listenInput(now, seg, e.Params)
	}
}

// listenInput is RFC 9293 §3.10.7.1 and .2: CLOSED, and LISTEN.
func (e *End) listenInput(now sched.Time, seg *tcp.Segment, p tcp.Params) {
	if !e.listening || seg.Flags&(wire.SYN|wire.ACK|wire.RST) != wire.SYN {
		var reply tcp.Segment
		answer := tcp.ResetFor
		if e.listening {
			answer = tcp.ResetFromListen
		}
		if answer(seg, &reply) {
			e.transmit(now, &reply)
		}
		return
	}
	e.retire()
	e.Syn = new(tcp.SynRecv)
	e.Syn.Init(e.Config, now, seg, p)
	if !e.Manual {
		e.Open(now)
	}
}

func (e *End) synInput(now sched.Time, seg *tcp.Segment) {
	var reply tcp.Segment
	verdict := e.Syn.Input(now, seg, &reply)
	if verdict == tcp.SynAccept {
		e.newConn()
		events := e.Conn.Accept(e.Config, now, e.Syn, seg)
		e.Syn = nil
		e.note(now, events)
		e.Flush(now)
		return
	}
	e.synVerdict(now, verdict, &reply)
}

func (e *End) synVerdict(now sched.Time, verdict tcp.SynVerdict, reply *tcp.Segment) {
	if verdict == tcp.SynReply || verdict == tcp.SynReset {
		e.transmit(now, reply)
	}
	if verdict == tcp.SynDrop || verdict == tcp.SynReset {
		e.Syn = nil
	}
}

func (e *End) timeWaitInput(now sched.Time, seg *tcp.Segment) {
	var reply tcp.Segment
	switch e.TimeWait.Input(now, seg, &reply) {
	case tcp.TimeWaitReply:
		e.transmit(now, &reply)
	case tcp.TimeWaitReopen:
		p := e.Params
		p.ISS = e.TimeWait.NextISS()
		e.TimeWait = nil
		e.listenInput(now, seg, p)
	case tcp.TimeWaitDrop:
		e.TimeWait = nil
	}
}

// note takes the events of a call.
func (e *End) note(now sched.Time, events tcp.Events) {
	e.Events |= events
	if events&tcp.TimeWaitNow != 0 {
		record := tcp.NewTimeWait(now, e.Conn)
		e.TimeWait, e.gone = &record, true
	}
	if events&tcp.Done != 0 {
		e.gone = true
	}
}

// Flush sends all that may be sent.
func (e *End) Flush(now sched.Time) {
	if e.Conn == nil {
		return
	}
	for {
		var seg tcp.Segment
		if !e.Conn.Output(now, &seg) {
			return
		}
		e.transmit(now, &seg)
	}
}

// Deadline is the earliest instant for which something waits.
func (e *End) Deadline() sched.Time {
	at := sched.Never
	if e.Syn != nil {
		at = min(at, e.Syn.Deadline())
	}
	if e.TimeWait != nil {
		at = min(at, e.TimeWait.Deadline())
	}
	if e.Conn != nil {
		at = min(at, e.Conn.Deadline())
	}
	return at
}

// Expire runs what is due.
func (e *End) Expire(now sched.Time) {
	if e.Syn != nil && e.Syn.Deadline() <= now {
		var reply tcp.Segment
		e.synVerdict(now, e.Syn.Expire(now, &reply), &reply)
	}
	if e.TimeWait != nil && e.TimeWait.Deadline() <= now {
		e.TimeWait = nil
	}
	if e.Conn != nil && e.Conn.Deadline() <= now {
		e.note(now, e.Conn.Expire(now))
		e.Flush(now)
	}
}

// Write queues up to n bytes of the stream, as many as there is space for, and returns how many.
func (e *End) Write(now sched.Time, n int) (int, error) {
	n = min(n, e.Conn.SendSpace())
	b := make([]byte, n)
	for i := range b {
		b[i] = pattern(e.Name, e.written+int64(i))
	}
	e.writer.SetPool(e.Config.Buffers)
	e.writer.Append(b)
	if err := e.Conn.Write(now, &e.writer); err != nil {
		e.writer.Release()
		return 0, err
	}
	e.written += int64(n)
	e.Flush(now)
	return n, nil
}

// Read takes up to n bytes and compares them with the stream that the end named peer sends. io.EOF is the end.
func (e *End) Read(now sched.Time, n int, peer string) (int, error) {
	var b buffer.Buffer
	defer b.Release()
	got := e.Conn.Read(&b, n)
	if got != b.Size() {
		return got, fmt.Errorf("%s: Read says %d bytes and gives %d", e.Name, got, b.Size())
	}
	if got == 0 && e.Conn.EOF() {
		return 0, io.EOF
	}
	if err := checkPattern(&b, peer, e.read); err != nil {
		return got, fmt.Errorf("%s: %w", e.Name, err)
	}
	e.read += int64(got)
	if e.Conn.ReadDone(now, got) {
		e.Flush(now)
	}
	return got, nil
}

// checkPattern compares b with the stream of the end of that name, from its byte off on.
func checkPattern(b *buffer.Buffer, name string, off int64) (err error) {
	b.Apply(func(p []byte) {
		for _, c := range p {
			if want := pattern(name, off); c != want && err == nil {
				err = fmt.Errorf("byte %d of what %s sends is %#02x, want %#02x", off, name, c, want)
			}
			off++
		}
	})
	return err
}

// CloseWrite, CloseRead, Close and Abort are the calls of the application.
func (e *End) CloseWrite(now sched.Time) error {
	err := e.Conn.CloseWrite(now)
	e.Flush(now)
	return err
}

func (e *End) CloseRead(now sched.Time) {
	e.Conn.CloseRead(now)
	e.Flush(now)
}

func (e *End) Close(now sched.Time) {
	e.note(now, e.Conn.Close(now))
	e.Flush(now)
}

func (e *End) Abort(now sched.Time, reason error) {
	e.note(now, e.Conn.Abort(now, reason))
	e.Flush(now)
}

// Release ends whatever is left without sending.
func (e *End) Release(now sched.Time) {
	e.transmit = func(sched.Time, *tcp.Segment) {}
	e.retire()
	for _, c := range e.retired {
		c.Abort(now, nil)
		var seg tcp.Segment
		for c.Output(now, &seg) {
			seg.Payload.Release()
		}
	}
	e.retired, e.Syn, e.TimeWait = nil, nil, nil
	e.writer.Release()
}
