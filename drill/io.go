package drill

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/weirnet/weir/internal/stack"
	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/wire"
)

func secondsOf(n int64) time.Duration { return time.Duration(n) * time.Second }

// maxIO is the largest buffer that a call may name.
const maxIO = 64 << 20

// count is an argument that is a number of bytes.
func (c *call) count(i int) int {
	n := c.number(i, "a number of bytes")
	if n < 0 || n > maxIO {
		c.bad("argument %d of %s is %d: expected a number of bytes up to %d", i+1, c.ev.name, n, maxIO)
	}
	return int(n)
}

// flags is an argument that is flags, 0 if there is none.
func (c *call) flags(i int) int64 {
	if i >= len(c.ev.args) || c.ev.name == "read" || c.ev.name == "write" {
		return 0
	}
	return c.number(i, "flags")
}

// callRead is read, recv and recvfrom.
func callRead(c *call) step {
	f, bad := c.socket(0)
	if bad != nil {
		return always(*bad)
	}
	n, flags := c.count(2), c.flags(3)
	return f.reader(c, n, flags, func(got []byte, src netip.AddrPort) string {
		if v := c.ev.args[1]; v.kind == textValue && v.text != string(got) {
			return fmt.Sprintf("it has read %q, expected %q", got, v.text)
		}
		if c.ev.name == "recvfrom" {
			return c.checkAddress(4, src)
		}
		return ""
	})
}

// callReadv is readv(fd, [{..., n}, …], count).
func callReadv(c *call) step {
	f, bad := c.socket(0)
	if bad != nil {
		return always(*bad)
	}
	n, _ := c.vector(1)
	return f.reader(c, n, 0, nil)
}

func callRecvmsg(c *call) step {
	f, bad := c.socket(0)
	if bad != nil {
		return always(*bad)
	}
	n, _ := c.message(1)
	return f.reader(c, n, c.number(2, "flags"), nil)
}

// vector is the size of an iovec argument, and its literal bytes if it has some.
func (c *call) vector(i int) (n int, literal []byte) { return c.sizeOf(c.ev.args[i]) }

func (c *call) sizeOf(v value) (n int, literal []byte) {
	if v.kind != listValue {
		c.bad("%s: expected a list like [{..., 1000}, {..., 500}]", v)
	}
	for _, part := range v.parts {
		base, ok1 := part.field("iov_base", 0)
		size, ok2 := part.field("iov_len", 1)
		if part.kind != structValue || !ok1 || !ok2 || size.kind != numberValue || size.number < 0 || size.number > maxIO {
			c.bad("%s: expected {..., 1000}", part)
		}
		if base.kind == textValue {
			literal = append(literal, base.text[:min(len(base.text), int(size.number))]...)
		}
		n += int(size.number)
	}
	return n, literal
}

// message is the size of a msghdr argument.
func (c *call) message(i int) (n int, literal []byte) {
	v, ok := c.ev.args[i].field("msg_iov", 1)
	if c.ev.args[i].kind != structValue || !ok {
		c.bad("argument %d of %s: expected {msg_iov(1) = [{..., 1000}], …}", i+1, c.ev.name)
	}
	return c.sizeOf(v)
}

// reader is a read of up to n bytes.
func (f *file) reader(c *call, n int, flags int64, check func(got []byte, src netip.AddrPort) string) step {
	c.checkFlags(flags, symbols["MSG_DONTWAIT"]|symbols["MSG_WAITALL"]|symbols["MSG_NOSIGNAL"]|symbols["MSG_TRUNC"]|
		symbols["MSG_PEEK"])
	dontWait := flags&symbols["MSG_DONTWAIT"] != 0
	if f.stream {
		return c.timed(f.streamReader(n, flags, check), f.receiveTimeout)
	}
	return c.timed(func() outcome {
		if f.udp == nil {
			return fails("ENOTCONN")
		}
		buf := make([]byte, n)
		got, src, truncated, err := f.udp.ReadFrom(buf)
		if err != nil {
			o := f.readError(err, dontWait)
			f.errTaken = false // UDP's errors come one by one
			return o
		}
		o := gives(int64(got))
		o.check = func() string {
			if i := wrongByte(buf[:got], 0); i >= 0 {
				return fmt.Sprintf("the data read is not what was sent, from byte %d on", i)
			}
			if want := flags&symbols["MSG_TRUNC"] != 0; truncated && want {
				return ""
			}
			if check != nil {
				return check(buf[:got], src)
			}
			return ""
		}
		return o
	}, f.receiveTimeout)
}

