package weir

import (
	"cmp"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/weirnet/weir/internal/stack"
	"github.com/weirnet/weir/tcp"
)

// SockOpts are the options of a socket. Control functions get them filled with the defaults, and change what they want before the socket's
// first packet: those of a listener are in force for each of its connections from the SYN on.
type SockOpts struct {
	// Network is "tcp" or "udp". It and the addresses are for information.
	Network       string
	Local, Remote netip.AddrPort

	// SendBuffer and ReceiveBuffer limit the queues, in bytes; 0: as Config says. TCP's window and window scale follow ReceiveBuffer.
	SendBuffer, ReceiveBuffer int
	// Transparent lets Local be an address that is not ours.
	Transparent bool

	// ReuseAddr is SO_REUSEADDR as Linux has it. Of listeners, for which it is set as package net does: the port may be that of connections
	// which there are, or which are over and in TIME-WAIT. Of dials with a local port: the same, as long as the remote address is another
	// one; without it all connections of the stack are gone through for each such dial. Of UDP sockets: several that all set it may have
	// one address and port; what is for one host goes to the one that was opened last.
	ReuseAddr bool
	// ReusePort is SO_REUSEPORT: listeners, or UDP sockets, that all set it may have one address and port. They share what comes: which of
	// them takes a connection, or the datagrams of a flow, a keyed hash of addresses and ports decides. It stays the same as long as the
	// group does, and when it changes, for most. When one is closed, the others take over what waited in its queue.
	ReusePort bool

	// TTL of IPv4, and hop limit of IPv6, of what is sent; 0: 64.
	TTL uint8
	// MinTTL drops what comes with less: with 255 at both ends only a neighbour can have sent it (GTSM, RFC 5082; IP_MINTTL).
	MinTTL uint8
	// TOS is IPv4's type of service and IPv6's traffic class: the DSCP in the upper six bits. The ECN bits are the stack's own.
	TOS uint8
	// FlowLabel of IPv6: AutoFlowLabel, NoFlowLabel, or one of 20 bits.
	FlowLabel int32

	// Of TCP alone: the congestion control (empty: as Config says), Nagle's algorithm off, keep-alive probes, and how long sent data
	// may stay unacknowledged (0: about 15 minutes).
	Congestion  string
	NoDelay     bool
	KeepAlive   net.KeepAliveConfig
	UserTimeout time.Duration
	// SynRetries is how often the SYN is sent again before a dial fails (TCP_SYNCNT); 0: 7 times, in about three minutes.
	SynRetries int
	// FinWait2 is for how long a connection that was closed waits for the peer's FIN (TCP_LINGER2); 0: a minute, negative: not at all, it
	// resets.
	FinWait2 time.Duration
	// DeferAccept makes a listener accept connections that have data, and for so long none that have not (TCP_DEFER_ACCEPT); 0: at once.
	DeferAccept time.Duration
	// MaxSegment bounds the payload of a segment in both directions, TCP options counted (TCP_MAXSEG): it is announced to the peer. At
	// least 88; 0: what the path takes.
	MaxSegment int
	// ECN is which kind of Explicit Congestion Notification to ask for and to take.
	ECN ECNMode
	// NotSentLowat makes Write wait while so many bytes were written and never sent (TCP_NOTSENT_LOWAT); 0: as Config says.
	NotSentLowat int
	// MaxPacingRate bounds the rate at which data is sent, in bytes per second (SO_MAX_PACING_RATE); 0: no limit.
	MaxPacingRate int64

	// Keys are those of TCP-MD5 (RFC 2385) and TCP-AO (RFC 5925), by which routers protect their connections, an *auth.Keys of package
	// tcp/auth: each segment to and from a peer that has a key is signed, and what is not, or wrongly, is dropped without an answer and
	// counted. A peer has keys of one kind at most.
	Keys TCPKeys

	// Trace is told of each event of a connection, from the SYN on; see TCPConn.SetTrace. Config.Trace is told of all.
	Trace func(TCPEvent)
}

// TCPEvent is one line of the log of a connection: a segment sent or received, a change of state, loss, recovery, a timeout, another
// congestion window. Missed counts the events before it that were not told, because Trace did not keep up.
type TCPEvent = stack.TraceEvent

