package drill

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/weirnet/weir/internal/stack"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/wire"
)

// fileKind says what a descriptor is.
type fileKind uint8

const (
	socketFile fileKind = iota
	pipeFile
	plainFile // endless, for sendfile
	epollFile
)

// file is what a descriptor stands for: a socket with what a kernel keeps of it beside the connection.
type file struct {
	kind     fileKind
	fd       int
	domain   int64
	stream   bool
	nonblock bool

	local   netip.AddrPort // bound to
	isBound bool
	backlog int

	listener *stack.Listener
	tcp      *stack.TCP
	udp      *stack.UDP
	flow     *flow

	start      tcp.Options   // what the connection to come starts with, or those that a listener accepts
	keys       tcp.Keys      // of TCP-MD5 and TCP-AO, for the same
	traffic    stack.Traffic // what it asks of IP
	iface      int           // SO_BINDTODEVICE; 0: none
	options    []option      // what has to be done to it beside that
	made       []*stack.TCP
	connecting bool   // connect was called and has not succeeded yet
	errTaken   bool   // SO_ERROR has reported the connection's error
	readAt     uint32 // place in the peer's stream
	wroteAt    uint32 // place in ours
	pipe       *pipe
	epoll      *epoll

	receiveTimeout time.Duration // SO_RCVTIMEO; 0: none
	lingerOn       bool
	lingerSecs     int64
	values         map[optionName]int64 // what setsockopt has set, for getsockopt
}

// option is a change to a connection; it is told the clock.
type option func(t *stack.TCP) error

// errIs reports whether an error of the host has a name.
func errIs(err error, name string) bool { return errors.Is(err, errnos[name]) }

// configure changes the connection of a socket.
func configure(fn func(now sched.Time, c *tcp.Conn) error) option {
	return func(t *stack.TCP) error { return t.Configure(fn) }
}

// prepare gives a new connection what the socket's defaults and options are.
func (r *runner) prepare(t *stack.TCP, options []option) error {
	for _, o := range options {
		if err := o(t); err != nil {
			return err
		}
	}
	return nil
}

// listenerNotifier sets the options of connections as soon as they are made, before their first data.
type listenerNotifier struct {
	r *runner
	f *file
}

func (n listenerNotifier) Notify(stack.Ready) {
	for _, t := range n.f.made {
		if t.Stack() != nil && t.Connected() == nil {
			_ = n.r.prepare(t, n.f.options) // one that has failed by now has no options to set
		}
	}
	n.f.made = n.f.made[:0]
}

func callSocket(c *call) step {
	r := c.r
	domain := c.domain(0)
	typ := c.number(1, "a socket type")
	proto := c.number(2, "a protocol")
	f := &file{fd: c.newFD(), domain: domain, nonblock: typ&symbols["SOCK_NONBLOCK"] != 0, values: map[optionName]int64{}}
	if c.r.config.noPathMTU {
		f.traffic.PathMTU = stack.PathMTUFragment
	}
	f.start.Nagle = true // off in package weir, on in a kernel's sockets
	switch typ &= 0xf; {
	case domain != symbols["AF_INET"] && domain != symbols["AF_INET6"]:
		return always(fails("EAFNOSUPPORT"))
	case typ == symbols["SOCK_STREAM"] && (proto == 0 || proto == 6):
		f.stream = true
	case typ == symbols["SOCK_DGRAM"] && (proto == 0 || proto == 17):
	default:
		return always(fails("EPROTONOSUPPORT"))
	}
	return func() outcome {
		r.files[f.fd], r.lastFile = f, f
		return gives(int64(f.fd))
	}
}

// domain is an address family: ... is that of --ip_version.
func (c *call) domain(i int) int64 {
	if c.ev.args[i].kind != anyValue {
		return c.number(i, "an address family")
	}
	if c.r.script.set.version == ipv4 {
		return symbols["AF_INET"]
	}
	return symbols["AF_INET6"]
}