// timed ends a call that waits after the time that SO_RCVTIMEO gives it; 0: none.
func (c *call) timed(s step, limit time.Duration) step {
	if limit == 0 {
		return s
	}
	c.wakeAt(c.begin.Add(limit))
	return func() outcome {
		if o := s(); !o.wait || c.r.clock.Now() < c.begin.Add(limit) {
			return o
		}
		return fails("EAGAIN")
	}
}

func (f *file) streamReader(n int, flags int64, check func([]byte, netip.AddrPort) string) step {
	dontWait := flags&symbols["MSG_DONTWAIT"] != 0
	all := flags&symbols["MSG_WAITALL"] != 0
	var got []byte
	return func() outcome {
		if f.tcp == nil {
			return fails("ENOTCONN")
		}
		if f.tcp.Connected() != nil && f.connecting && errIs(f.tcp.Connected(), "EAGAIN") {
			return f.readError(stack.ErrWouldBlock, dontWait)
		}
		buf := make([]byte, max(n-len(got), 0))
		k, err := f.receive(buf, flags)
		got = append(got, buf[:k]...)
		switch {
		case err != nil && len(got) > 0 && (dontWait || f.nonblock || !errIs(err, "EAGAIN")): // MSG_WAITALL ends early
		case err != nil:
			return f.readError(err, dontWait)
		case all && len(got) < n && !dontWait && !f.nonblock:
			return outcome{wait: true}
		}
		from := f.readAt
		if flags&symbols["MSG_PEEK"] == 0 {
			f.readAt += uint32(len(got))
		}
		o := gives(int64(len(got)))
		if flags&symbols["MSG_TRUNC"] != 0 {
			return o // thrown away
		}
		o.check = func() string {
			if f.flow != nil && f.flow.hasSYN {
				if i := wrongByte(got, from); i >= 0 {
					return fmt.Sprintf("the data read is not what was sent, from byte %d on", i)
				}
			}
			if check != nil {
				return check(got, f.tcp.RemoteAddr())
			}
			return ""
		}
		return o
	}
}

// receive reads, peeks or throws away, as the flags of the call say.
func (f *file) receive(buf []byte, flags int64) (int, error) {
	switch {
	case flags&symbols["MSG_PEEK"] != 0:
		return f.tcp.Peek(buf, 0)
	case flags&symbols["MSG_TRUNC"] != 0:
		return f.tcp.Discard(len(buf))
	}
	return f.tcp.Read(buf)
}

// callWrite is write, send and sendto.
func callWrite(c *call) step {
	f, bad := c.socket(0)
	if bad != nil {
		return always(*bad)
	}
	var literal []byte
	n, flags := c.count(2), c.flags(3)
	if v := c.ev.args[1]; v.kind == textValue {
		literal = []byte(v.text[:min(len(v.text), n)])
	}
	to := netip.AddrPort{}
	if c.ev.name == "sendto" {
		set := &c.r.script.set
		dflt := netip.AddrPort{}
		if f.udp == nil || !f.udp.RemoteAddr().IsValid() {
			dflt = netip.AddrPortFrom(set.remote(), set.connectPort)
			if !f.stream && c.r.currentUDP != nil {
				dflt = c.r.currentUDP.remote
			}
		}
		if v := c.ev.args[4]; v.kind == numberValue && v.number == 0 {
			dflt = netip.AddrPort{}
		} else {
			dflt = c.address(4, dflt)
		}
		to = dflt
	}
	return f.writer(c, n, literal, flags, to)
}

func callWritev(c *call) step {
	f, bad := c.socket(0)
	if bad != nil {
		return always(*bad)
	}
	n, literal := c.vector(1)
	return f.writer(c, n, literal, 0, netip.AddrPort{})
}