// Kinds of TCPEvent. Each event has what holds after it: state, recovery (CAState), congestion window, slow start threshold, bytes in the
// network, smoothed round trip time and RTO.
const (
	TCPEventState    = tcp.EventState    // the state is another one
	TCPEventSent     = tcp.EventSent     // a segment was sent: Seq, Ack, Flags, Window, Bytes of payload, Segs of the wire
	TCPEventReceived = tcp.EventReceived // a segment has come: the same
	TCPEventLost     = tcp.EventLost     // Bytes are newly deemed lost
	TCPEventRecovery = tcp.EventRecovery // recovery was entered or left: CAState
	TCPEventTimeout  = tcp.EventTimeout  // the retransmission timer has expired
	TCPEventWindow   = tcp.EventWindow   // congestion window or slow start threshold have changed
	TCPEventProbe    = tcp.EventProbe    // a tail loss probe (RFC 8985 §7)
	TCPEventUndo     = tcp.EventUndo     // a reduction of the window was needless, and is taken back
)

// SetTrace has fn called for each event of the connection from now on, in order; nil ends it. Calls come from one goroutine of the stack
// with no lock held, so that fn may ask the connection anything; but it must not block, for all timers of the stack wait meanwhile. When
// tracing is off it costs nothing.
func (c *TCPConn) SetTrace(fn func(TCPEvent)) error { return c.set(c.sock.SetTrace(fn)) }

// Values of SockOpts.FlowLabel.
const (
	AutoFlowLabel = stack.AutoFlowLabel // one for each flow, by a keyed hash (RFC 6437); a connection has another after a timeout
	NoFlowLabel   = stack.NoFlowLabel
)

// TCPKeys are keys of TCP-MD5 and TCP-AO: an *auth.Keys of package tcp/auth, which only those programs link that import it.
type TCPKeys = tcp.Keys

// TCPKeyChange is what SetKeys does to the keys of a connection or listener: package tcp/auth has auth.Replace, auth.SetMD5, auth.AddAO,
// auth.DeleteAO, and auth.DeleteIDs.
type TCPKeyChange = tcp.KeyChange

// settle sets the defaults and lets control change them.
func (o *SockOpts) settle(control func(*SockOpts) error) error {
	o.NoDelay = true
	o.KeepAlive.Enable = true
	if control == nil {
		return nil
	}
	set := *o // what control is given is on the heap
	if err := control(&set); err != nil {
		return err
	}
	*o = set
	if o.FlowLabel < NoFlowLabel || o.FlowLabel > 1<<20-1 {
		return syscall.EINVAL
	}
	if o.Keys != nil {
		if err := o.Keys.Check(); err != nil {
			return err
		}
	}
	return checkCongestion(o.Congestion)
}

// tcp is what a connection starts with.
func (o *SockOpts) tcp() *tcp.Options {
	idle, interval, count := keepAlive(o.KeepAlive)
	return &tcp.Options{
		SynRetries: o.SynRetries, FinWait2: o.FinWait2, DeferAccept: o.DeferAccept,
		SendBuffer: o.SendBuffer, ReceiveBuffer: o.ReceiveBuffer, MSS: o.MaxSegment, Congestion: o.Congestion, Nagle: !o.NoDelay,
		UserTimeout: o.UserTimeout, KeepAlive: tcp.KeepAlive{Idle: idle, Interval: interval, Count: count},
		ECN: o.ECN, MaxPacingRate: o.MaxPacingRate, NotSentLowat: o.NotSentLowat,
	}
}

// traffic is what is asked of IP.
func (o *SockOpts) traffic() stack.Traffic {
	return stack.Traffic{TTL: o.TTL, TOS: o.TOS, MinTTL: o.MinTTL, FlowLabel: o.FlowLabel}
}

// SetTTL sets the TTL, or hop limit, of what is sent; 0: 64.
func (c *TCPConn) SetTTL(n uint8) error {
	return c.set(c.sock.SetTraffic(func(t *stack.Traffic) { t.TTL = n }))
}

// TTL is the TTL, or hop limit, of what is sent.
func (c *TCPConn) TTL() uint8 { return cmp.Or(c.sock.Traffic().TTL, defaultTTL) }

// defaultTTL is what the stack sends with if nobody says otherwise.
const defaultTTL = 64

