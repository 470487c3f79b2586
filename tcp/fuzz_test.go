package tcp

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/internal/siphash"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
)

// hostile is two connections and a middle that a fuzzer drives: it delivers, drops, repeats, reorders, changes and invents segments, lets
// time pass, and lets the applications do what they like.
type hostile struct {
	t      *testing.T
	in     []byte
	now    sched.Time
	pool   *buffer.Pool
	end    [2]hostileEnd
	forged bool // something was changed or invented: what arrives need not be what was sent
	mild   bool // nothing is
	steady bool // the applications do not end the connection

	cookies *CookieKeys // end 1 answers SYNs with cookies
	fast    bool        // end 0 opens with Fast Open, and end 1 takes that
}

type hostileEnd struct {
	cfg           *Config
	conn          *Conn
	syn           *SynRecv
	queue         []packet // to this end
	src           buffer.Buffer
	written, read int
}

// packet is a segment on its way, as bytes.
type packet struct {
	header  []byte
	payload []byte
	segs    int
}

func (h *hostile) byte() int {
	if len(h.in) == 0 {
		return 0
	}
	b := h.in[0]
	h.in = h.in[1:]
	return int(b)
}

func (h *hostile) word() uint32 {
	return uint32(h.byte())<<24 | uint32(h.byte())<<16 | uint32(h.byte())<<8 | uint32(h.byte())
}

// send puts a segment into the queue to end i.
func (h *hostile) send(i int, seg *Segment) {
	p := packet{header: make([]byte, seg.HeaderLen()), payload: append([]byte(nil), seg.Payload.Flatten()...), segs: seg.Segs}
	seg.PutHeader(p.header, 1, 2)
	seg.Payload.Release()
	if len(h.end[i].queue) < 64 {
		h.end[i].queue = append(h.end[i].queue, p)
	}
}

// check holds after every step.
func (h *hostile) check(i int) {
	c := h.end[i].conn
	if c == nil {
		return
	}
	if err := c.check(); err != nil {
		h.t.Fatalf("end %d: %v", i, err)
	}
}

func (h *hostile) flush(i int) {
	c := h.end[i].conn
	if c == nil {
		return
	}
	h.check(i)
	var seg Segment
	for n := 0; c.Output(h.now, &seg); n++ {
		if n > 10000 {
			h.t.Fatal("output without end")
		}
		most := c.mss()
		if seg.Flags&wire.SYN != 0 {
			most = int(c.ourMSS) // the peer's is what it was the last time
		}
		if seg.Payload.Size() > int(c.gsoMax) || seg.GSOSize > most || seg.GSOSize == 0 && seg.Payload.Size() > most {
			h.t.Fatalf("a segment of %d bytes, GSO size %d, MSS %d", seg.Payload.Size(), seg.GSOSize, most)
		}
		h.send(1-i, &seg)
		h.check(i)
	}
	if err := c.checkQuiet(); err != nil {
		h.t.Fatalf("end %d: %v", i, err)
	}
}

func (h *hostile) deliver(i int, p packet) {
	e := &h.end[i]
	view, err := wire.ParseTCP(p.header, len(p.header)+len(p.payload))
	if err != nil {
		return
	}
	var seg Segment
	ParseSegment(view, &seg)
	seg.Segs = p.segs
	seg.ECN = uint8(seg.Ack^seg.Seq>>2) & 3 // the way writes over all codepoints
	seg.Payload.SetPool(h.pool)
	seg.Payload.Append(p.payload)
	defer seg.Payload.Release()
	if e.conn != nil {
		e.conn.Input(h.now, &seg)
		h.flush(i)
		return
	}
	var reply Segment
	if e.syn == nil {
		h.listen(i, &seg)
		return
	}
	switch e.syn.Input(h.now, &seg, &reply) {
	case SynReply, SynReset:
		h.send(1-i, &reply)
	case SynAccept:
		e.conn = new(Conn)
		e.conn.Accept(e.cfg, h.now, e.syn, &seg)
		h.flush(i)
	}
}

