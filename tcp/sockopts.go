package tcp

import (
	"math/bits"
	"time"

	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp/cc"
)

// Options are what a socket asks of one connection before it begins: what shows in the SYN or SYN-ACK has to be known then. The zero value,
// and a nil pointer, mean what Config says. Immutable once in use: all connections of a listener share them.
type Options struct {
	// SendBuffer and ReceiveBuffer limit the queues, in bytes of chunk capacity; 0: as Config says. ReceiveBuffer decides the window that
	// the SYN offers, and its scale.
	SendBuffer, ReceiveBuffer int
	// MSS is TCP_MAXSEG: neither announced nor sent is more than this; 0: what the path takes. Less than minUserMSS counts as that.
	MSS int
	// Congestion is one of cc.Names; empty: as Config says.
	Congestion string
	// MaxPacingRate is SO_MAX_PACING_RATE, in bytes per second; 0: no limit.
	MaxPacingRate int64
	// NotSentLowat is TCP_NOTSENT_LOWAT, in bytes; 0: as Config says.
	NotSentLowat int
	// Nagle gathers small writes while something is unacknowledged.
	Nagle bool
	// UserTimeout is as Config's; 0: as Config says.
	UserTimeout time.Duration
	// KeepAlive probes the peer of a quiet connection.
	KeepAlive KeepAlive
	// ECN is what kind of congestion notification to ask for and to take.
	ECN ECNMode
	// SynRetries is how often the SYN is sent again (TCP_SYNCNT); 0: as Config says.
	SynRetries int
	// FinWait2 is for how long an orphan waits for the peer's FIN (TCP_LINGER2); 0: as Config says, negative: not at all, it resets.
	FinWait2 time.Duration
	// DeferAccept is for how long a passive open waits for data (TCP_DEFER_ACCEPT): until then the ACK of the SYN-ACK alone makes no
	// connection.
	DeferAccept time.Duration
}

// KeepAlive is when to probe the peer of a quiet connection; see Conn.SetKeepAlive.
type KeepAlive struct {
	Idle, Interval time.Duration // Idle 0: never
	Count          int
}

// minUserMSS is the least that TCP_MAXSEG takes, as on Linux: with all options a segment then still has room for data.
const minUserMSS = 88

// clampMSS is the MSS that our SYN announces where the path takes mss.
func (o *Options) clampMSS(mss uint16) uint16 {
	if o != nil && o.MSS > 0 {
		return uint16(min(int(mss), max(o.MSS, minUserMSS)))
	}
	return mss
}

// receiveBuffer is the limit of the receive queue.
func (o *Options) receiveBuffer(cfg *Config) int {
	n := cfg.receiveBuffer()
	if o != nil && o.ReceiveBuffer > 0 {
		n = o.ReceiveBuffer
	}
	return min(n, maxBufferLimit)
}

// sendBuffer is the limit of the send queue.
func (o *Options) sendBuffer(cfg *Config) int {
	n := cfg.sendBuffer()
	if o != nil && o.SendBuffer > 0 {
		n = o.SendBuffer
	}
	return min(n, maxBufferLimit)
}

// windowScale is the shift that lets a 16-bit field express all of a receive buffer.
func windowScale(buffer int) uint8 {
	return uint8(min(max(bits.Len(uint(buffer))-16, 0), maxWScale))
}

// initialWindow is the window that SYN and SYN-ACK offer, in bytes, never scaled (RFC 7323 §2.2).
func initialWindow(buffer int) uint16 { return uint16(min(buffer, 65535)) }

// control makes the congestion control asked for; the configured one if its name is not known (whoever fills Options checks it).
func (o *Options) control(cfg *Config, mss int) cc.Control {
	if o != nil && o.Congestion != "" {
		if control, err := cc.New(o.Congestion, mss); err == nil {
			return control
		}
	}
	return cfg.control(mss)
}

// apply sets what does not show in the SYN.
func (o *Options) apply(c *Conn) {
	c.cc = o.control(c.cfg, int(c.ourMSS))
	if o == nil {
		return
	}
	c.SetMaxPacingRate(o.MaxPacingRate)
	if o.Nagle {
		c.clear(noDelay)
	}
	if o.UserTimeout > 0 {
		c.userTimeout = millis(o.UserTimeout)
	}
	if o.NotSentLowat > 0 {
		c.SetNotSentLowat(o.NotSentLowat)
	}
	c.SetSynRetries(o.SynRetries)
	if o.FinWait2 != 0 {
		c.SetFinWait2(o.FinWait2)
	}
	if k := o.KeepAlive; k.Idle > 0 {
		c.setKeepAlive(k) // its timer starts when the connection is established
	}
}

// Configure sets the options of a record that was not opened yet, in place of those of Params: a request handler decides late.
func (r *SynRecv) Configure(cfg *Config, o *Options) {
	r.options = o
	r.ourMSS = o.clampMSS(r.ourMSS)
	buffer := o.receiveBuffer(cfg)
	r.window = initialWindow(min(buffer, r.share.bytes()))
	if r.wscale {
		r.rcvWScale = windowScale(buffer)
	}
	r.ecn.agree(cfg, o.ecn(cfg))
}

// SetNoDelay: on (the default, as in Go's net), small segments are sent at once; off, Nagle's algorithm holds them back while another
// small one is not acknowledged.
func (c *Conn) SetNoDelay(on bool) {
	c.clear(noDelay)
	if on {
		c.set(noDelay)
	}
}

// SetUserTimeout sets for how long data may stay unacknowledged, or the peer's window closed, before the connection fails with
// ETIMEDOUT (RFC 9293 §3.9.1, RFC 5482); 0: the limits of RFC 1122.
func (c *Conn) SetUserTimeout(d time.Duration) { c.userTimeout = millis(d) }

// SetAuthSpace changes Params.AuthSpace.
func (c *Conn) SetAuthSpace(now sched.Time, n int) {
	c.tick(now)
	if c.authSpace = uint8(n); c.state != Closed {
		c.cc.SetMSS(c.payloadMSS())
	}
}

// Timeouts is how often the retransmission timer has expired.
func (c *Conn) Timeouts() uint32 {
	if c.hist == nil {
		return 0
	}
	return c.hist.rtos
}

// SetSynRetries sets how often the SYN is sent again before the open fails (TCP_SYNCNT); 0: as Config says.
func (c *Conn) SetSynRetries(n int) { c.synRetries = uint8(min(max(n, 0), 127)) }

// SetFinWait2 sets for how long the connection waits, once it is closed, for the peer's FIN (TCP_LINGER2); 0: as Config says, negative:
// not at all, it resets.
func (c *Conn) SetFinWait2(d time.Duration) {
	c.seldom().finWait2 = int32(min(millis(d), 1<<31-1))
	if d < 0 {
		c.seldom().finWait2 = -1
	}
}

// SetMaxSegment is TCP_MAXSEG on a connection that is open: no segment sent from now on has more payload, options counted. What was
// announced to the peer stays as it is.
func (c *Conn) SetMaxSegment(now sched.Time, mss int) {
	c.tick(now)
	c.ourMSS = min(c.ourMSS, uint16(min(max(mss, minUserMSS), 65535)))
	c.SetMSS(now, int(c.routeMSS()))
}