// address is a sockaddr argument; ... is the given default.
func (c *call) address(i int, dflt netip.AddrPort) netip.AddrPort {
	v := c.ev.args[i]
	switch v.kind {
	case anyValue:
		return dflt
	case structValue:
		a, problem := sockaddr(v)
		if problem != "" {
			c.bad("argument %d of %s: %s", i+1, c.ev.name, problem)
		}
		return a
	}
	c.bad("argument %d of %s is %s: expected ... or {sa_family = AF_INET, sin_port = htons(80), sin_addr = inet_addr(\"192.0.2.1\")}", i+1,
		c.ev.name, v)
	return dflt
}

// sockaddr reads {sa_family = AF_INET, sin_port = htons(80), sin_addr = inet_addr("192.0.2.1")}.
func sockaddr(v value) (netip.AddrPort, string) {
	var port uint16
	var addr netip.Addr
	for i, part := range v.parts {
		key := ""
		if len(v.keys) > 0 {
			key = v.keys[i]
		}
		switch {
		case key == "sin_port" || key == "sin6_port" || key == "" && i == 1:
			if part.kind != numberValue || part.number < 0 || part.number > 65535 {
				return netip.AddrPort{}, "expected a port, found " + part.source
			}
			port = uint16(part.number)
		case key == "sin_addr" || key == "sin6_addr" || key == "" && i == 2:
			if part.kind == numberValue && part.number == 0 {
				continue // INADDR_ANY
			}
			a, err := netip.ParseAddr(part.text)
			if part.kind != textValue || err != nil {
				return netip.AddrPort{}, "expected an address like inet_addr(\"192.0.2.1\"), found " + part.source
			}
			addr = a
		}
	}
	return netip.AddrPortFrom(addr, port), ""
}

func callBind(c *call) step {
	f, bad := c.socket(0)
	if bad != nil {
		return always(*bad)
	}
	set := &c.r.script.set
	addr := c.address(1, netip.AddrPortFrom(netip.Addr{}, set.bindPort))
	return func() outcome {
		switch {
		case f.isBound || f.tcp != nil || f.listener != nil:
			return fails("EINVAL")
		case addr.Addr().IsValid() && addr.Addr().Is6() && !addr.Addr().Is4In6() && f.domain == symbols["AF_INET"]:
			return fails("EAFNOSUPPORT")
		}
		f.local, f.isBound = addr, true
		if f.stream {
			c.r.lastTCPPort = addr.Port()
			return gives(0)
		}
		u := &stack.UDP{}
		u.SetNotifier(f)
		if err := c.r.host.ListenUDP(u, f.bindAddr(), f.listening(stack.ListenOptions{})); err != nil {
			f.isBound = false
			return failsBy(err)
		}
		f.udp, c.r.lastUDPPort = u, u.LocalAddr().Port()
		return gives(0)
	}
}

// bindAddr is the address to bind to, in the form that the host has it.
func (f *file) bindAddr() netip.AddrPort {
	a := f.local.Addr()
	if a.IsValid() {
		a = a.Unmap()
	}
	return netip.AddrPortFrom(a, f.local.Port())
}

// family is what a wildcard takes.
func (f *file) family() stack.Family {
	switch {
	case f.domain == symbols["AF_INET"]:
		return stack.IPv4
	case f.values[optionName{"SOL_IPV6", "IPV6_V6ONLY"}] != 0:
		return stack.IPv6
	}
	return stack.Dual
}

func callListen(c *call) step {
	f, bad := c.socket(0)
	if bad != nil {
		return always(*bad)
	}
	backlog := c.number(1, "a backlog")
	return func() outcome {
		switch {
		case !f.stream:
			return fails("EOPNOTSUPP")
		case f.tcp != nil:
			return fails("EINVAL")
		case f.listener != nil:
			return gives(0)
		}
		f.backlog = int(backlog)
		l, err := c.r.host.ListenTCP(f.bindAddr(), c.r.listenOptions(f))
		if err != nil {
			return failsBy(err)
		}
		f.listener = l
		f.local, f.isBound = l.Addr(), true
		c.r.lastTCPPort = l.Addr().Port()
		c.r.currentTCP = nil
		return gives(0)
	}
}

