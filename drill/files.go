package drill

import (
	"fmt"
	"net/netip"
	"slices"
)

// pipe is what pipe(2) makes, without end.
type pipe struct{ data []byte }

// callPipe is pipe([5, 6]) = 0: the descriptors that the script gives it, to read from and to write to.
func callPipe(c *call) step {
	v := c.ev.args[0]
	if v.kind != listValue || len(v.parts) != 2 || v.parts[0].kind != numberValue || v.parts[1].kind != numberValue {
		c.bad("argument 1 of pipe is %s: expected [5, 6], the descriptors that it is to give", v)
	}
	p := &pipe{}
	return func() outcome {
		for _, part := range v.parts {
			fd := int(part.number)
			if c.r.files[fd] != nil {
				c.bad("pipe: the descriptor %d is in use", fd)
			}
			c.r.files[fd] = &file{kind: pipeFile, fd: fd, pipe: p}
		}
		return gives(0)
	}
}

// callOpen is open("name", flags): an endless file to send from. There is nothing in it that anybody could mean.
func callOpen(c *call) step {
	return func() outcome {
		fd := c.newFD()
		c.r.files[fd] = &file{kind: plainFile, fd: fd}
		return gives(int64(fd))
	}
}

// callSendfile is sendfile(socket, file, [offset], count).
func callSendfile(c *call) step {
	f, bad := c.socket(0)
	if bad != nil {
		return always(*bad)
	}
	n := c.count(3)
	from, ok := c.file(1)
	if !ok {
		return always(fails("EBADF"))
	}
	if from.kind != plainFile {
		return always(fails("EINVAL"))
	}
	return f.writer(c, n, nil, 0, netip.AddrPort{})
}

// callSplice is splice(in, NULL, out, NULL, count, flags): one of the two is a pipe.
func callSplice(c *call) step {
	in, ok1 := c.file(0)
	out, ok2 := c.file(2)
	n, flags := c.count(4), c.number(5, "flags")
	if !ok1 || !ok2 {
		return always(fails("EBADF"))
	}
	dontWait := int64(0)
	if flags&symbols["SPLICE_F_NONBLOCK"] != 0 {
		dontWait = symbols["MSG_DONTWAIT"]
	}
	switch {
	case in.kind == socketFile && out.kind == pipeFile && in.stream:
		return in.spliceIn(c, out.pipe, n, dontWait)
	case in.kind == pipeFile && out.kind == socketFile && out.stream:
		return out.spliceOut(c, in.pipe, n, dontWait)
	}
	return always(fails("EINVAL"))
}

// spliceIn moves what can be read into a pipe.
func (f *file) spliceIn(c *call, p *pipe, n int, flags int64) step {
	return f.reader(c, n, flags, func(got []byte, _ netip.AddrPort) string {
		p.data = append(p.data, got...)
		return ""
	})
}

// spliceOut writes what is in a pipe.
func (f *file) spliceOut(c *call, p *pipe, n int, flags int64) step {
	data := slices.Clone(p.data[:min(n, len(p.data))])
	if len(data) == 0 {
		return always(fails("EAGAIN"))
	}
	write := f.writer(c, len(data), data, flags, netip.AddrPort{})
	return func() outcome {
		o := write()
		if !o.wait && o.result > 0 {
			p.data = p.data[o.result:]
		}
		return o
	}
}

// epoll is what an epoll descriptor watches, in the order in which it was told to.
type epoll struct {
	fds    []int
	events map[int]int64
}

func callEpollCreate(c *call) step {
	return func() outcome {
		fd := c.newFD()
		c.r.files[fd] = &file{kind: epollFile, fd: fd, epoll: &epoll{events: map[int]int64{}}}
		return gives(int64(fd))
	}
}

// watcher is the epoll descriptor of a call.
func (c *call) watcher() (*epoll, *outcome) {
	f := c.r.files[int(c.number(0, "a descriptor"))]
	if f == nil || f.epoll == nil {
		o := fails("EBADF")
		if f != nil {
			o = fails("EINVAL")
		}
		return nil, &o
	}
	return f.epoll, nil
}

// callEpollCtl is epoll_ctl(5, EPOLL_CTL_ADD, 4, {events=EPOLLIN, fd=4}).
func callEpollCtl(c *call) step {
	e, bad := c.watcher()
	if bad != nil {
		return always(*bad)
	}
	op, fd := c.number(1, "EPOLL_CTL_ADD, EPOLL_CTL_MOD or EPOLL_CTL_DEL"), int(c.number(2, "a descriptor"))
	events := int64(0)
	if op != symbols["EPOLL_CTL_DEL"] {
		part, ok := c.ev.args[3].field("events", 0)
		if !ok || part.kind != numberValue {
			c.bad("argument 4 of epoll_ctl is %s: expected {events=EPOLLIN, fd=%d}", c.ev.args[3], fd)
		}
		if events = part.number; events&(symbols["EPOLLET"]|symbols["EPOLLONESHOT"]) != 0 {
			c.bad("epoll_ctl: drill does not know EPOLLET and EPOLLONESHOT")
		}
	}
	return func() outcome {
		at := slices.Index(e.fds, fd)
		switch {
		case c.r.files[fd] == nil:
			return fails("EBADF")
		case op == symbols["EPOLL_CTL_ADD"] && at >= 0:
			return fails("EEXIST")
		case op == symbols["EPOLL_CTL_ADD"]:
			e.fds = append(e.fds, fd)
		case at < 0:
			return fails("ENOENT")
		case op == symbols["EPOLL_CTL_DEL"]:
			e.fds = slices.Delete(e.fds, at, at+1)
		}
		e.events[fd] = events
		return gives(0)
	}
}

// callEpollWait is epoll_wait(5, [{events=EPOLLIN, fd=4}], max, timeout in ms).
func callEpollWait(c *call) step {
	e, bad := c.watcher()
	if bad != nil {
		return always(*bad)
	}
	most, timeout := c.number(2, "a number of events"), c.number(3, "a timeout in milliseconds")
	if timeout > 0 {
		c.wakeAt(c.begin.Add(millis(timeout)))
	}
	return func() outcome {
		var ready [][2]int64
		for _, fd := range e.fds {
			f := c.r.files[fd]
			if f == nil || int64(len(ready)) >= most {
				continue
			}
			if got := f.readiness() & (e.events[fd] | symbols["EPOLLERR"] | symbols["EPOLLHUP"]); got != 0 {
				ready = append(ready, [2]int64{int64(fd), got})
			}
		}
		if len(ready) == 0 && timeout != 0 && (timeout < 0 || c.r.clock.Now() < c.begin.Add(millis(timeout))) {
			return outcome{wait: true}
		}
		o := gives(int64(len(ready)))
		o.check = func() string { return c.compareEvents(ready) }
		return o
	}
}

// compareEvents compares what epoll_wait gives with the script's list (or one struct).
func (c *call) compareEvents(ready [][2]int64) string {
	v := c.ev.args[1]
	list := v.parts
	if v.kind == structValue {
		list = []value{v}
	}
	if v.kind == anyValue || v.kind == numberValue {
		return ""
	}
	for i, r := range ready {
		if i >= len(list) {
			break
		}
		events, ok1 := list[i].field("events", 0)
		fd, ok2 := list[i].field("fd", 1)
		if !ok2 {
			fd, ok2 = list[i].field("data", 1)
		}
		if !ok1 || events.number != r[1] || ok2 && fd.kind == numberValue && fd.number != r[0] {
			return fmt.Sprintf("event %d is %s of %d, expected %s", i+1, pollNames(r[1]), r[0], list[i])
		}
	}
	return ""
}
