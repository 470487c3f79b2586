package weir

import (
	"cmp"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/weirnet/weir/internal/stack"
	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/tcp/auth"
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

	// MD5 are keys of TCP-MD5 (RFC 2385), and AO of TCP-AO (RFC 5925), by which routers protect their connections: each segment to and
	// from a peer that has a key is signed, and what is not, or wrongly, is dropped without an answer and counted. A peer has keys of one
	// kind at most.
	MD5 []TCPMD5Key
	AO  []TCPAOKey
	// AcceptICMP lets ICMP errors, which nobody signs, have their effect on connections that TCP-AO protects (RFC 5925 §7.8).
	AcceptICMP bool

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

// TCPMD5Key is a key of TCP-MD5: 1 to 80 bytes, for connections with the peers of a prefix (the zero Prefix: with all). Of several that fit,
// the longest prefix counts.
type TCPMD5Key = auth.MD5Key

// TCPAOKey is a master key tuple of TCP-AO: peers (the zero Prefix: all), the IDs by which both ends name it, algorithm and key.
type TCPAOKey = auth.AOKey

// TCPAOAlgorithm is how a TCPAOKey makes digests.
type TCPAOAlgorithm = auth.Algorithm

// The algorithms of TCP-AO: both of RFC 5926, and HMAC-SHA-256 cut to 128 bits, which many routers have.
const (
	AOHMACSHA1   = auth.HMACSHA1
	AOAESCMAC    = auth.AESCMAC
	AOHMACSHA256 = auth.HMACSHA256
)

// options are a socket's before Control and after.
func options(control func(*SockOpts) error, o SockOpts) (SockOpts, error) {
	o.NoDelay = true
	o.KeepAlive.Enable = true
	if control == nil {
		return o, nil
	}
	set := o // what control is given is on the heap
	if err := control(&set); err != nil {
		return set, err
	}
	if set.FlowLabel < NoFlowLabel || set.FlowLabel > 1<<20-1 {
		return set, syscall.EINVAL
	}
	if err := set.allKeys().Check(); err != nil {
		return set, err
	}
	return set, checkCongestion(set.Congestion)
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

func (o *SockOpts) allKeys() *auth.Keys {
	return &auth.Keys{MD5: o.MD5, AO: o.AO, AcceptICMP: o.AcceptICMP}
}

// keys are the keys; nil if there are none.
func (o *SockOpts) keys() *auth.Keys {
	if len(o.MD5) == 0 && len(o.AO) == 0 {
		return nil
	}
	return o.allKeys()
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

// SetTCPMD5 changes the key of TCP-MD5 (RFC 2385), in both directions at once; an empty one ends signing.
func (c *TCPConn) SetTCPMD5(key []byte) error {
	return c.set(c.sock.SetKeys(func(k *auth.Keys) (*auth.Keys, error) {
		if len(key) > 0 {
			return (*auth.Keys)(nil).WithMD5(TCPMD5Key{Key: key})
		}
		if k != nil && len(k.AO) > 0 {
			return nil, syscall.EINVAL
		}
		return nil, nil
	}))
}

// AddAOKey adds a key of TCP-AO to a connection that began with one. It is used once UseAOKey says so, or the peer asks for it.
func (c *TCPConn) AddAOKey(key TCPAOKey) error {
	return c.set(c.sock.SetKeys(func(k *auth.Keys) (*auth.Keys, error) { return k.WithAO(key) }))
}

// DeleteAOKey takes a key of TCP-AO away. syscall.EBUSY: it is the one in use, or that which the peer is asked for. ENOENT: there is none.
func (c *TCPConn) DeleteAOKey(sendID, recvID uint8) error {
	current, next, err := c.sock.AOKeys()
	if err == nil && (current == sendID || next == recvID) {
		err = syscall.EBUSY
	}
	if err == nil {
		err = c.sock.SetKeys(func(k *auth.Keys) (*auth.Keys, error) { return k.WithoutIDs(sendID, recvID) })
	}
	return c.set(err)
}

// UseAOKey rolls the key of TCP-AO over: sign with that of this SendID, and ask the peer (RNextKeyID) to sign with that of this RecvID. A
// negative ID changes nothing. What the peer asks for comes before what is chosen here, so that a roll-over takes both ends: each asks for
// the new key. ENOENT: there is no such key.
func (c *TCPConn) UseAOKey(sendID, recvID int) error { return c.set(c.sock.UseAO(sendID, recvID)) }

// AOKeys returns the SendID of the key of TCP-AO in use, and the RecvID of that which the peer is asked for.
func (c *TCPConn) AOKeys() (sendID, recvID uint8, err error) {
	sendID, recvID, err = c.sock.AOKeys()
	return sendID, recvID, c.set(err)
}

// SetTCPMD5 changes a key of TCP-MD5 for connections to come with the peers of just this prefix; an empty one takes it away.
func (l *TCPListener) SetTCPMD5(key TCPMD5Key) error {
	return l.setKeys(func(k *auth.Keys) (*auth.Keys, error) { return k.WithMD5(key) })
}

// AddAOKey adds a key of TCP-AO for connections to come.
func (l *TCPListener) AddAOKey(key TCPAOKey) error {
	return l.setKeys(func(k *auth.Keys) (*auth.Keys, error) { return k.WithAO(key) })
}

// DeleteAOKey takes a key of TCP-AO away for connections to come: that of just these peers and IDs.
func (l *TCPListener) DeleteAOKey(peer netip.Prefix, sendID, recvID uint8) error {
	return l.setKeys(func(k *auth.Keys) (*auth.Keys, error) { return k.WithoutAO(peer, sendID, recvID) })
}

func (l *TCPListener) setKeys(fn func(*auth.Keys) (*auth.Keys, error)) error {
	err := net.ErrClosed
	if !l.closed.Load() {
		err = l.sock.SetKeys(fn)
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
