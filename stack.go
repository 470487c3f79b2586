package weir

import (
	"context"
	"errors"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/internal/during"
	"github.com/weirnet/weir/internal/ip"
	"github.com/weirnet/weir/internal/stack"
	"github.com/weirnet/weir/link/loop"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/tcp/cc"
)

// Config says how a Stack works. The zero Config is usable, and its zero values are the best settings.
type Config struct {
	// Clock is the stack's time; nil: that of the machine (inside a testing/synctest bubble, the bubble's).
	Clock sched.Clock
	// Rand gives 64 random bits that nobody can predict, and is safe for concurrent use; nil: the system's (getrandom on Linux, elsewhere
	// crypto/rand), without which there is no stack.
	Rand func() uint64
	// Spawn starts a goroutine; nil: the go statement. The stack starts few: one for each handler's call, one for each interface
	// under load, and those of a look-up or a Dial that races.
	Spawn func(func())

	// Memory is how many bytes all queues of all sockets may hold together, counted as capacity of the memory that is pinned: half of
	// it what is to be sent, half what is to be read. 0: 512 MiB; less than 512 KiB counts as that.
	Memory int64
	// SendBuffer and ReceiveBuffer limit the queues of one TCP connection, in bytes; 0: 4 MiB each, of which a connection uses what
	// its path can fill.
	SendBuffer, ReceiveBuffer int
	// Congestion is the congestion control of TCP: "cubic" (if empty), "reno", "bbr" (BBRv3) or "bbr-tolerant", which takes more losses.
	Congestion string
	// Pacing spreads what the congestion window allows over the round trip also under congestion control that has no rate of its own
	// ("cubic", "reno"); "bbr" always does.
	Pacing bool
	// MTUProbing says when connections look for the MTU of their path by larger and smaller segments (RFC 4821), beside what ICMP tells.
	MTUProbing MTUProbing
	// NotSentLowat makes Write wait while a connection has so many bytes that were written and never sent (TCP_NOTSENT_LOWAT); 0: only the
	// send buffer's limit counts.
	NotSentLowat int
	// ECN is which kind of Explicit Congestion Notification connections ask for and take; 0: ECNAccept, as Linux's default. ECNControl
	// makes control packets and retransmissions ECN-capable as well (ECN++, draft-ietf-tcpm-generalized-ecn).
	ECN        ECNMode
	ECNControl bool
	// Backlog is how many handshakes, and how many connections not yet accepted, a listener holds; 0: 4096. The handler of HandleTCP has as
	// many requests at once that are undecided, or accepted and not yet answered by the peer, or MaxPendingRequests if that is more.
	Backlog int
	// SynCookies says when a listener answers SYNs with cookies, of which it keeps nothing (RFC 4987 §3.6): while its backlog of handshakes
	// is full, always, or never.
	SynCookies SynCookies
	// SynAckRetries is how often a SYN-ACK that is not answered is sent again before the handshake is given up; 0: 5, within a minute.
	SynAckRetries int
	// MaxOrphans is how many connections that were closed may go on at once, to deliver what was written; one more is reset. 0: 16384.
	MaxOrphans int
	// AbortOnOverflow resets a connection whose handshake is complete when the listener's backlog has no room for it. Otherwise the
	// last ACK is ignored, so that the client tries again for a while (Linux's tcp_abort_on_overflow).
	AbortOnOverflow bool
	// MaxPendingRequests is how many requests may wait for the decision of a handler at once; 0: 1024. What is beyond is dropped
	// and counted.
	MaxPendingRequests int

	// DNS are the servers that LookupNetIP, and Dial of a name, ask, in this order. Without any, names other than localhost are not
	// found. Port 0 means 53.
	DNS []netip.AddrPort
	// Forward makes the stack a router between its interfaces that are not Isolated.
	Forward bool

	// Trace is told of each event of every TCP connection, those of listeners and handlers from their SYN on; nil: nobody is. It is called as
	// TCPConn.SetTrace says, and for what is still queued once more by Close. One that a SYN cookie makes begins with its last ACK.
	Trace func(TCPEvent)

	// Buffers is where the memory of packets and queues comes from; nil: a pool of the stack's own. Tests give one that checks.
	Buffers *buffer.Pool
}