// fuzzCookie is the Fast Open cookie that end 1 takes.
var fuzzCookie = []byte("cookie!!")

// listen is a segment to LISTEN.
func (h *hostile) listen(i int, seg *Segment) {
	e := &h.end[i]
	p := Params{ISS: 1<<32 - 100, MSS: 1000, GSOMax: 5000}
	var reply Segment
	if seg.Flags&(wire.SYN|wire.ACK|wire.RST) != wire.SYN {
		var r SynRecv
		if h.cookies != nil && h.cookies.Check(e.cfg, h.now, seg, p, cookieLocal, cookieRemote, &r) {
			e.conn = new(Conn)
			e.conn.Accept(e.cfg, h.now, &r, seg)
			h.flush(i)
		}
		return
	}
	if h.cookies != nil {
		h.cookies.SynAck(e.cfg, h.now, seg, p, cookieLocal, cookieRemote, &reply)
		h.send(1-i, &reply)
		return
	}
	r := new(SynRecv)
	r.Init(e.cfg, h.now, seg, p)
	if o := &seg.Options; h.fast && o.HasFastOpen && string(o.FastOpen) == string(fuzzCookie) {
		e.conn = new(Conn)
		e.conn.AcceptFastOpen(e.cfg, h.now, r, seg, []byte("newcookie!")[:h.byte()%2*10])
		h.flush(i)
		return
	}
	e.syn = r
	r.Open(h.now, &reply)
	h.send(1-i, &reply)
}

// middle is a step of the network.
func (h *hostile) middle(i, what int) {
	q := &h.end[i].queue
	if len(*q) == 0 {
		return
	}
	k := h.byte() % len(*q)
	switch what {
	case 0, 1: // in order
		p := (*q)[0]
		*q = (*q)[1:]
		h.deliver(i, p)
	case 2: // out of order
		p := (*q)[k]
		*q = append((*q)[:k:k], (*q)[k+1:]...)
		h.deliver(i, p)
	case 3: // lost
		*q = append((*q)[:k:k], (*q)[k+1:]...)
	case 4: // again
		h.deliver(i, (*q)[k])
	case 5: // changed
		p := (*q)[k]
		p.header = append([]byte(nil), p.header...)
		p.header[h.byte()%len(p.header)] ^= byte(1 + h.byte())
		h.forged = true
		h.deliver(i, p)
	}
}

// invent makes a segment near the window of end i.
func (h *hostile) invent(i int) {
	c := h.end[i].conn
	if c == nil {
		return
	}
	h.forged = true
	seg := Segment{Seq: c.rcvNxt + Seq(int16(h.word())), Ack: c.sndUna + Seq(int16(h.word())), Flags: wire.TCPFlags(h.word() & 0x1ff),
		Window: uint16(h.word())}
	o := &seg.Options
	o.TS = c.is(useTS) && h.byte()%8 != 0
	o.TSVal, o.TSEcr = c.tsRecent+uint32(int8(h.byte())), timestamp(h.now, c.tsOffset)-uint32(h.byte())
	o.NSACK = uint8(h.byte() % 4)
	for k := range o.SACK {
		o.SACK[k].Left = uint32(c.sndUna) + uint32(int16(h.word()))
		o.SACK[k].Right = o.SACK[k].Left + uint32(int16(h.word()))
	}
	if o.NSACK == 1 { // room enough
		o.AccECN = wire.AccECN{Kind: wire.TCPOptionAccECN0 + wire.TCPOptionKind(2*(o.TSVal&1)), Fields: uint8(o.TSVal >> 1 & 3), E0B: o.SACK[1].Left,
			CEB: o.SACK[2].Left, E1B: o.SACK[3].Left}
	}
	seg.Payload.Append(make([]byte, h.byte()*h.byte()%3000))
	p := packet{header: make([]byte, seg.HeaderLen()), payload: seg.Payload.Flatten(), segs: h.byte() % 4}
	seg.PutHeader(p.header, 1, 2)
	h.deliver(i, p)
}

