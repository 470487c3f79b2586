package tcp

import (
	"syscall"

	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
)

// TCP Fast Open (RFC 7413). An active open that knows a cookie of the server puts data on its SYN; the server gives it to the application
// before the handshake is complete. The data stays in the send queue, and SND.NXT behind the SYN, as if it had not been sent: what the
// SYN-ACK acknowledges of it is taken off the queue, and the rest goes out as new data does. So a server that did not want it, a middlebox
// that dropped it, and a SYN that was sent again without it need nothing more.
//
// A passive open with a good cookie is a Conn in SYN-RECEIVED, which may send data behind its SYN-ACK.

// FastOpen is what an active open knows and does.
type FastOpen struct {
	Cookie []byte // 4 to 16 bytes, or none: the SYN asks for one. It is copied
	MSS    uint16 // that the server announced with it; 0: not known
	Wait   bool   // with a cookie, the SYN waits for the first data (TCP_FASTOPEN_CONNECT)
}

// FastOpenResult is what has become of it.
type FastOpenResult struct {
	Cookie  []byte // that the server sent; none: none
	MSS     uint16 // that the server announced
	Taken   bool   // data on the SYN was acknowledged
	Dropped bool   // the SYN timed out, and what was answered was the one without: perhaps something on the way drops the option
}

// maxCookie is the most bytes that a cookie has (RFC 7413 §4.1.1).
const maxCookie = 16

// fastOpen is the state of a Conn that opens in this way, until its owner has taken the result.
type fastOpen struct {
	cookie   [maxCookie]byte // to send; then the one received
	size     uint8           // of cookie
	received bool            // cookie came from the server
	wait     bool            // the SYN waits for data
	gone     bool            // the SYN with the option was sent: those that follow are plain (RFC 7413 §4.1.3)
	taken    bool
	dropped  bool
	passive  bool   // cookie is for the SYN-ACK
	mss      uint16 // of the server, as remembered
	sent     uint16 // bytes of data on the SYN
}

// startFastOpen makes the SYN of c one with the option.
func (c *Conn) startFastOpen(p *FastOpen) {
	if p == nil || len(p.Cookie) > maxCookie {
		return
	}
	f := &fastOpen{size: uint8(len(p.Cookie)), mss: p.MSS, wait: p.Wait && len(p.Cookie) > 0}
	copy(f.cookie[:], p.Cookie)
	if f.mss == 0 {
		f.mss = defaultMSS
	}
	c.seldom().fast = f
}

// fast is Fast Open under way; nil: none.
func (c *Conn) fast() *fastOpen {
	if c.rare == nil {
		return nil
	}
	return c.rare.fast
}

// Waits reports whether the SYN waits for data, which has not come yet.
func (c *Conn) Waits() bool { return c.state == SynSent && c.fast() != nil && c.rare.fast.wait }

// Start ends the waiting of the SYN for data: Output gives it without.
func (c *Conn) Start() {
	if f := c.fast(); f != nil {
		f.wait = false
	}
}

// holdSYN reports whether the SYN still waits for the first data, or for the end of it.
func (c *Conn) holdSYN() bool {
	if !c.Waits() {
		return false
	}
	f := c.fast()
	f.wait = c.SendQueue() == 0 && !c.is(finQueued)
	return f.wait
}

// fastSYN puts the option on the SYN, and with a cookie data, if there is room among the other options. Only the first SYN has it.
func (c *Conn) fastSYN(seg *Segment) {
	f := c.fast()
	if f == nil || f.gone {
		return
	}
	f.gone = true
	if !putCookie(&seg.Options, f.cookie[:f.size]) || f.size == 0 {
		return
	}
	// As on Linux, all room that options can take is left free: a middlebox may add some.
	n := min(c.SendQueue(), max(int(min(f.mss, c.pathMSS))-wire.TCPMaxOptionsLen, 0))
	if n == 0 {
		return
	}
	c.snd.queue.ShareTo(&seg.Payload, 0, n)
	f.sent = uint16(n)
	c.bytesSent += uint64(n)
}

// putCookie adds a Fast Open option to o; false if it has no room.
func putCookie(o *wire.TCPOptions, cookie []byte) bool {
	before := o.Len()
	o.HasFastOpen, o.FastOpen = true, cookie
	if o.Len() == before {
		o.HasFastOpen, o.FastOpen = false, nil
		return false
	}
	return true
}

// acceptableSYNACK: SEG.ACK is acceptable in SYN-SENT. It may acknowledge data that was on the SYN, also if a plain SYN followed that.
func (c *Conn) acceptableSYNACK(ack Seq) bool {
	most := 0
	if f := c.fast(); f != nil {
		most = int(f.sent)
	}
	n := ack.minus(c.iss + 1)
	return c.sndNxt != c.iss && n >= 0 && n <= most
}