// listenOptions are what a listener and its connections start with.
func (r *runner) listenOptions(f *file) stack.ListenOptions {
	return f.listening(stack.ListenOptions{
		Backlog:  min(max(f.backlog, 0), 4096) + 1, // a kernel's queue is full when it holds more than that
		TCP:      &f.start,
		FastOpen: r.fastOpenLimit(f),
		Notifier: listenerNotifier{r, f},
		Make: func() *stack.TCP {
			t := &stack.TCP{}
			t.SetNotifier(f)
			f.made = append(f.made, t)
			return t
		},
	})
}

func callAccept(c *call) step {
	f, bad := c.socket(0)
	if bad != nil {
		return always(*bad)
	}
	flags := int64(0)
	if c.ev.name == "accept4" {
		flags = c.number(3, "flags")
	}
	return func() outcome {
		if f.listener == nil {
			return fails("EINVAL")
		}
		t, err := f.listener.Accept()
		if errIs(err, "EAGAIN") {
			if f.nonblock {
				return fails("EAGAIN")
			}
			return outcome{wait: true}
		}
		if err != nil {
			return failsBy(err)
		}
		n := &file{fd: c.newFD(), domain: f.domain, stream: true, tcp: t, nonblock: flags&symbols["SOCK_NONBLOCK"] != 0, values: map[optionName]int64{}}
		for k, v := range f.values {
			n.values[k] = v
		}
		t.SetNotifier(n)
		n.local, n.isBound = t.LocalAddr(), true
		n.flow = c.r.findFlow(wire.ProtoTCP, t.LocalAddr(), t.RemoteAddr())
		c.r.files[n.fd], c.r.lastFile = n, n
		o := gives(int64(n.fd))
		o.check = func() string { return c.checkAddress(1, t.RemoteAddr()) }
		return o
	}
}

// checkAddress compares an address that a call has filled in.
func (c *call) checkAddress(i int, got netip.AddrPort) string {
	v := c.ev.args[i]
	if v.kind != structValue {
		return ""
	}
	want, problem := sockaddr(v)
	switch {
	case problem != "":
		return problem
	case want.Port() != 0 && want.Port() != got.Port(), want.Addr().IsValid() && want.Addr().Unmap() != got.Addr().Unmap():
		return fmt.Sprintf("the address is %v, expected %v", got, want)
	}
	return ""
}

func callConnect(c *call) step {
	f, bad := c.socket(0)
	if bad != nil {
		return always(*bad)
	}
	set := &c.r.script.set
	remote := c.address(1, netip.AddrPortFrom(set.remote(), set.connectPort))
	remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	if !f.stream {
		return func() outcome { return c.connectUDP(f, remote) }
	}
	started := false
	return func() outcome {
		switch {
		case f.listener != nil:
			return fails("EISCONN")
		case f.tcp == nil:
			if o := c.startConnect(f, remote); o != nil {
				return *o
			}
			started = true
		case !f.connecting:
			return fails("EISCONN")
		}
		switch err := f.tcp.Connected(); {
		case err == nil:
			f.connecting = false
			return gives(0)
		case errIs(err, "EAGAIN") && !f.nonblock:
			return outcome{wait: true}
		case errIs(err, "EAGAIN") && started:
			return fails("EINPROGRESS")
		case errIs(err, "EAGAIN"):
			return fails("EALREADY")
		default:
			o := failsBy(f.takeError(err))
			return o
		}
	}
}

// takeError gives the connection's error once, as a kernel's socket does; then ECONNABORTED.
func (f *file) takeError(err error) error {
	if f.errTaken {
		return syscall.ECONNABORTED
	}
	f.errTaken = true
	return err
}

