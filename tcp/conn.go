package tcp

import (
	"syscall"
	"time"

	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp/cc"
)

// Conn is one connection. It is at most 320 bytes (a test): congestion state and the state of data under way are objects of their own,
// and the latter are held only while there is any. The zero Conn is CLOSED and becomes a connection by Connect or Accept, once; it must
// not be copied then.
// Every method that takes now uses max(now, the latest seen).
type Conn struct {
	cfg  *Config
	cc   cc.Control
	snd  *flight   // data queued or in flight; nil: none
	rcv  *inflow   // data received and not read; nil: none
	hist *history  // of losses; nil: there were none
	ecn  *ecnState // nil: not asked for, and not agreed on
	rare *rare     // nil: nothing of what is in it was asked for

	now      sched.Time // the latest instant seen
	ackAt    sched.Time // the delayed ACK is due; Never: none
	aliveAt  sched.Time // keepalive, or the end of an orphan's FIN-WAIT-2; Never: neither
	lastRcv  sched.Time // a segment in the window came
	lastSent sched.Time // data was sent

	rtt  rttEstimate
	rate rateMemory

	bytesSent, bytesAcked, bytesReceived uint64
	segsSent, segsReceived               uint32
	dataSent, dataReceived               uint32 // of these, with data
	busy                                 uint32 // µs in which data was queued or in flight: see keepLedger

	sendLimit, recvLimit int32 // bytes of chunk capacity, at most; a connection starts with less
	gsoMax               int32
	keepIdle, keepEvery  uint32 // ms; keepIdle 0: keepalive is off
	userTimeout          uint32 // ms; 0: none

	// Send sequence space (RFC 9293 §3.3.1). sndNxt is beyond all that was ever sent: retransmission is the scoreboard's.
	iss, sndUna, sndNxt Seq
	sndWL1, sndWL2      Seq
	sndWnd, maxSndWnd   uint32 // bytes, and the largest ever
	rstSeq              Seq    // SEG.ACK of the segment that a RST answers

	// Receive sequence space. The window offered ends at rcvAdv, which never goes back.
	rcvNxt, rcvAdv       Seq
	rcvFin               Seq    // where the peer's FIN is, with finAhead
	lastAckSent          Seq    // RCV.NXT in the last segment sent (RFC 7323 §4.3)
	rcvWnd               uint32 // the window as tuned, in bytes: what we would offer with nothing unread
	tuneMark, tuneRead   Seq    // the round of window tuning ends when tuneMark is received; all before tuneRead was read when it began
	tsOffset, tsRecent   uint32
	lastData, tuneAt     uint32 // ms: when data came, and the round of window tuning began
	rcvRTT, rcvRTTLow    uint16 // ms: the round trip as the receiver sees it (0: not known), and the least sample of this round
	sendShare, recvShare share  // of the stack's memory
	flags                connFlags
	ato                  uint16 // ms: how soon the peer is likely to send more, which an ACK waits for; 0: nothing came yet
	peerMSS, pathMSS     uint16 // what the peer announced; what the path takes, at most ourMSS: with a search, what that says
	carried              uint16 // the largest segment of which it is known that the path has taken it, at most pathMSS
	ourMSS, rcvMSS       uint16 // what we announced; the largest payload of a segment seen, to tell full ones
	mode                 dataMode
	events               Events // of the call that is running
	sndWScale, rcvWScale uint8
	rcvPacking           uint8 // payload per chunk capacity of what is received, in 1/255
	quickAcks            uint8 // how many more ACKs are not delayed
	backoff              uint8 // doublings of the RTO when the last flight ended without a sample
	keepCount, keepSent  uint8 // keepalive probes: how many to send, how many were sent without an answer
	authSpace            uint8 // bytes of options that signing takes, as Params
	synRetries           uint8 // 0: as Config says
	state                State
}

// connFlags are the yes-or-no parts of a Conn.
type connFlags uint32