func callSendmsg(c *call) step {
	f, bad := c.socket(0)
	if bad != nil {
		return always(*bad)
	}
	n, literal := c.message(1)
	to := netip.AddrPort{}
	if v, ok := c.ev.args[1].field("msg_name", 0); ok && v.kind == structValue {
		a, problem := sockaddr(v)
		if problem != "" {
			c.bad("%s", problem)
		}
		to = a
	}
	return f.writer(c, n, literal, c.number(2, "flags"), to)
}

// bytes are what a write of n bytes sends: the stream's pattern, or what the script says.
func (f *file) bytes(n int, literal []byte) []byte {
	if literal == nil {
		return fillPattern(f.wroteAt, n)
	}
	if f.flow != nil {
		f.flow.unchecked = true
	}
	return append(literal, make([]byte, max(n-len(literal), 0))...)
}

// writer is a write of n bytes.
func (f *file) writer(c *call, n int, literal []byte, flags int64, to netip.AddrPort) step {
	dontWait := flags&symbols["MSG_DONTWAIT"] != 0 || f.nonblock
	if !f.stream {
		return func() outcome { return c.sendDatagram(f, n, literal, to) }
	}
	if flags&symbols["MSG_FASTOPEN"] != 0 && f.tcp == nil {
		return f.fastWriter(c, func() []byte { return f.bytes(n, literal) }, to, dontWait)
	}
	c.checkFlags(flags, symbols["MSG_DONTWAIT"]|symbols["MSG_NOSIGNAL"]|symbols["MSG_MORE"]|symbols["MSG_OOB"])
	var data []byte
	done := 0
	return func() outcome {
		if f.tcp == nil {
			return fails("EPIPE")
		}
		if f.flow == nil {
			f.flow = c.r.findFlow(wire.ProtoTCP, f.tcp.LocalAddr(), f.tcp.RemoteAddr())
		}
		if data == nil {
			data = f.bytes(n, literal)
		}
		k, err := f.write(data[done:], flags)
		done += k
		f.wroteAt += uint32(k)
		switch {
		case err == nil:
			return gives(int64(done))
		case errIs(err, "EAGAIN") && !dontWait:
			return outcome{wait: true}
		case done > 0:
			return gives(int64(done))
		case errIs(err, "EPIPE"), !errIs(err, "EAGAIN") && f.errTaken:
			return fails("EPIPE")
		}
		if !errIs(err, "EAGAIN") {
			f.errTaken = true
		}
		return failsBy(err)
	}
}

// write queues bytes with the flags of the call.
func (f *file) write(b []byte, flags int64) (int, error) {
	var with tcp.WriteFlags
	if flags&symbols["MSG_MORE"] != 0 {
		with |= tcp.MoreToCome
	}
	if flags&symbols["MSG_OOB"] != 0 {
		with |= tcp.Urgent
	}
	return f.tcp.Send(b, with)
}

// checkFlags refuses flags that the host does not know.
func (c *call) checkFlags(flags, known int64) {
	if other := flags &^ known; other != 0 {
		c.bad("%s: the host does not know the flags 0x%x", c.ev.name, other)
	}
}

func (c *call) sendDatagram(f *file, n int, literal []byte, to netip.AddrPort) outcome {
	if f.udp == nil { // a kernel binds the socket to a port of its choice
		u := &stack.UDP{}
		u.SetNotifier(f)
		f.local = netip.AddrPortFrom(f.local.Addr(), 0)
		if err := c.r.host.ListenUDP(u, f.bindAddr(), stack.ListenOptions{Family: f.family()}); err != nil {
			return failsBy(err)
		}
		f.udp, f.isBound, f.local = u, true, u.LocalAddr()
		c.r.lastUDPPort = u.LocalAddr().Port()
	}
	data := fillPattern(0, n)
	copy(data, literal)
	var err error
	if to.IsValid() && to.Addr().IsValid() {
		err = f.udp.WriteTo(data, netip.AddrPortFrom(to.Addr().Unmap(), to.Port()))
	} else {
		err = f.udp.Write(data)
	}
	switch {
	case errIs(err, "EAGAIN") && !f.nonblock:
		return outcome{wait: true}
	case err != nil:
		return failsBy(err)
	}
	return gives(int64(n))
}