// TOS is what SetTOS has set.
func (c *TCPConn) TOS() uint8 { return c.sock.Traffic().TOS &^ ecnBits }

// ecnBits are the bits of type of service and traffic class that are ECN's (RFC 3168 §5).
const ecnBits = 3

// SetMinTTL drops what comes with a lesser TTL (GTSM, RFC 5082); 0: nothing is dropped.
func (c *TCPConn) SetMinTTL(n uint8) error {
	return c.set(c.sock.SetTraffic(func(t *stack.Traffic) { t.MinTTL = n }))
}

// SetTOS sets type of service or traffic class: the DSCP in the upper six bits; the lower two are the stack's.
func (c *TCPConn) SetTOS(tos uint8) error {
	return c.set(c.sock.SetTraffic(func(t *stack.Traffic) { t.TOS = tos }))
}

// SetFlowLabel sets the flow label of IPv6: AutoFlowLabel, NoFlowLabel, or one of 20 bits.
func (c *TCPConn) SetFlowLabel(label int32) error {
	if label < NoFlowLabel || label > 1<<20-1 {
		return c.set(syscall.EINVAL)
	}
	return c.set(c.sock.SetTraffic(func(t *stack.Traffic) { t.FlowLabel = label }))
}

// SetMaxSegment bounds the payload of segments sent from now on, TCP options counted (TCP_MAXSEG). At least 88.
func (c *TCPConn) SetMaxSegment(n int) error { return c.set(c.sock.SetMaxSegment(n)) }

// SetKeys changes the keys of TCP-MD5 or TCP-AO, in both directions at once. TCP-MD5 may begin and end at any time, TCP-AO only with the
// connection: syscall.EINVAL. EBUSY: the key of TCP-AO that is in use, or that the peer is asked for, would go. ENOENT: a key that should go
// is not there.
func (c *TCPConn) SetKeys(change TCPKeyChange) error { return c.set(c.sock.SetKeys(change)) }

// UseAOKey rolls the key of TCP-AO over: sign with that of this SendID, and ask the peer (RNextKeyID) to sign with that of this RecvID. A
// negative ID changes nothing. What the peer asks for comes before what is chosen here, so that a roll-over takes both ends: each asks for
// the new key. ENOENT: there is no such key.
func (c *TCPConn) UseAOKey(sendID, recvID int) error { return c.set(c.sock.UseAO(sendID, recvID)) }

// AOKeys returns the SendID of the key of TCP-AO in use, and the RecvID of that which the peer is asked for.
func (c *TCPConn) AOKeys() (sendID, recvID uint8, err error) {
	sendID, recvID, err = c.sock.AOKeys()
	return sendID, recvID, c.set(err)
}

// SetKeys changes the keys of TCP-MD5 and TCP-AO for connections to come. While others change them too, change may be called again.
func (l *TCPListener) SetKeys(change TCPKeyChange) error {
	err := net.ErrClosed
	if !l.closed.Load() {
		err = l.sock.SetKeys(change)
	}
	if err != nil {
		return l.fail("set", "setsockopt", err)
	}
	return nil
}

// SetTTL sets the TTL, or hop limit, of datagrams; 0: 64.
func (c *UDPConn) SetTTL(n uint8) error { return c.setTraffic(func(t *stack.Traffic) { t.TTL = n }) }

// TTL is the TTL, or hop limit, of datagrams.
func (c *UDPConn) TTL() uint8 { return cmp.Or(c.sock.Traffic().TTL, defaultTTL) }

// TOS is what SetTOS has set.
func (c *UDPConn) TOS() uint8 { return c.sock.Traffic().TOS }

// SetMinTTL drops datagrams that come with a lesser TTL (GTSM, RFC 5082); 0: none.
func (c *UDPConn) SetMinTTL(n uint8) error {
	return c.setTraffic(func(t *stack.Traffic) { t.MinTTL = n })
}

// SetTOS sets type of service or traffic class of datagrams: DSCP and, since UDP leaves congestion control to the program, the ECN bits.
func (c *UDPConn) SetTOS(tos uint8) error {
	return c.setTraffic(func(t *stack.Traffic) { t.TOS = tos })
}

func (c *UDPConn) setTraffic(fn func(*stack.Traffic)) error {
	if c.closed.Load() {
		return c.setFail()
	}
	c.sock.SetTraffic(fn)
	return nil
}