func (h *hostile) pass(i int) {
	e := &h.end[i]
	at := h.now.Add(time.Duration(h.byte()) * time.Millisecond)
	if e.conn != nil && h.byte()%2 == 0 {
		if d := e.conn.Deadline(); d != sched.Never {
			at = max(h.now, d)
		}
	}
	h.now = at
	for i := range h.end {
		if c := h.end[i].conn; c != nil {
			c.Expire(h.now)
			h.flush(i)
			if d := c.Deadline(); d <= h.now {
				h.t.Fatalf("end %d: a deadline of %v ago after Expire", i, h.now.Sub(d))
			}
		}
	}
}

// application is a step of end i's.
func (h *hostile) application(i, what int) {
	e := &h.end[i]
	c := e.conn
	if c == nil {
		return
	}
	switch what {
	case 0:
		n := min(h.byte()*h.byte(), c.SendSpace())
		b := make([]byte, n)
		for k := range b {
			b[k] = byte((e.written + k) * 7 % 251)
		}
		e.src.Append(b)
		if c.Write(h.now, &e.src) == nil {
			e.written += n
		}
		e.src.Release()
	case 1:
		h.reads(i, h.byte()*h.byte())
	case 2:
		c.CloseWrite(h.now)
	case 3:
		if h.byte()%4 == 0 {
			c.Close(h.now)
		} else {
			c.SetNoDelay(h.byte()%2 == 0)
		}
	case 4:
		if h.byte()%4 == 0 {
			c.CloseRead(h.now)
		} else {
			c.SetKeepAlive(h.now, time.Duration(h.byte())*time.Second, time.Second, 3)
		}
	case 5:
		if h.byte()%8 == 0 {
			c.Abort(h.now, errors.New("aborted"))
		} else {
			c.SetBuffers(h.byte()*100, h.byte()*100)
		}
	case 6:
		c.SetMSS(h.now, h.byte()*h.byte())
	case 7:
		c.ICMPError(h.now, c.sndUna+Seq(h.byte()), errors.New("unreachable"), h.byte()%2 == 0)
		c.SetUserTimeout(time.Duration(h.byte()) * time.Second)
	}
	h.flush(i)
}

func (h *hostile) reads(i, n int) {
	e := &h.end[i]
	var dst buffer.Buffer
	n = e.conn.Read(&dst, n)
	for k, b := range dst.Flatten() {
		if want := byte((e.read + k) * 7 % 251); b != want && !h.forged {
			h.t.Fatalf("end %d: byte %d is %d, want %d", i, e.read+k, b, want)
		}
	}
	e.read += n
	if e.read > h.end[1-i].written && !h.forged {
		h.t.Fatalf("end %d has read %d bytes of %d", i, e.read, h.end[1-i].written)
	}
	dst.Release()
	e.conn.ReadDone(h.now, n)
	c := e.conn
	if c.EOF() && !h.forged && !c.is(readClosed) && c.state != Closed && e.read != h.end[1-i].written {
		h.t.Fatalf("end %d: EOF after %d bytes of %d", i, e.read, h.end[1-i].written)
	}
}