// MTUProbing says when connections probe for the MTU of their path.
type MTUProbing = tcp.MTUProbing

// When connections probe; in parentheses the value of the Linux kernel's net.ipv4.tcp_mtu_probing that does the same.
const (
	MTUProbeBlackHole = tcp.MTUProbeBlackHole // when full segments seem to get lost for their size, the default (1)
	MTUProbeOff       = tcp.MTUProbeOff       // never (0)
	MTUProbeAlways    = tcp.MTUProbeAlways    // from the start (2)
)

// SynCookies says when listeners use SYN cookies.
type SynCookies = tcp.CookieMode

// When listeners use SYN cookies.
const (
	SynCookiesUnderPressure = tcp.CookiesPressure
	SynCookiesAlways        = tcp.CookiesAlways
	SynCookiesNever         = tcp.CookiesNever
)

// Stack is one host: interfaces, addresses, routes and sockets of its own. All methods are safe for concurrent use.
type Stack struct {
	inner *stack.Stack
	clock sched.Clock
	rand  func() uint64
	run   func(func()) // Config.Spawn
	dns   []netip.AddrPort

	ctx    context.Context // ends when Close begins; r.Context() of every request derives from it
	cancel context.CancelFunc
	own    tasks // goroutines that run code of ours alone, which ends soon after ctx
	calls  tasks // goroutines that run handlers
	once   sync.Once

	waiters sync.Pool // *waiter
	ropes   sync.Pool // *buffer.Buffer, empty
	streams streams
}

// New returns a running stack whose only interface is its loopback, "lo", with 127.0.0.1/8 and ::1/128.
func New(c Config) (*Stack, error) {
	if err := c.check(); err != nil {
		return nil, during.Error("weir: new stack", err)
	}
	s := &Stack{clock: c.Clock, rand: c.Rand, run: c.Spawn}
	if s.clock == nil {
		s.clock = sched.Real()
	}
	if s.rand == nil {
		r, err := newRandomness(systemRandom)
		if err != nil {
			return nil, during.Error("weir: new stack", err)
		}
		s.rand = r.uint64
	}
	if s.run == nil {
		s.run = func(fn func()) { go fn() }
	}
	for _, server := range c.DNS {
		if server.Port() == 0 {
			server = netip.AddrPortFrom(server.Addr(), 53)
		}
		s.dns = append(s.dns, server)
	}
	if c.Buffers == nil {
		c.Buffers = buffer.NewPool(buffer.Options{})
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.waiters.New = func() any { return newWaiter() }
	s.ropes.New = func() any {
		b := new(buffer.Buffer)
		b.SetPool(c.Buffers)
		return b
	}
	s.inner = stack.New(stack.Config{
		Clock: s.clock, Rand: s.rand, Spawn: s.run,
		Packets: packet.NewPool(c.Buffers),
		TCP: &tcp.Config{
			SendBuffer: c.SendBuffer, ReceiveBuffer: c.ReceiveBuffer, Congestion: c.Congestion, Pacing: c.Pacing, NotSentLowat: c.NotSentLowat,
			MTUProbing: c.MTUProbing,
			ECN:        c.ECN, ECNControl: c.ECNControl, SynCookies: c.SynCookies, SynAckRetries: c.SynAckRetries, AbortOnOverflow: c.AbortOnOverflow,
		},
		Memory: c.Memory, Forward: c.Forward, MaxPending: c.MaxPendingRequests, Backlog: c.Backlog, MaxOrphans: c.MaxOrphans, Trace: c.Trace,
	})
	if err := s.addLoopback(); err != nil {
		_ = s.Close()
		return nil, during.Error("weir: new stack", err)
	}
	return s, nil
}

// check finds what cannot work, before anything is made.
func (c *Config) check() error {
	if min(c.Memory, int64(c.SendBuffer), int64(c.ReceiveBuffer), int64(c.NotSentLowat), int64(c.Backlog), int64(c.MaxOrphans), int64(c.MaxPendingRequests), int64(c.SynAckRetries)) < 0 {
		return errors.New("a limit in Config is negative: use 0 for the default")
	}
	if c.SynCookies > SynCookiesNever {
		return errors.New("Config.SynCookies: there is no such mode")
	}
	if err := checkCongestion(c.Congestion); err != nil {
		return during.Error("Config.Congestion", err)
	}
	for _, server := range c.DNS {
		if !server.Addr().IsValid() {
			return errors.New("Config.DNS holds an address that is not valid")
		}
	}
	return nil
}

// checkCongestion knows the empty name too: the default.
func checkCongestion(name string) error {
	if name != "" && !slices.Contains(cc.Names(), name) {
		return during.Error(cc.Unknown(name).Error(), syscall.ENOENT)
	}
	return nil
}

func (s *Stack) addLoopback() error {
	_, err := s.inner.AddInterface(stack.InterfaceConfig{
		Name: "lo", Device: loop.New(loop.Options{}), Loopback: true,
		Addrs: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 8), netip.PrefixFrom(netip.IPv6Loopback(), 128)},
	})
	return err
}

