package drill

import (
	"fmt"
	"time"

	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp"
)

// callName is getsockname and getpeername.
func callName(c *call) step {
	f, bad := c.socket(0)
	if bad != nil {
		return always(*bad)
	}
	return func() outcome {
		a := f.local
		switch {
		case c.ev.name == "getpeername" && f.tcp != nil && f.tcp.Connected() == nil:
			a = f.tcp.RemoteAddr()
		case c.ev.name == "getpeername" && f.udp != nil && f.udp.RemoteAddr().IsValid():
			a = f.udp.RemoteAddr()
		case c.ev.name == "getpeername":
			return fails("ENOTCONN")
		case f.udp != nil:
			a = f.udp.LocalAddr()
		case f.tcp != nil:
			a = f.tcp.LocalAddr()
		}
		o := gives(0)
		o.check = func() string { return c.checkAddress(1, a) }
		return o
	}
}

// callIoctl is ioctl(fd, SIOCINQ, [N]).
func callIoctl(c *call) step {
	f, bad := c.socket(0)
	if bad != nil {
		return always(*bad)
	}
	request := c.number(1, "a request")
	return func() outcome {
		var v int64
		switch {
		case request == symbols["FIONBIO"]:
			f.nonblock = c.optionNumber(c.ev.args[2]) != 0
			return gives(0)
		case f.listener != nil, f.tcp == nil:
			return fails("EINVAL")
		case request == symbols["SIOCINQ"]:
			v = int64(f.tcp.Info().ReceiveQueue)
		case request == symbols["SIOCOUTQ"]:
			v = int64(f.tcp.Info().SendQueue)
		case request == symbols["SIOCATMARK"]:
			_ = f.tcp.Configure(func(_ sched.Time, conn *tcp.Conn) error {
				v = boolNumber(conn.UrgentAhead() == 1)
				return nil
			})
		case request == symbols["SIOCOUTQNSD"]:
			v = f.unsent()
		default:
			c.bad("ioctl: drill does not know %s", c.ev.args[1])
		}
		o := gives(0)
		o.check = func() string {
			if len(c.ev.args) < 3 || c.ev.args[2].kind == anyValue {
				return ""
			}
			if want := c.optionNumber(c.ev.args[2]); want != v {
				return fmt.Sprintf("%s is %d, expected %d", c.ev.args[1], v, want)
			}
			return ""
		}
		return o
	}
}

// unsent is how many bytes wait to be sent for the first time.
func (f *file) unsent() (n int64) {
	_ = f.tcp.Configure(func(_ sched.Time, conn *tcp.Conn) error {
		n = int64(conn.Unsent())
		return nil
	})
	return n
}

func callFcntl(c *call) step {
	f, ok := c.file(0)
	if !ok {
		return always(fails("EBADF"))
	}
	cmd := c.number(1, "a command")
	return func() outcome {
		switch cmd {
		case symbols["F_GETFL"]:
			v := symbols["O_RDWR"]
			if f.nonblock {
				v |= symbols["O_NONBLOCK"]
			}
			return gives(v)
		case symbols["F_SETFL"]:
			if len(c.ev.args) < 3 {
				c.bad("fcntl: expected flags as the third argument")
			}
			f.nonblock = c.number(2, "flags")&symbols["O_NONBLOCK"] != 0
			return gives(0)
		case symbols["F_GETFD"], symbols["F_SETFD"]:
			return gives(0)
		}
		return fails("EINVAL")
	}
}

// readiness is what poll(2) says of a descriptor.
func (f *file) readiness() (ev int64) {
	in, out := symbols["POLLIN"]|symbols["POLLRDNORM"], symbols["POLLOUT"]|symbols["POLLWRNORM"]
	switch {
	case f.kind != socketFile:
		return in | out
	case f.listener != nil:
		if f.listener.Waiting() {
			return in
		}
		return 0
	case f.udp != nil && f.udp.Waiting():
		return in | out
	case f.udp != nil:
		return out
	case f.tcp == nil:
		return out | symbols["POLLHUP"]
	}
	_ = f.tcp.Configure(func(_ sched.Time, conn *tcp.Conn) error {
		i := conn.Info()
		eof := conn.EOF() || i.State == tcp.Closed
		shut := !conn.CanWrite()
		switch {
		case i.State == tcp.SynSent || i.State == tcp.SynReceived:
			return nil
		case conn.ReadSize() > 0 || eof:
			ev |= in
		}
		if eof {
			ev |= symbols["POLLRDHUP"]
		}
		if conn.UrgentAhead() > 0 {
			ev |= symbols["POLLPRI"]
		}
		if conn.SendSpace() > 0 || shut {
			ev |= out
		}
		if eof && shut {
			ev |= symbols["POLLHUP"]
		}
		if conn.Err() != nil && !f.errTaken {
			ev |= symbols["POLLERR"]
		}
		return nil
	})
	return ev
}

// callPoll is poll([{fd=4, events=POLLIN, revents=POLLIN}], 1, timeout in ms).
func callPoll(c *call) step {
	list := c.ev.args[0]
	timeout := c.number(2, "a timeout in milliseconds")
	if list.kind != listValue {
		c.bad("argument 1 of poll: expected [{fd=4, events=POLLIN, revents=POLLIN}]")
	}
	fields := func(v value) (fd, events, revents int64) {
		for i, p := range []*int64{&fd, &events, &revents} {
			part, ok := v.field([]string{"fd", "events", "revents"}[i], i)
			if !ok || part.kind != numberValue {
				c.bad("%s: expected {fd=4, events=POLLIN, revents=POLLIN}", v)
			}
			*p = part.number
		}
		return fd, events, revents
	}
	always := symbols["POLLERR"] | symbols["POLLHUP"]
	if timeout > 0 {
		c.wakeAt(c.begin.Add(millis(timeout)))
	}
	return func() outcome {
		n := int64(0)
		problem := ""
		for _, v := range list.parts {
			fd, events, want := fields(v)
			got := symbols["POLLNVAL"]
			if f := c.r.files[int(fd)]; f != nil {
				c.r.lastFile = f
				got = f.readiness() & (events | always)
			}
			if got != 0 {
				n++
			}
			if got != want && problem == "" {
				problem = fmt.Sprintf("revents of %d is %s, expected %s", fd, pollNames(got), pollNames(want))
			}
		}
		if n == 0 && timeout != 0 && (timeout < 0 || c.r.clock.Now() < c.begin.Add(millis(timeout))) {
			return outcome{wait: true}
		}
		o := gives(n)
		o.check = func() string { return problem }
		return o
	}
}

func millis(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// wakeAt sees that the call is tried again at an instant at which the host may have nothing to do.
func (c *call) wakeAt(at sched.Time) { c.r.clock.NewTimer(func() {}).Reset(at) }

// pollNames prints what poll says.
func pollNames(ev int64) string {
	text := ""
	for _, name := range []string{"POLLIN", "POLLPRI", "POLLOUT", "POLLERR", "POLLHUP", "POLLNVAL", "POLLRDNORM", "POLLWRNORM", "POLLRDHUP"} {
		if ev&symbols[name] != 0 {
			text += "|" + name
		}
	}
	if text == "" {
		return "0"
	}
	return text[1:]
}