// takeSYNACK notes what the server's SYN-ACK says about Fast Open, and splits its acknowledgment: it returns how many bytes of data it
// takes, and seg acknowledges the SYN alone then.
func (c *Conn) takeSYNACK(seg *Segment) (data int) {
	f := c.fast()
	if f == nil {
		return 0
	}
	data = seg.Ack.minus(c.iss + 1)
	seg.Ack = c.iss + 1
	f.taken = data > 0
	f.mss = 0
	if seg.Options.HasMSS {
		f.mss = seg.Options.MSS
	}
	f.received = seg.Options.HasFastOpen && len(seg.Options.FastOpen) > 0
	if f.received {
		f.size = uint8(copy(f.cookie[:], seg.Options.FastOpen))
	}
	f.dropped = c.is(synLost) && !f.taken && !f.received
	return data
}

// hideData: the peer of a simultaneous open may have taken the data of our SYN. It is sent again all the same, as what was not sent.
func (c *Conn) hideData(seg *Segment) {
	if c.fast() != nil && !c.is(passive) && c.acceptableSYNACK(seg.Ack) {
		seg.Ack = c.iss + 1
	}
}

// takeData takes the n bytes off the queue that came to the server on the SYN. Nothing else is in flight.
func (c *Conn) takeData(n int) {
	if n == 0 {
		return
	}
	c.set(fastOpened)
	f := c.snd
	f.queue.TrimFront(n)
	c.bytesAcked += uint64(n)
	c.sndUna += Seq(n)
	c.sndNxt, c.sndWL2 = c.sndUna, c.sndUna
	f.board.reset(c.sndUna)
	f.point, f.roundEnd, f.smallEnd = c.sndUna-1, c.sndUna, c.sndUna
	c.writable()
	if f.queue.Size() == 0 && !c.finPending() {
		c.dropFlight()
	}
}

// FastOpenResult gives the result of an active open with Fast Open, once, when the handshake is complete.
func (c *Conn) FastOpenResult() (r FastOpenResult, ok bool) {
	f := c.fast()
	if f == nil || f.passive || !c.state.synchronized() {
		return r, false
	}
	c.rare.fast = nil
	r = FastOpenResult{MSS: f.mss, Taken: f.taken, Dropped: f.dropped}
	if f.received {
		r.Cookie = f.cookie[:f.size]
	}
	return r, true
}

// FastOpenedByUs reports whether the server took the data of our SYN: what a client learns from. What strangers open here tells it nothing.
func (c *Conn) FastOpenedByUs() bool { return c.is(fastOpened) && !c.is(passive) }

// noteCutOff: a middlebox that does not know Fast Open may drop all that follows it.
func (c *Conn) noteCutOff(f *flight) {
	if f.expiries == fastPatience && c.is(fastOpened) && !c.is(passive) && c.bytesReceived == 0 {
		c.events |= FastOpenCutOff
	}
}

// AcceptFastOpen makes c a connection in SYN-RECEIVED of a record that was not opened and of its SYN, which had a good cookie: its data
// can be read at once (RFC 7413 §4.2.2). cookie is a new one for the client; none: the one that it has is good.
func (c *Conn) AcceptFastOpen(cfg *Config, now sched.Time, r *SynRecv, syn *Segment, cookie []byte) Events {
	h := &r.handshake
	c.begin(cfg, now, Params{ISS: h.iss, TSOffset: h.tsOffset, MSS: int(h.ourMSS), GSOMax: int(h.gsoMax), Options: r.options})
	c.adopt(h)
	c.state = SynReceived
	c.rcvNxt = h.irs + 1
	c.rcvAdv = c.rcvNxt + Seq(h.window)
	c.lastAckSent = c.rcvNxt
	c.sndWL1, c.sndWL2 = h.irs, h.iss
	c.sndWnd, c.maxSndWnd = uint32(syn.Window), uint32(syn.Window)
	c.flight()
	c.set(synOut | passive | pendSYN)
	if h.ecn.feedback != ECNNone {
		c.respondECN(h.ecn)
	}
	if len(cookie) > 0 {
		f := &fastOpen{passive: true}
		f.size = uint8(copy(f.cookie[:], cookie))
		c.seldom().fast = f
	}
	c.segsReceived++
	if syn.Payload.Size() > 0 {
		c.set(fastOpened)
	}
	syn.Flags &^= wire.SYN
	syn.Seq++
	c.takeContents(syn)
	return c.takeEvents()
}

// offerCookie puts the new cookie on the SYN-ACK of a passive open: on the first, for a middlebox may drop SYN-ACKs that have the option.
func (c *Conn) offerCookie(o *wire.TCPOptions) {
	if f := c.fast(); f != nil && f.passive {
		putCookie(o, f.cookie[:f.size])
		c.rare.fast = nil
	}
}

// repeatedSYN answers the SYN of a passive open that has come again: the SYN-ACK was lost. True if seg is that.
func (c *Conn) repeatedSYN(seg *Segment) bool {
	if c.state != SynReceived || !c.is(passive) || seg.Flags&(wire.SYN|wire.ACK|wire.RST) != wire.SYN || seg.Seq != c.sndWL1 {
		return false
	}
	if e := c.ecn; e != nil && !e.repeated(seg) {
		c.fail(syscall.ECONNRESET)
		c.set(pendRST)
		return true
	}
	if c.mayChallenge() {
		c.set(pendSYN)
	}
	return true
}