// closeWait is how long Close waits for handlers.
const closeWait = time.Second

// Close ends the stack: every blocked and every later call on it and its sockets gives net.ErrClosed, peers get a RST as far as the
// devices take it, interfaces and their devices are closed, and all goroutines of the stack have ended when it returns. Traces are told all that is left. Handlers see
// their request's context end; Close waits for those that still run, but no more than a second, so that a handler may close the
// stack itself. Close is idempotent, and always returns nil.
func (s *Stack) Close() error {
	s.once.Do(func() {
		s.cancel()
		s.inner.Close()
		s.own.wait(s.clock, math.MaxInt64)
		s.calls.wait(s.clock, closeWait)
	})
	return nil
}

// Shutdown ends the stack gently. It closes all listeners, takes no further requests, closes every TCP connection with a FIN behind what
// was written (one with something unread with a RST, as TCPConn.Close does), waits until the peers have it all or ctx ends, and then
// does what Close does. The error is ctx's, if it ended first.
func (s *Stack) Shutdown(ctx context.Context) error {
	s.inner.StopListening()
	var open []*TCPConn
	s.inner.EachTCP(func(t *stack.TCP) { open = append(open, (*TCPConn)(t.Notifier().(*tcpNotifier))) })
	for _, c := range open {
		c.shut(false)
	}
	var err error
	for _, c := range open {
		if err = c.drain(ctx); err != nil {
			break
		}
	}
	_ = s.Close()
	return err
}

// SetRoutes replaces the routes that SetRoutes has set; those to the prefixes and gateways of interfaces stay. On an error nothing
// changes.
func (s *Stack) SetRoutes(routes []Route) error {
	var all []ip.Route
	for _, r := range routes {
		index, err := s.ifaceIndex(r.Interface)
		if err != nil {
			return during.Error("weir: set route "+r.Prefix.String(), err)
		}
		all = append(all, ip.Route{Prefix: r.Prefix, Gateway: r.Gateway, Iface: index, Source: r.Source, Metric: r.Metric})
	}
	if err := s.inner.SetRoutes(all); err != nil {
		return during.Error("weir: set routes", err)
	}
	return nil
}

// Route sends what goes to Prefix out by an interface, to Gateway if that is valid. The longest prefix wins, then the lowest Metric.
type Route struct {
	Prefix    netip.Prefix
	Gateway   netip.Addr
	Interface string     // empty: the one whose on-link prefix contains Gateway
	Source    netip.Addr // preferred source address; zero: chosen
	Metric    int
}

// ifaceIndex is an interface's number, 0 for the empty name.
func (s *Stack) ifaceIndex(name string) (int, error) {
	if name == "" {
		return 0, nil
	}
	if i := s.inner.InterfaceByName(name); i != nil {
		return i.Index(), nil
	}
	return 0, errors.New("no interface is named " + strconv.Quote(name))
}