func (h *hostile) run() {
	kind := h.byte()
	h.pool = buffer.NewPool(buffer.Options{Check: true})
	for i := range h.end {
		e := &h.end[i]
		e.cfg = &Config{Buffers: h.pool, NoSACK: kind&1 != 0, NoTimestamps: kind&2 != 0, NoWindowScale: kind&4 != 0}
		e.cfg.ECN = [...]ECNMode{ECNDefault, ECNAsk, AccECNAsk, AccECNAccept}[kind>>6&3]
		e.cfg.ECNControl = kind&9 == 9
		if kind&8 != 0 {
			e.cfg.SendBuffer, e.cfg.ReceiveBuffer = 10000, 5000
		}
		e.src.SetPool(h.pool)
	}
	if kind&128 != 0 && kind&64 == 0 {
		h.cookies = NewCookieKeys(h.now, siphash.Key{K0: 1, K1: 2})
	}
	a := &h.end[0]
	a.conn = new(Conn)
	p := Params{ISS: 1<<32 - 2000, TSOffset: 1<<32 - 50, MSS: 1460, GSOMax: 20000}
	if h.fast = kind&64 != 0; h.fast {
		p.FastOpen = &FastOpen{Cookie: fuzzCookie, MSS: 1000, Wait: kind&128 != 0}
	}
	a.conn.Connect(a.cfg, h.now, p)
	if h.fast {
		h.application(0, 0) // data for the SYN
	}
	h.flush(0)
	if kind&16 != 0 { // a simultaneous open
		b := &h.end[1]
		b.conn = new(Conn)
		b.conn.Connect(b.cfg, h.now, Params{ISS: 5, MSS: 1000, GSOMax: 1000})
		h.flush(1)
	} else if kind&32 == 0 { // the handshake goes well
		h.middle(1, 0)
		h.middle(0, 0)
		h.middle(1, 0)
	}
	for len(h.in) > 0 {
		op := h.byte()
		i := op & 1
		switch op >>= 1; {
		case h.mild && (op%16 == 5 || op%16 == 15):
			h.middle(i, 0)
		case h.steady && op%16 >= 8 && op%16 <= 11:
			h.application(i, op%2)
		case op%16 < 6:
			h.middle(i, op%16)
		case op%16 < 14:
			h.application(i, op%16-6)
		case op%16 == 14:
			h.pass(i)
		default:
			h.invent(i)
		}
	}
	for i := range h.end {
		if c := h.end[i].conn; c != nil {
			c.Abort(h.now, nil)
			h.flush(i)
			if c.snd != nil || c.rcv != nil {
				h.t.Fatal("an aborted connection holds memory")
			}
		}
		h.end[i].src.Release()
	}
	if err := h.pool.Leaked(); err != nil {
		h.t.Fatal(err)
	}
}

// FuzzConn: whatever the middle does, nothing panics, the connections stay consistent, whoever has something to deliver has something to
// wait for, all memory comes back, and unless segments were forged, what is read is what was written.
func FuzzConn(f *testing.F) {
	f.Add([]byte("\x00\x0c\x40\x40\x00\x00\x00\x00\x01\x00\x00\x00\x0e\x40\x40"))
	f.Add([]byte("\x08\x0c\xff\x40\x04\x00\x06\x02\x1c\x00\x00\x1c\x00\x00\x0d\x20\x20\x00\x00\x01\x00\x10\x11\x00\x00"))
	f.Add([]byte("\x10\x00\x00\x01\x00\x00\x00\x01\x00\x0c\x40\x40\x00\x00\x1e\x01\x02\x03\x04"))
	f.Add([]byte("\x40\x20\x20\x00\x00\x00\x01\x00\x0c\x40\x40\x00\x00\x1e\x01\x00\x00\x01\x00"))     // Fast Open
	f.Add([]byte("\xe0\x20\x20\x0c\x40\x40\x00\x00\x1e\x01\x00\x00\x01\x00\x00\x00\x01\x00\x0c\x10")) // with TCP_FASTOPEN_CONNECT
	f.Add([]byte("\x80\x00\x00\x01\x00\x00\x00\x0c\x40\x40\x00\x00\x1e\x01\x00\x00\x01\x00"))         // SYN cookies
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 4000 {
			return
		}
		h := hostile{t: t, in: in, now: sched.Time(time.Second)}
		h.run()
	})
}

// The same with a fixed set of random inputs, most of them a handshake that goes well and a middle that forges little.
func TestHostileMiddle(t *testing.T) {
	for seed := range uint64(Seeds(16, 64)) {
		r := rand.New(rand.NewPCG(seed, 1))
		in := make([]byte, 1000+r.IntN(3000))
		for k := range in {
			in[k] = byte(r.Uint32())
		}
		in[0] &^= 32
		h := hostile{t: t, in: in, now: sched.Time(time.Second), mild: seed%4 != 0, steady: seed%8 < 6}
		h.run()
		if t.Failed() {
			t.Fatal("seed", seed)
		}
	}
}