const (
	useTS       connFlags = 1 << iota // timestamps were agreed on
	useSACK                           // SACK was agreed on
	useWScale                         // window scaling was agreed on
	noDelay                           // no Nagle
	synOut                            // our SYN is not acknowledged
	finQueued                         // a FIN follows the send queue
	finSent                           // that FIN was sent, at least once
	finTaken                          // the peer's FIN was received in order; rcvNxt is behind it
	finAhead                          // the peer's FIN was received, at rcvFin, but not all before it
	readClosed                        // what is received is thrown away
	orphan                            // Close was called
	sendFull                          // SendSpace is 0 until a third of the limit is free
	synLost                           // the SYN or SYN-ACK timed out: RFC 6298 §5.7
	pushed                            // data with PSH came that is not acknowledged
	asked                             // data with PSH came since we last sent data
	askedAgain                        // more than once
	replies                           // the application last has answered a single such segment: see peerWaits
	passive                           // in SYN-RECEIVED: by a SYN with a Fast Open cookie
	fastOpened                        // data came or went with the SYN
	mayPace                           // congestion control, Config or application ask for pacing
	rateLimited                       // the sample in rate was application-limited
	overIPv6                          // Params.IPv6

	// What Output has to send, beside data.
	ackNow        // an ACK, at once
	ackDue        // an ACK, which is to be of all segments that came together
	pendSYN       // SYN, in SYN-RECEIVED SYN-ACK
	pendRST       // RST that ends the connection
	pendRSTReply  // RST <SEQ=rstSeq>, in answer to a segment
	pendKeepAlive // keepalive probe
	pendProbe     // zero-window probe

	pending = ackNow | ackDue | pendSYN | pendRST | pendRSTReply | pendKeepAlive | pendProbe
)

func (c *Conn) is(f connFlags) bool { return c.flags&f != 0 }
func (c *Conn) set(f connFlags)     { c.flags |= f }
func (c *Conn) clear(f connFlags)   { c.flags &^= f }

// begin makes c a connection that knows its own side only.
func (c *Conn) begin(cfg *Config, now sched.Time, p Params) {
	mss := p.Options.clampMSS(announcedMSS(p.MSS))
	buffer := p.Options.receiveBuffer(cfg)
	*c = Conn{
		cfg: cfg, now: now, lastRcv: now, lastSent: now, tuneAt: clockMillis(now), ackAt: sched.Never, aliveAt: sched.Never,
		iss: p.ISS, sndUna: p.ISS, sndNxt: p.ISS,
		tsOffset: p.TSOffset,
		ourMSS:   mss, pathMSS: mss, peerMSS: p.peerMSS(), rcvMSS: min(mss, defaultMSS),
		gsoMax:    int32(min(max(p.GSOMax, int(mss)), 1<<20)),
		sendLimit: int32(p.Options.sendBuffer(cfg)), recvLimit: int32(buffer),
		rcvWnd: uint32(min(max(int(initialWindow(buffer)), 4*int(mss)), buffer)), rcvPacking: 255,
		quickAcks: initialQuickAcks, userTimeout: millis(cfg.UserTimeout),
		sendShare: noShare, recvShare: shareOf(p.Share),
		flags: noDelay, authSpace: uint8(p.AuthSpace),
	}
	if p.IPv6 {
		c.set(overIPv6)
	}
	p.Options.apply(c)
	c.choosePacing()
}

// Connect begins an active open: CLOSED to SYN-SENT. Output then gives the SYN.
func (c *Conn) Connect(cfg *Config, now sched.Time, p Params) {
	c.begin(cfg, now, p)
	c.state = SynSent
	c.startFastOpen(p.FastOpen)
	c.flight()
	c.set(synOut | pendSYN)
	c.beginECN(p.Options)
}

// Accept takes over a handshake that a SynRecv record has finished, with the segment that finished it (which may carry data and FIN).
func (c *Conn) Accept(cfg *Config, now sched.Time, r *SynRecv, seg *Segment) Events {
	h := &r.handshake
	c.begin(cfg, now, Params{ISS: h.iss, TSOffset: h.tsOffset, MSS: int(h.ourMSS), GSOMax: int(h.gsoMax), AuthSpace: int(h.authSpace), IPv6: h.ipv6, Options: r.options})
	c.adopt(h)
	c.rcvNxt = h.irs + 1
	c.rcvAdv = c.rcvNxt + Seq(h.window)
	c.lastAckSent = c.rcvNxt
	c.sndUna, c.sndNxt = h.iss+1, h.iss+1
	c.sndWL1, c.sndWL2 = h.irs, h.iss
	switch {
	case h.rtt > 0:
		c.rtt.sample(time.Duration(h.rtt)*time.Microsecond, 1)
	case h.untimed:
	case !h.retransmitted:
		c.rtt.sample(c.now.Sub(h.sentAt), 1)
	case c.is(useTS):
		c.sampleEcho(&seg.Options, h.sentAt)
	}
	if h.synLost {
		c.set(synLost)
		if r.retries > 1 {
			c.cc.SynLost()
		}
	}
	c.acceptECN(h, seg)
	c.establish()
	c.segsReceived += uint32(max(seg.Segs, 1))
	c.arrive(seg)
	return c.takeEvents()
}