// startConnect sends the SYN; an outcome if it could not.
func (c *call) startConnect(f *file, remote netip.AddrPort) *outcome {
	return c.beginConnect(f, remote, stack.Bound{FastOpen: c.r.fastConnect(f)})
}

func (c *call) beginConnect(f *file, remote netip.AddrPort, b stack.Bound) *outcome {
	t := &stack.TCP{}
	t.SetNotifier(f)
	b = f.bound(b)
	f.tcp = t
	if err := c.r.host.ConnectTCP(t, remote, b); err != nil {
		f.tcp = nil
		o := failsBy(err)
		return &o
	}
	f.connecting = true
	if err := c.r.prepare(t, f.options); err != nil {
		o := failsBy(err)
		return &o
	}
	f.local, f.isBound = t.LocalAddr(), true
	f.flow = c.r.openFlow(wire.ProtoTCP, t.LocalAddr(), t.RemoteAddr())
	if f.flow.known {
		f.flow.restart()
	}
	return nil
}

func (c *call) connectUDP(f *file, remote netip.AddrPort) outcome {
	if f.udp != nil {
		_ = f.udp.Close() // the host connects new sockets only; the port is the same
		f.local = f.udp.LocalAddr()
	}
	u := &stack.UDP{}
	u.SetNotifier(f)
	if err := c.r.host.ConnectUDP(u, remote, f.bound(stack.Bound{})); err != nil {
		return failsBy(err)
	}
	f.udp = u
	f.flow = c.r.openFlow(wire.ProtoUDP, u.LocalAddr(), u.RemoteAddr())
	return gives(0)
}

func callClose(c *call) step {
	f, ok := c.file(0)
	if !ok {
		return always(fails("EBADF"))
	}
	first := true
	return func() outcome {
		if first {
			first = false
			delete(c.r.files, f.fd)
			c.closeFile(f)
			if f.lingerOn && f.lingerSecs > 0 {
				c.wakeAt(c.begin.Add(secondsOf(f.lingerSecs)))
			}
		}
		if f.tcp != nil && f.lingerOn && f.lingerSecs > 0 && !f.nonblock && !f.tcp.Drained() &&
			c.r.clock.Now() < c.begin.Add(secondsOf(f.lingerSecs)) {
			return outcome{wait: true}
		}
		return gives(0)
	}
}

func (c *call) closeFile(f *file) {
	switch {
	case f.listener != nil:
		_ = f.listener.Close()
	case f.udp != nil:
		_ = f.udp.Close()
	case f.tcp != nil && f.lingerOn && f.lingerSecs == 0:
		_ = f.tcp.Abort()
	case f.tcp != nil:
		_ = f.tcp.Close()
	}
}

func callShutdown(c *call) step {
	f, bad := c.socket(0)
	if bad != nil {
		return always(*bad)
	}
	how := c.number(1, "SHUT_RD, SHUT_WR or SHUT_RDWR")
	return func() outcome {
		if how < 0 || how > 2 {
			return fails("EINVAL")
		}
		if f.tcp == nil {
			return fails("ENOTCONN")
		}
		var err error
		if how != 0 {
			err = f.tcp.CloseWrite()
		}
		if how != 1 && err == nil {
			err = f.tcp.CloseRead()
		}
		if err != nil {
			return failsBy(err)
		}
		return gives(0)
	}
}

// readError is what a read that got nothing gives.
func (f *file) readError(err error, dontWait bool) outcome {
	switch {
	case errIs(err, "EAGAIN") && (f.nonblock || dontWait):
		return fails("EAGAIN")
	case errIs(err, "EAGAIN"):
		return outcome{wait: true}
	case err == io.EOF, errors.Is(err, net.ErrClosed):
		return gives(0)
	case f.errTaken:
		return gives(0)
	}
	f.errTaken = true
	return failsBy(err)
}