// adopt takes over what a handshake has agreed on.
func (c *Conn) adopt(h *handshake) {
	c.peerMSS, c.sndWScale, c.rcvWScale, c.tsRecent = h.sndMSS, h.sndWScale, h.rcvWScale, h.tsRecent
	for _, agreed := range [...]struct {
		yes  bool
		flag connFlags
	}{{h.ts, useTS}, {h.sack, useSACK}, {h.wscale, useWScale}} {
		if agreed.yes {
			c.set(agreed.flag)
		}
	}
	c.fitWindow()
	c.startSearch()
	c.cc.SetMSS(c.payloadMSS())
}

// establish enters ESTABLISHED, or the state behind it if CloseWrite was called before, or the peer's FIN has come.
func (c *Conn) establish() {
	switch {
	case c.is(finTaken) && c.is(finQueued): // the FIN came with a SYN
		c.state = LastAck
	case c.is(finTaken):
		c.state = CloseWait
	case c.is(finQueued):
		c.state = FinWait1
	default:
		c.state = Established
	}
	c.events |= Connected
	c.backoff = 0
	if c.snd != nil {
		c.snd.backoff = 0 // that of the SYN; data begins with the RTO of RFC 6298 §5.7, also such as went with the SYN
		c.hastenTimer(c.snd)
	}
	c.startRound()
	c.startKeepAlive()
}

// tick is the clock of the connection: it never goes back.
func (c *Conn) tick(now sched.Time) { c.now = max(c.now, now) }

func (c *Conn) takeEvents() Events {
	if t := c.tracer(); t != nil {
		t.look(c)
	}
	e := c.events
	c.events = 0
	return e
}

// fail ends the connection by an error.
func (c *Conn) fail(err error) {
	c.noteReason(err)
	c.events |= Failed
	c.finish()
}

// timedOut ends the connection because the peer does not answer: with the error that ICMP gave, if it did (RFC 1122 §4.2.3.9).
func (c *Conn) timedOut() {
	err := c.reason()
	if err == nil {
		err = syscall.ETIMEDOUT
	}
	c.fail(err)
}

// reason is why the connection failed; before that, the last ICMP error, to be the reason if it times out.
func (c *Conn) reason() error {
	if c.rare == nil {
		return nil
	}
	return c.rare.err
}

// noteReason sets reason.
func (c *Conn) noteReason(err error) {
	if err != nil || c.rare != nil {
		c.seldom().err = err
	}
}

// finish enters CLOSED. What has been received stays readable.
func (c *Conn) finish() {
	c.state = Closed
	c.events |= Done
	c.quiet()
	c.clear(ackNow | ackDue | pendSYN | pendKeepAlive | pendProbe)
}

// quiet stops the timers and gives back what only a connection with segments to come needs.
func (c *Conn) quiet() {
	c.ackAt, c.aliveAt = sched.Never, sched.Never
	c.dropFlight()
	if c.rcv != nil {
		c.dropIslands()
		c.dropInflow()
	}
}

// enterTimeWait goes to TIME-WAIT, which the owner keeps in a TimeWait.
func (c *Conn) enterTimeWait() {
	c.state = TimeWaiting
	c.selectWindow() // for good: the record goes on offering this one
	c.events |= TimeWaitNow
	c.quiet()
}

// State is the state of RFC 9293 §3.3.2.
func (c *Conn) State() State { return c.state }

// Err is why the connection has failed: a portable syscall.E… as ECONNRESET, ECONNREFUSED or ETIMEDOUT, an error given to ICMPError, or
// what Abort was given. Nil as long as it has not.
func (c *Conn) Err() error {
	if c.state != Closed {
		return nil
	}
	return c.reason()
}

// SetCongestion changes the congestion control, which starts from its initial window. The error names those that exist.
func (c *Conn) SetCongestion(name string) error {
	control, err := cc.New(name, c.payloadMSS())
	if err != nil {
		return err
	}
	c.cc = control
	c.choosePacing()
	if c.snd != nil {
		c.snd.board.rate.control = control
	}
	return nil
}

// clockMillis is an instant in milliseconds, which wrap.
func clockMillis(now sched.Time) uint32 { return uint32(uint64(now) / uint64(time.Millisecond)) }

// since is the time since an instant that clockMillis gave.
func (c *Conn) since(ms uint32) time.Duration {
	return time.Duration(clockMillis(c.now)-ms) * time.Millisecond
}

// millis is d in milliseconds, rounded up, as far as they fit.
func millis(d time.Duration) uint32 {
	if d <= 0 {
		return 0
	}
	return uint32(min((d-1)/time.Millisecond+1, 1<<32-1))
}
